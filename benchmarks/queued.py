"""Memory of one worker when far more is queued than it may call."""

import asyncio
import time

import psycopg

from benchmarks.batches import Feed
from benchmarks.commands import commands
from benchmarks.usage import memory_mib
from sandbox.parts import Parts, Program

DEADLINE_S = 300
LOOK_EVERY_S = 0.5


def hold_many(parts: Parts, worker: Program, count: int, accounts: int) -> dict[str, float]:
    """Queue so many commands and return the worker's MiB once all are accepted, its most, and what is still queued."""
    with psycopg.connect(parts.postgres.url, autocommit=True) as connection:
        before = _count(connection, "")  # what was measured earlier is there, too
    asyncio.run(_send(parts.kafka.bootstrap, count, accounts))
    give_up_s = time.monotonic() + DEADLINE_S
    with psycopg.connect(parts.postgres.url, autocommit=True) as connection:
        while _count(connection, "") < before + count:
            if time.monotonic() > give_up_s:
                raise RuntimeError(f"not all {count} commands were accepted within {DEADLINE_S} s")
            time.sleep(LOOK_EVERY_S)
        found = memory_mib(worker.pid)
        queued = _count(connection, "WHERE state = 'queued'")
    if found is None:
        raise RuntimeError("this system does not tell the memory of a process")
    return {"accepted": count, "queued": queued, "mib": found[0], "most_mib": found[1]}


async def _send(bootstrap: str, count: int, accounts: int) -> None:
    async with Feed(bootstrap) as feed:
        await feed.send(await feed.batches(commands("queued", count, accounts)))


def _count(connection: "psycopg.Connection[tuple[int]]", where: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM commands {where}").fetchone()  # noqa: S608
    return row[0] if row else 0
