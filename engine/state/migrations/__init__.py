"""How the tables came to be: alembic's scripts, run by `sqlite.migrate` from the package itself.

To change a table: change it in `tables`, add the next file under `versions`.
"""
