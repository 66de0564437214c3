"""`parked list` and `show`: everything that waits for a person."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli.frame import example, say
from worker.cli.lists import Account, Limit, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

COLUMNS = ("command_id", "account_no", "command_type", "parked_at", "in_doubt", "reason")


def register(app: typer.Typer) -> None:
    """Add the group `parked`."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list", epilog=example("parked list", "parked list --output json | jq -r '.[].command_id'"))(list_)
    group.command("show", epilog=example("parked show 0f8fad5b-d9cb-469f-a165-70867728950e"))(show)
    app.add_typer(group, name="parked", help="Commands that no machine can decide; they wait for a person.")


def list_(account: Account = None, limit: Limit = 500, output: Output = OutputForm.TABLE) -> None:
    """List what is parked, the oldest first; `in_doubt` says whether a call of it may have been applied."""
    from worker.store.listings import list_parked

    rows = read(lambda connection: list_parked(connection, account_no=account, limit=limit + 1))
    print_list(rows, COLUMNS, output, limit, "nothing is parked")


def show(
    command_id: Annotated[UUID, typer.Argument(metavar="ID", help="The command's id.", show_default=False)],
    output: Output = OutputForm.TABLE,
) -> None:
    """Show one parked command, why it is parked, and all that was tried. Exit 3 when it is not parked."""
    from worker.store.listings import list_attempts, list_evidence, list_parked

    async def gather(connection: "AsyncConnection") -> list[dict[str, object]]:
        found = await list_parked(connection, command_id=command_id, limit=1)
        attempts, evidence = await list_attempts(connection, command_id), await list_evidence(connection, command_id)
        return [{**one, "attempts_made": attempts, "evidence": evidence} for one in found]

    found = read(gather)
    found_one(found, f"{command_id} is not parked; see `ledger-worker explain {command_id}`")
    print_one(found[0], output)
    if found[0]["in_doubt"]:
        say(f"a call of it is in doubt: see `ledger-worker in-doubt show {command_id}`")
