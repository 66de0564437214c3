"""`commands cancel`: what was never sent is not sent any more."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from worker.cli.frame import (
    EXIT_NOTHING_MATCHED,
    EXIT_PARTLY_DONE,
    EXIT_REFUSED_BY_GUARD,
    example,
    person_watches,
    say,
    settings_for,
)
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.lists import Account
from worker.cli.output import Output, OutputForm, print_rows
from worker.errors import NothingMatchedError

if TYPE_CHECKING:
    from worker.operate.cancel import Answer
    from worker.settings import Settings

COLUMNS = ("command_id", "account_no", "cancelled", "why")


def register(app: typer.Typer) -> None:
    """Add the group `commands`."""
    group = typer.Typer(
        no_args_is_help=True, epilog=example("commands cancel --account H10240001 --reason 'the whole batch was wrong'")
    )
    group.callback()(_group)  # with one command only, typer would make that the group itself
    group.command(
        "cancel",
        epilog=example(
            "commands cancel 0f8fad5b-d9cb-469f-a165-70867728950e --reason 'sent by mistake'",
            "commands cancel --account H10240001 --reason 'the whole batch was wrong'",
        ),
    )(cancel)
    app.add_typer(group, name="commands", help="Commands that wait in their lanes.")


def _group() -> None:
    """Commands that wait in their lanes."""


def cancel(
    reason: Reason,
    ids: Annotated[list[UUID] | None, typer.Argument(metavar="[ID]...", help="Their ids.", show_default=False)] = None,
    account: Account = None,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Cancel commands that were never sent: each ends as rejected, CANCELLED, and its lane goes on.

    `--account` cancels what waits in that lane; hold the account before, else it goes on meanwhile. Exit 3 where nothing
    waits or no id is known, 4 where only some could be cancelled, 5 where none could: their calls may have been made.
    """
    if bool(ids) == (account is not None):
        raise typer.BadParameter("give ids, or --account", param_hint="ID")
    settings = settings_for("database")
    confirm_change(asyncio.run(_preview(settings, ids or [], account)), reason=reason, yes=yes)
    answers = asyncio.run(_cancel(settings, ids or [], account, reason))
    print_rows([_row(one) for one in answers], COLUMNS, output)
    _end(answers)


def _row(answer: "Answer") -> dict[str, Any]:
    return {name: getattr(answer, name) for name in COLUMNS}


def _end(answers: "list[Answer]") -> None:
    done = sum(answer.cancelled for answer in answers)
    say(f"{done} of {len(answers)} cancelled")
    if done == len(answers) and done:
        return
    if done:
        raise typer.Exit(EXIT_PARTLY_DONE)
    raise typer.Exit(EXIT_REFUSED_BY_GUARD if any(answer.known for answer in answers) else EXIT_NOTHING_MATCHED)


async def _preview(settings: "Settings", ids: list[UUID], account: str | None) -> str:
    from worker.operate.cancel import look_at, look_at_account
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        if account is not None:
            queued, others = await look_at_account(engine, account)
            if not queued + others:
                raise NothingMatchedError(f"nothing waits in the lane of {account}")
            told = f"; {others} may have been sent already and stay" if others else ""
            return f"Cancels {queued} commands of account {account}{told}."
        answers = await look_at(engine, ids)
    if not any(answer.known for answer in answers):
        raise NothingMatchedError("no command has any of these ids")
    for answer in answers:
        if not answer.cancelled:
            say(f"{answer.command_id}: {answer.why}")
    return f"Cancels {sum(answer.cancelled for answer in answers)} of {len(answers)} commands."


async def _cancel(settings: "Settings", ids: list[UUID], account: str | None, reason: str) -> "list[Answer]":
    from worker.operate.brake import By
    from worker.operate.cancel import cancel as cancel_ids
    from worker.operate.cancel import cancel_account
    from worker.store.engine import opened

    by = By(settings.actor, reason)
    async with opened(settings.database_url.get_secret_value()) as engine:
        if account is not None:
            return await cancel_account(engine, settings, account, by, _told)
        return await cancel_ids(engine, settings, ids, by, _told)


def _told(count: int) -> None:
    if person_watches():
        say(f"{count} looked at")
