"""The cases, a file for each area; `suite` lists them in their order."""
