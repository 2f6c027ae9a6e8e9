"""Read models: what the log adds up to for lists, queries and the audit. Asynchronous and rebuildable from the log."""
