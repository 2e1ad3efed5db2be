"""Example policies, each with tests."""
