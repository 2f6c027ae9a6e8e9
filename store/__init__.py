"""The event store: an append-only log with one writer a shard, behind one contract."""
