"""What alembic runs for each command: the migrations, on the connection that `migrate` hands over.

That connection holds a transaction already, so the whole upgrade happens or none of it.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
