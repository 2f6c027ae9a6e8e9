"""What alembic executes to run the migrations; `store.migrate` hands it the connection.

All pending migrations run in the transaction of that connection: a database is at a revision or at the one before.
"""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection)
context.run_migrations()
