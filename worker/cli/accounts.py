"""`accounts list`, `show`, `hold` and `release`: one account stands still while somebody looks into it."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import example, settings_for
from worker.cli.guard import Reason, Yes
from worker.cli.lists import NO_MORE, Limit, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm
from worker.cli.pause import hold_account, release_account

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

COLUMNS = ("account_no", "held", "held_by", "held_since", "lane", "waiting", "wake_at", "hold_reason")
LISTED_MAX = 100
_is_account_no = re.compile(r"[A-Za-z0-9._-]{1,32}").fullmatch


def _account_no(given: str) -> str:
    if not _is_account_no(given):
        raise typer.BadParameter(f"is not an account: {given}")
    return given


AccountNo = Annotated[str, typer.Argument(metavar="ACCOUNT_NO", callback=_account_no, show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group `accounts`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("accounts list --held"))
    group.command("list", epilog=example("accounts list --held", "accounts list --after H10240001 --output json"))(
        list_
    )
    group.command("show", epilog=example("accounts show H10240001"))(show)
    group.command("hold", epilog=example("accounts hold H10240001 --reason 'a wrong batch came in'"))(hold)
    group.command("release", epilog=example("accounts release H10240001 --reason 'the batch was cancelled'"))(release)
    app.add_typer(group, name="accounts", help="Accounts and their lanes; hold one, and let it go on.")


def list_(
    held: Annotated[bool, typer.Option("--held", help="Only accounts that a person holds.")] = False,
    after: Annotated[str, typer.Option("--after", metavar="ACCOUNT_NO", help="From behind this one on.")] = "",
    limit: Limit = 100,
    output: Output = OutputForm.TABLE,
) -> None:
    """List accounts by name, with what waits in their lanes, and why."""
    from worker.store.accounts import list_accounts

    rows = read(lambda connection: list_accounts(connection, held=held, after=after, limit=limit + 1))
    nothing = "no account is held" if held else "no account is known"
    print_list(rows, COLUMNS, output, limit, NO_MORE if after else nothing, key="account_no")


def show(account_no: AccountNo, output: Output = OutputForm.TABLE) -> None:
    """Show one account: who holds it, its lane, its doubts and timers, what it used of its limits today.

    Exit 3 when nothing is known of it. `explain ACCOUNT_NO` tells more.
    """
    from worker.operate.doubts import doubts, parked
    from worker.store.accounts import list_day_totals, read_account_shown
    from worker.store.listings import list_timers

    settings = settings_for("database")

    async def gather(connection: "AsyncConnection") -> list[dict[str, object]]:
        found = await read_account_shown(connection, account_no)
        if found is None:
            return []
        return [
            {
                **found,
                "doubts": await doubts(connection, settings, account_no=account_no, limit=LISTED_MAX),
                "parked": await parked(connection, account_no=account_no, limit=LISTED_MAX),
                "timers": await list_timers(connection, account_no=account_no, limit=LISTED_MAX),
                "used_today": await list_day_totals(connection, account_no),
            }
        ]

    found = read(gather)
    found_one(found, f"nothing is known of account {account_no}")
    print_one(found[0], output)


def hold(account_no: AccountNo, reason: Reason, yes: Yes = False, output: Output = OutputForm.JSON) -> None:
    """Let an account's commands and resends wait until it is released; others do not notice.

    A call that is out already ends. Looks and expiries go on. An account without commands may be held in advance.
    Exit 5 when it is held already.
    """
    hold_account(account_no, reason, output, yes=yes)


def release(account_no: AccountNo, reason: Reason, yes: Yes = False, output: Output = OutputForm.JSON) -> None:
    """Let a held account go on, at once. Exit 3 when it is not held."""
    release_account(account_no, reason, output, yes=yes)
