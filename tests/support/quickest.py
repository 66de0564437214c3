"""How long a reading takes at best: other tests use the machine at the same time."""

import time
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker.store.engine import transaction

TRIES = 4


async def quickest_s(engine: AsyncEngine, read: Callable[[AsyncConnection], Awaitable[object]]) -> float:
    """Read several times, each in a database transaction of its own, and return the least time of one in seconds."""
    took_s = []
    for _ in range(TRIES):
        async with transaction(engine) as connection:
            began_s = time.perf_counter()
            await read(connection)
            took_s.append(time.perf_counter() - began_s)
    return min(took_s)
