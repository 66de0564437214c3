"""Turns timers whose hour has come into the next turn of their lanes. Only the database's clock says that it has."""

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.store.brakes import expiries_stopped
from worker.store.engine import transaction
from worker.store.timers import make_due, read_due, seconds_to_next

AT_ONCE = 200


async def wake_due(engine: AsyncEngine) -> tuple[int, float | None]:
    """Make due timers their lanes' next turns; returns how many, and the seconds until the next one's time.

    While expiries are paused none is due, and nobody knows until when.
    """
    async with transaction(engine) as connection:
        next_s = await seconds_to_next(connection)
        if next_s is None or next_s > 0:
            return 0, next_s
        if await expiries_stopped(connection):
            return 0, None
        timers = await read_due(connection, "expire", AT_ONCE)
        made = await make_due(connection, timers) if timers else 0
        return made, await seconds_to_next(connection)
