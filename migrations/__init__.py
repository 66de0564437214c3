"""The database's revisions, from nothing to what `worker.store.tables` and `operator_tables` describe."""
