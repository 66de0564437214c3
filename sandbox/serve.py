"""Runs the brokerage: opens the port, says where, sweeps, and ends at SIGTERM."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from sandbox.brokerage import Brokerage
from sandbox.door import Door
from sandbox.ledger import Ledger
from sandbox.signature import Credentials, Verifier

_SWEEP_EVERY_S = 0.05
_SHUTDOWN_S = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """What `python -m sandbox serve` was told; durations in seconds. No credentials: signatures are not checked."""

    host: str = "127.0.0.1"
    port: int = 0
    credentials: Credentials | None = None
    sweep_delay_s: float = 5.0
    latency_s: float = 0.0
    latency_jitter_s: float = 0.0
    wrap_risk_event: bool = False


def brokerage_of(options: Options) -> Brokerage:
    """Build an empty brokerage."""
    ledger = Ledger(sweep_delay_s=options.sweep_delay_s)
    verifier = Verifier(options.credentials, ledger.wall_s) if options.credentials else None
    return Brokerage(ledger, verifier, wrap_risk_event=options.wrap_risk_event)


@contextlib.asynccontextmanager
async def opened(options: Options, brokerage: Brokerage) -> AsyncIterator[str]:
    """Answer at the options' address while the block lasts and yield the URL. Raises OSError if it is taken."""
    door = Door(brokerage, options.latency_s, options.latency_jitter_s)
    # A call goes on when its client has gone, as at the real brokerage: what left cannot be called back.
    server = web.Server(door.answer, access_log=None, handler_cancellation=False)
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, backlog=1024)
        await site.start()
        port = runner.addresses[0][1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT; the first line on stdout is the URL as JSON."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    brokerage = brokerage_of(options)
    async with opened(options, brokerage) as url:
        sys.stdout.write(json.dumps({"url": url}) + "\n")
        sys.stdout.flush()
        await _sweep_until(stop, brokerage)


async def _sweep_until(stop: asyncio.Event, brokerage: Brokerage) -> None:
    while not stop.is_set():
        brokerage.sweep()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SWEEP_EVERY_S)
