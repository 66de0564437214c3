"""`pause` and `resume`: everything, one operation, or one partition's intake."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import example, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.lists import print_list, print_one, read
from worker.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.operate.brake import Stop
    from worker.settings import Need, Settings

COLUMNS = ("kind", "subject", "since_at", "by", "lanes_waiting", "reason")
ROWS_MAX = 10_000
OfOperation = Annotated[
    str | None, typer.Option("--operation", metavar="TYPE", help="Only this command type, such as order.place.")
]
OfTopic = Annotated[
    str | None, typer.Option("--topic", metavar="TOPIC", help="With --partition: that partition's intake.")
]
OfPartition = Annotated[int | None, typer.Option("--partition", metavar="N", min=0, help="Its number.")]
WhyOrNothing = Annotated[
    str | None, typer.Option("--reason", help="Why; kept in the audit. Needed unless listing.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add `pause` and `resume`."""
    app.command(
        "pause",
        epilog=example(
            "pause --reason 'the brokerage asked us to'",
            "pause --operation order.place --reason 'prices look wrong'",
            "pause --topic ledger.commands.orders.v1 --partition 3 --reason 'a bad batch'",
            "pause --list --output json",
        ),
    )(pause)
    app.command(
        "resume",
        epilog=example(
            "resume --reason 'all clear'", "resume --operation order.place --reason 'prices are right again'"
        ),
    )(resume)


def pause(
    operation: OfOperation = None,
    topic: OfTopic = None,
    partition: OfPartition = None,
    reason: WhyOrNothing = None,
    list_: Annotated[bool, typer.Option("--list", help="List what is paused; changes nothing.")] = False,
    yes: Yes = False,
    output: Annotated[
        OutputForm | None,
        typer.Option("--output", "-o", help="How to print it; JSON unless listing.", show_default=False),
    ] = None,
) -> None:
    """Stop calls: of everything, of one operation, or stop one partition's intake, until `resume`.

    In effect at the next claim of every worker; calls that are out already end. Looks always go on. Only a pause of
    everything or of temp.expire stops expiries, and says how many are due. Exit 5 when it is paused already.
    """
    if list_:
        _list(output or OutputForm.TABLE)
        return
    stop, settings = _meant(operation, topic, partition)
    if reason is None:
        raise typer.BadParameter("is needed: say why, for whoever reads the audit", param_hint="--reason")
    confirm_change(asyncio.run(_preview_stop(settings, stop)), reason=reason, yes=yes)
    print_one(asyncio.run(_stop(settings, stop, reason)), output or OutputForm.JSON)


def resume(
    reason: Reason,
    operation: OfOperation = None,
    topic: OfTopic = None,
    partition: OfPartition = None,
    yes: Yes = False,
    output: Output = OutputForm.JSON,
) -> None:
    """Let go on what `pause`, too many open doubts or too many refusals in a row have stopped.

    Accounts that wait for it may go at once. A pause of another form stays. Exit 3 when nothing of that form is paused.
    """
    stop, settings = _meant(operation, topic, partition)
    confirm_change(asyncio.run(_preview_release(settings, stop)), reason=reason, yes=yes)
    print_one(asyncio.run(_release(settings, stop, reason)), output)


def _meant(operation: str | None, topic: str | None, partition: int | None) -> "tuple[Stop, Settings]":
    """Return what is meant, and the settings that it needs; a usage error where it can be nothing."""
    from schemas.commands import MODELS
    from worker.ledger.brakes import ALL, OPERATION
    from worker.operate.brake import PARTITION, Stop

    if (topic is None) != (partition is None):
        raise typer.BadParameter("--topic and --partition go together", param_hint="--topic")
    if operation is not None and topic is not None:
        raise typer.BadParameter("give an operation or a partition, not both", param_hint="--operation")
    if operation is not None and operation not in MODELS:
        raise typer.BadParameter(f"is none of {', '.join(sorted(MODELS))}: {operation}", param_hint="--operation")
    needs: tuple[Need, ...] = ("database",) if topic is None else ("database", "kafka")
    settings = settings_for(*needs)
    if topic is not None and partition is not None:
        return Stop(PARTITION, topic=topic, partition=partition), settings
    return (Stop(ALL) if operation is None else Stop(OPERATION, str(operation))), settings


def _list(output: OutputForm) -> None:
    from worker.operate.brake import list_stopped

    print_list(read(list_stopped), COLUMNS, output, ROWS_MAX, "nothing is paused")


async def _preview_stop(settings: "Settings", stop: "Stop") -> str:
    from worker.operate.brake import preview_stop
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await preview_stop(engine, settings, stop)


async def _stop(settings: "Settings", stop: "Stop", reason: str) -> "Mapping[str, object]":
    from worker.operate.brake import By, stop_now
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await stop_now(engine, settings, stop, By(settings.actor, reason))


async def _preview_release(settings: "Settings", stop: "Stop") -> str:
    from worker.operate.brake import preview_release
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await preview_release(engine, stop)


async def _release(settings: "Settings", stop: "Stop", reason: str) -> "Mapping[str, object]":
    from worker.operate.brake import By, release
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await release(engine, stop, By(settings.actor, reason))


def hold_account(account_no: str, reason: str, output: OutputForm, *, yes: bool) -> None:
    """Hold one account, as `accounts hold` does."""
    stop, settings = _account(account_no)
    confirm_change(asyncio.run(_preview_stop(settings, stop)), reason=reason, yes=yes)
    print_one(asyncio.run(_stop(settings, stop, reason)), output)


def release_account(account_no: str, reason: str, output: OutputForm, *, yes: bool) -> None:
    """Let a held account go on, as `accounts release` does."""
    stop, settings = _account(account_no)
    confirm_change(asyncio.run(_preview_release(settings, stop)), reason=reason, yes=yes)
    print_one(asyncio.run(_release(settings, stop, reason)), output)


def _account(account_no: str) -> "tuple[Stop, Settings]":
    from worker.ledger.brakes import ACCOUNT
    from worker.operate.brake import Stop

    return Stop(ACCOUNT, account_no), settings_for("database")
