"""The only SQL. Every database transaction that touches an account's facts locks its lane row first, in byte order."""
