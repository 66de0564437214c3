"""The fleet's calls per second: one row that every worker borrows from, a chunk at a time."""

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.engine import run


async def borrow(connection: AsyncConnection, *, want: int, per_s: float, burst: float, reserve: float) -> int:
    """Take up to `want` calls; `reserve` of them are left for urgent ones. Returns how many were granted.

    The time is read after the row's lock was had: two that wait for each other must not fill it twice.
    """
    statement = """
        WITH locked AS (SELECT tokens, filled_at FROM rate FOR UPDATE),
        filled AS (
            SELECT least(CAST(:burst AS float8),
                         tokens + CAST(:per_s AS float8)
                             * greatest(0, extract(epoch FROM clock_timestamp() - filled_at))) AS tokens
            FROM locked
        ),
        given AS (
            SELECT tokens, least(CAST(:want AS float8), greatest(0, floor(tokens - :reserve))) AS granted FROM filled
        )
        UPDATE rate SET tokens = given.tokens - given.granted, filled_at = clock_timestamp() FROM given
        RETURNING given.granted
    """
    given = {"want": want, "per_s": per_s, "burst": burst, "reserve": reserve}
    [(granted,)] = await run(connection, statement, given)
    return int(granted)
