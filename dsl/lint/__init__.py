"""Lint: one file per code, whose docstring is its page; `run.lint` puts all findings together."""
