"""`timers list`, `show` and `fire`: temporary adjustments and the hour at which each ends, or a person ends it now."""

import asyncio
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli.frame import example, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.lists import NO_MORE, Account, After, Limit, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from worker.settings import Settings

COLUMNS = ("command_id", "account_no", "adjust_no", "kind", "state", "due_at", "wake_at", "overdue")


def register(app: typer.Typer) -> None:
    """Add the group `timers`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("timers list --overdue"))
    group.command("list", epilog=example("timers list", "timers list --overdue"))(list_)
    group.command("show", epilog=example("timers show 0f8fad5b-d9cb-469f-a165-70867728950e"))(show)
    group.command(
        "fire", epilog=example("timers fire 0f8fad5b-d9cb-469f-a165-70867728950e --reason 'the desk closes early'")
    )(fire)
    app.add_typer(group, name="timers", help="Temporary adjustments and the hour at which each ends.")


def list_(
    account: Account = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those past their hour.")] = False,
    limit: Limit = 500,
    after: After = None,
    output: Output = OutputForm.TABLE,
) -> None:
    """List live timers, the next first; `wake_at` is the next try. Kind `watch`: its number is not known."""
    from worker.store.listings import list_timers

    rows = read(
        lambda connection: list_timers(connection, account_no=account, overdue=overdue, after=after, limit=limit + 1)
    )
    print_list(rows, COLUMNS, output, limit, "no timer is live" if after is None else NO_MORE, key="command_id")


def show(
    command_id: Annotated[UUID, typer.Argument(metavar="ID", help="The temp.adjust's id.", show_default=False)],
    output: Output = OutputForm.TABLE,
) -> None:
    """Show one temporary adjustment, its timer or who ended it, and each call to end it. Exit 3 when there is none."""
    from worker.store.kept import left_out_of, list_attempts
    from worker.store.listings import read_adjustment

    async def gather(connection: "AsyncConnection") -> list[dict[str, object]]:
        found = await read_adjustment(connection, command_id)
        attempts = await list_attempts(connection, command_id, expiry=True)
        more = {"expiry_attempts": attempts, "attempts_left_out": left_out_of(attempts)}
        return [{**one, **more} for one in found]

    found = read(gather)
    found_one(found, f"{command_id} has booked no temporary adjustment")
    print_one(found[0], output)


def fire(
    command_id: Annotated[UUID, typer.Argument(metavar="ID", help="The temp.adjust's id.", show_default=False)],
    reason: Reason,
    yes: Yes = False,
    output: Output = OutputForm.JSON,
) -> None:
    """End a temporary adjustment now: the call is its lane's next turn, before waiting commands.

    Before its hour it ends by `command`, basis `person`. What the brokerage refuses then goes back to its hour. Exit 5
    when it has ended, its number is not known, or a call to end it is under way.
    """
    settings = settings_for("database")
    confirm_change(asyncio.run(_preview(settings, command_id)), reason=reason, yes=yes)
    print_one(asyncio.run(_fire(settings, command_id, reason)), output)


async def _preview(settings: "Settings", command_id: UUID) -> str:
    from worker.operate.fire import preview
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await preview(engine, command_id)


async def _fire(settings: "Settings", command_id: UUID, reason: str) -> "Mapping[str, object]":
    from worker.operate.brake import By
    from worker.operate.fire import fire as fire_now
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await fire_now(engine, command_id, By(settings.actor, reason))
