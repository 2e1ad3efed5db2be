"""Numbers that rise with each change of what workers keep in memory, so that they know to look.

A number rises in the transaction that makes the change, so whoever reads it sees the change too.
"""

from sqlalchemy import Connection, insert, select, update

from .tables import REVISIONS


def raised(connection: Connection, name: str) -> int:
    """One more for what has this name (`keys`), within a write transaction: the new number."""
    number = revision(connection, name) + 1
    row = {"number": number}
    changed = connection.execute(update(REVISIONS).where(REVISIONS.c.name == name).values(row))
    if not changed.rowcount:
        connection.execute(insert(REVISIONS).values(name=name, **row))
    return number


def revision(connection: Connection, name: str) -> int:
    """How often what has this name was changed."""
    found = connection.execute(select(REVISIONS.c.number).where(REVISIONS.c.name == name)).scalar()
    return int(found or 0)
