"""The history of the log's schema, one for SQLite and Postgres; `store.migrate` runs it."""
