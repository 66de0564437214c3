"""The database's revisions, from nothing to what `worker.store.tables` describes."""
