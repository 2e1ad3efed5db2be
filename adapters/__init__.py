"""Providers: one small file each over shared dialects."""
