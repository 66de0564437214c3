"""`parked list`, `show`, `redrive` and `discard`: everything that waits for a person."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli.frame import EXIT_PARTLY_DONE, example, say, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.lists import (
    NO_MORE,
    Account,
    After,
    Limit,
    OlderThan,
    found_one,
    print_each,
    print_list,
    print_one,
    read,
)
from worker.cli.output import Output, OutputForm
from worker.errors import LedgerWorkerError, NothingMatchedError, PartUnavailableError, RefusedByGuardError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from worker.operate.parked import Asked, Way
    from worker.settings import Settings

COLUMNS = ("command_id", "account_no", "command_type", "amount", "age", "in_doubt", "reason")
IDS_MAX = 1000
Ids = Annotated[list[UUID], typer.Argument(metavar="ID…", help="The commands' ids.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group `parked`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("parked list"))
    group.command("list", epilog=example("parked list", "parked list --output json | jq -r '.[].command_id'"))(list_)
    group.command("show", epilog=example("parked show 0f8fad5b-d9cb-469f-a165-70867728950e"))(show)
    group.command(
        "redrive", epilog=example("parked redrive 0f8fad5b-d9cb-469f-a165-70867728950e --reason 'the key is renewed'")
    )(redrive)
    group.command(
        "discard", epilog=example("parked discard 0f8fad5b-d9cb-469f-a165-70867728950e --reason 'sent by other means'")
    )(discard)
    app.add_typer(group, name="parked", help="Commands that no machine can decide; they wait for a person.")


def list_(
    account: Account = None,
    older_than: OlderThan = None,
    limit: Limit = 500,
    after: After = None,
    output: Output = OutputForm.TABLE,
) -> None:
    """List what is parked, the oldest first; `in_doubt` says whether a call of it may have been applied."""
    from worker.operate.doubts import parked

    rows = read(
        lambda connection: parked(connection, account_no=account, older_than_s=older_than, after=after, limit=limit + 1)
    )
    print_list(rows, COLUMNS, output, limit, "nothing is parked" if after is None else NO_MORE, key="command_id")


def show(
    command_id: Annotated[UUID, typer.Argument(metavar="ID", help="The command's id.", show_default=False)],
    output: Output = OutputForm.TABLE,
) -> None:
    """Show one parked command, why it is parked, and all that was tried. Exit 3 when it is not parked."""
    from worker.operate.doubts import parked
    from worker.store.kept import left_out_of, list_attempts, list_evidence

    async def gather(connection: "AsyncConnection") -> list[dict[str, object]]:
        found = await parked(connection, command_id=command_id, limit=1)
        attempts, evidence = await list_attempts(connection, command_id), await list_evidence(connection, command_id)
        more = {"attempts_left_out": left_out_of(attempts), "evidence_left_out": left_out_of(evidence)}
        return [{**one, "attempts_made": attempts, "evidence": evidence, **more} for one in found]

    found = read(gather)
    found_one(found, f"{command_id} is not parked; see `ledger-worker explain {command_id}`")
    print_one(found[0], output)
    if found[0]["in_doubt"]:
        say(f"a call of it is in doubt: see `ledger-worker in-doubt show {command_id}`")
    else:
        say(f"decide with: ledger-worker parked redrive {command_id} --reason …, or parked discard {command_id}")


def redrive(ids: Ids, reason: Reason, yes: Yes = False, output: Output = OutputForm.JSON) -> None:
    """Put parked commands back, each at the tail of its lane, where no call of them is in doubt.

    `not_after` and limits are judged as for any command; the 24 hours in which a call may stay unsent begin anew. Exit 4
    when only some could be put back, 5 when none.
    """
    from worker.operate.parked import Way

    _decide(Way.REDRIVE, ids, reason, output, yes=yes)


def discard(ids: Ids, reason: Reason, yes: Yes = False, output: Output = OutputForm.JSON) -> None:
    """End parked commands as rejected, DISCARDED, where no call of them is in doubt; no dead letter.

    Exit 4 when only some could be ended, 5 when none.
    """
    from worker.operate.parked import Way

    _decide(Way.DISCARD, ids, reason, output, yes=yes)


def _decide(way: "Way", ids: list[UUID], reason: str, output: OutputForm, *, yes: bool) -> None:
    """Preview all, ask once, decide one by one; what cannot be decided is told and stops none of the others."""
    if len(ids) > IDS_MAX:
        raise typer.BadParameter(f"at most {IDS_MAX} at once", param_hint="ID")
    from worker.operate.parked import Asked

    settings = settings_for("database")
    asked = [Asked(command_id, way, settings.actor, reason) for command_id in dict.fromkeys(ids)]
    previewed = asyncio.run(_each(settings, asked, decided=False))
    possible = [one for one, told in previewed if not isinstance(told, LedgerWorkerError)]
    _raise_if_none(possible, previewed)
    _say_errors(previewed)
    confirm_change(" ".join(str(told) for one, told in previewed if one in possible), reason=reason, yes=yes)
    done = asyncio.run(_each(settings, possible, decided=True))
    made = [told for _, told in done if isinstance(told, Mapping)]
    _raise_if_none(made, done)
    _say_errors(done)
    print_each(made, output)
    if len(made) < len(asked):
        say(f"{len(made)} of {len(asked)} were decided")
        raise typer.Exit(EXIT_PARTLY_DONE)


async def _each(settings: "Settings", asked: "list[Asked]", *, decided: bool) -> "list[tuple[Asked, object]]":
    """Preview or decide each; where the database goes away half-way, the rest is left as it is."""
    from worker.operate.parked import decide, preview
    from worker.store.engine import opened

    found: list[tuple[Asked, object]] = []
    async with opened(settings.database_url.get_secret_value()) as engine:
        for one in asked:
            try:
                found.append((one, await (decide if decided else preview)(engine, settings, one)))
            except (NothingMatchedError, RefusedByGuardError) as error:
                found.append((one, error))
            except PartUnavailableError as error:
                if not found:
                    raise
                found += [(left, error) for left in asked[len(found) :]]
                break
    return found


def _raise_if_none(possible: Sequence[object], found: "list[tuple[Asked, object]]") -> None:
    """Where nothing could be decided, raise what was said; a refusal counts more than an id that is not known."""
    errors = [told for _, told in found if isinstance(told, LedgerWorkerError)]
    if possible or not errors:
        return
    worst = next((e for e in errors if not isinstance(e, NothingMatchedError)), errors[0])
    if len(errors) > 1:
        _say_errors([one for one in found if one[1] is not worst])
    raise worst


def _say_errors(found: "list[tuple[Asked, object]]") -> None:
    for _, told in found:
        if isinstance(told, LedgerWorkerError):
            say(str(told))
