"""From the topic into a sink, until told to stop or until the end is reached."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from ledger_client.connection import Connection
from ledger_client.consume.completeness import Gap
from ledger_client.consume.reading import open_reading
from ledger_client.consume.sinks import Sink

POLL_S = 0.5

Reach = Callable[[int, int], None]
"""Told how many records were read, and how many are left up to where the topic ended at the start."""


@dataclass(slots=True)
class Tally:
    """What one run did; `missing` is over all that the sink holds, `at_end` says that all was read that was there at the start."""

    read: int = 0
    stored: int = 0
    at_end: bool = False
    missing: list[Gap] = field(default_factory=list)


async def consume(
    connection: Connection, sink: Sink, *, until_end: bool, pass_over_lost: bool, reach: Reach, stop: asyncio.Event
) -> Tally:
    """Read on from where the sink says, and keep what comes; returns when `stop` is set or, with `until_end`, at the end."""
    tally = Tally()
    async with open_reading(connection, await sink.offsets(), pass_over_lost=pass_over_lost) as reading:
        while not stop.is_set():
            tally.at_end = reading.left() == 0
            if until_end and tally.at_end:
                break
            batch = await reading.batch(POLL_S, sink.records_max)
            tally.stored += await sink.store(batch)
            tally.read += len(batch.rows)
            reach(tally.read, reading.left())
        tally.at_end = reading.left() == 0
        await sink.flush()
    tally.missing = await sink.missing()
    return tally


def stop_on_signals() -> asyncio.Event:
    """Return what SIGTERM and Ctrl-C set; what was read by then is kept."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
