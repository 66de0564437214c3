"""`demo`: the whole thing on this machine, end to end, with real input.

play      — what happens, one step after the other
scenario  — what is sent: good commands of all ten types, bad ones among them, and what shall go wrong at the brokerage
started   — the processes, and that none of them outlives the demo
ask       — plain HTTP to this machine: the sandbox's own endpoints, the worker's health
lines     — how an outcome and a dead letter are shown
balance   — the closing balance of the outcomes topic against the brokerage's own ledger; pure
"""

import asyncio
import signal
from typing import Annotated

import typer

from worker.cli.frame import EXIT_ERROR, example, say


def register(app: typer.Typer) -> None:
    """Add `demo`."""
    app.command("demo", epilog=example("demo", "demo --keep"))(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave all of it running until Ctrl-C, to be used from a second terminal.")
    ] = False,
) -> None:
    """Run the whole thing on this machine and show what happens: Kafka, Postgres, a simulated brokerage, the worker.

    Needs no set-up and reads no setting. Exit 1 when the outcomes and the brokerage's own ledger disagree.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in its background without it
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: signal.raise_signal(signal.SIGINT))
    if not asyncio.run(_demo(keep=keep)):
        raise typer.Exit(EXIT_ERROR)


async def _demo(*, keep: bool) -> bool:
    from worker.cli.demo.started import Started

    async with Started() as started:
        say("starting Kafka, Postgres and a simulated brokerage on this machine")
        await started.begin_parts()
        from worker.cli.demo.play import play  # what it imports takes a second, in which the parts start

        return await play(started, keep=keep)
