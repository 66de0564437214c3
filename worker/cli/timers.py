"""`timers list` and `show`: temporary adjustments and the hour at which each ends."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli.frame import example
from worker.cli.lists import Account, Limit, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

COLUMNS = ("command_id", "account_no", "adjust_no", "kind", "state", "due_at", "wake_at", "overdue")


def register(app: typer.Typer) -> None:
    """Add the group `timers`."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list", epilog=example("timers list", "timers list --overdue"))(list_)
    group.command("show", epilog=example("timers show 0f8fad5b-d9cb-469f-a165-70867728950e"))(show)
    app.add_typer(group, name="timers", help="Temporary adjustments and the hour at which each ends.")


def list_(
    account: Account = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those past their hour.")] = False,
    limit: Limit = 500,
    output: Output = OutputForm.TABLE,
) -> None:
    """List live timers, the next first; `wake_at` is the next try. Kind `watch`: its number is not known."""
    from worker.store.listings import list_timers

    rows = read(lambda connection: list_timers(connection, account_no=account, overdue=overdue, limit=limit + 1))
    print_list(rows, COLUMNS, output, limit, "no timer is live")


def show(
    command_id: Annotated[UUID, typer.Argument(metavar="ID", help="The temp.adjust's id.", show_default=False)],
    output: Output = OutputForm.TABLE,
) -> None:
    """Show one temporary adjustment, its timer or who ended it, and each call to end it. Exit 3 when there is none."""
    from worker.store.listings import list_attempts, read_adjustment

    async def gather(connection: "AsyncConnection") -> list[dict[str, object]]:
        found = await read_adjustment(connection, command_id)
        attempts = await list_attempts(connection, command_id, expiry=True)
        return [{**one, "expiry_attempts": attempts} for one in found]

    found = read(gather)
    found_one(found, f"{command_id} has booked no temporary adjustment")
    print_one(found[0], output)
