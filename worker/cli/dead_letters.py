"""`dead-letters list`, `show`, `seen` and `ignore`: records that were not taken, why, and what a person thinks of them."""

import asyncio
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli import redrive
from worker.cli.frame import EXIT_PARTLY_DONE, example, say, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.lists import NO_MORE, Limit, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.settings import Settings
    from worker.store.triage import Group

GROUPED = (
    *("fingerprint", "reason", "code", "field", "count", "new", "seen", "ignored", "redriven"),
    *("first_at", "last_at", "sample"),
)
ROWS = ("dead_letter_id", "failed_at", "state", "reason", "code", "field", "topic", "partition", "offset", "message")
FINGERPRINT = re.compile("[0-9a-f]{16}")


class WhyDead(StrEnum):
    """Why a record is a dead letter, as lists take it."""

    MALFORMED = "MALFORMED"
    TOO_LARGE = "TOO_LARGE"
    REFUSED = "REFUSED"
    ID_CONFLICT = "ID_CONFLICT"
    QUARANTINED = "QUARANTINED"


class State(StrEnum):
    """What a person thinks of a dead letter, or that it was put back."""

    NEW = "new"
    SEEN = "seen"
    IGNORED = "ignored"
    REDRIVEN = "redriven"


Ids = Annotated[list[UUID] | None, typer.Argument(metavar="ID…", help="Their ids, see list.", show_default=False)]
OfGroup = Annotated[str | None, typer.Option("--fingerprint", metavar="G", help="All of this group.")]


def register(app: typer.Typer) -> None:
    """Add the group `dead-letters`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("dead-letters list --state new"))
    group.command(
        "list",
        epilog=example(
            "dead-letters list --state new",
            "dead-letters list --all --fingerprint 3f1c… --limit 20",
        ),
    )(list_)
    group.command("show", epilog=example("dead-letters show 4b4c7c2e-3f0b-5d2b-9a53-1f6a2d1b7a10"))(show)
    group.command("seen", epilog=example("dead-letters seen --fingerprint 3f1c… --reason 'asked the producer'"))(seen)
    group.command("ignore", epilog=example("dead-letters ignore 4b4c7c2e-… --reason 'a test of the producer'"))(ignore)
    redrive.register(group)
    app.add_typer(group, name="dead-letters", help="Records that were not taken, each with its reason.")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Each dead letter instead of groups, the latest first.")] = False,
    fingerprint: Annotated[str | None, typer.Option("--fingerprint", help="Only this group's; means --all.")] = None,
    why: Annotated[WhyDead | None, typer.Option("--reason", help="Only with this reason.")] = None,
    state: Annotated[State | None, typer.Option("--state", help="Only those in this state.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Only those read from this topic.")] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID|G", help="Go on after this dead letter, or this group.")
    ] = None,
    limit: Limit = 100,
    output: Output = OutputForm.TABLE,
) -> None:
    """List dead letters, grouped by what is wrong with them: how many, since when, and one of them to look at."""
    from worker.store.letters import Chosen, group_dead_letters, list_dead_letters

    chosen = Chosen(why and why.value, state and state.value, topic)
    nothing = "there are no dead letters" if after is None else NO_MORE
    after_id = _id_of(after)
    if (every or fingerprint) and after is not None and after_id is None:
        raise typer.BadParameter("with --all or --fingerprint it is a dead letter's id", param_hint="--after")
    if not (every or fingerprint or after_id):
        rows = read(lambda connection: group_dead_letters(connection, chosen=chosen, after=after, limit=limit + 1))
        print_list(rows, GROUPED, output, limit, nothing, key="fingerprint")
    else:
        rows = read(
            lambda connection: list_dead_letters(
                connection, fingerprint=fingerprint, chosen=chosen, after=after_id, limit=limit + 1
            )
        )
        print_list(rows, ROWS, output, limit, nothing, key="dead_letter_id")


def _id_of(after: str | None) -> UUID | None:
    if after is None or FINGERPRINT.fullmatch(after):
        return None
    try:
        return UUID(after)
    except ValueError as error:
        raise typer.BadParameter("is neither an id nor a fingerprint", param_hint="--after") from error


def show(
    dead_letter_id: Annotated[UUID, typer.Argument(metavar="ID", help="Its id, see list.", show_default=False)],
    output: Output = OutputForm.TABLE,
) -> None:
    """Show one dead letter byte for byte, as hex and as text, with its headers, where it came from, and its redrives."""
    from worker.store.letters import read_dead_letter

    found = read(lambda connection: read_dead_letter(connection, dead_letter_id))
    found_one(found, f"no dead letter has the id {dead_letter_id}")
    print_one(found[0], output)


def seen(
    reason: Reason, ids: Ids = None, fingerprint: OfGroup = None, yes: Yes = False, output: Output = OutputForm.JSON
) -> None:
    """Note that a person has seen these; one that is put back and comes back is new again."""
    _sort("seen", ids, fingerprint, reason, output, yes=yes)


def ignore(
    reason: Reason, ids: Ids = None, fingerprint: OfGroup = None, yes: Yes = False, output: Output = OutputForm.JSON
) -> None:
    """Note that these are left as they are, and why; a redrive of a group or range leaves them out."""
    _sort("ignored", ids, fingerprint, reason, output, yes=yes)


def _sort(
    state: str, ids: list[UUID] | None, fingerprint: str | None, reason: str, output: OutputForm, *, yes: bool
) -> None:
    from worker.store.triage import Group

    if bool(ids) == bool(fingerprint):
        raise typer.BadParameter("give ids, or --fingerprint", param_hint="ID…")
    settings = settings_for("database")
    group = Group(tuple(dict.fromkeys(ids or ())), fingerprint)
    confirm_change(asyncio.run(_preview(settings, group, state)), reason=reason, yes=yes)
    done = asyncio.run(_sort_out(settings, group, state, reason))
    print_one({"state": state, **done}, output)
    if done["unknown"] or done["redriven"]:
        say(f"{done['redriven']} were redriven and stay so, {done['unknown']} ids name nothing")
        raise typer.Exit(EXIT_PARTLY_DONE)


async def _preview(settings: "Settings", group: "Group", state: str) -> str:
    from worker.operate.triage import preview
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await preview(engine, group, state)


async def _sort_out(settings: "Settings", group: "Group", state: str, reason: str) -> "Mapping[str, int]":
    from worker.operate.triage import sort_out
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await sort_out(engine, group, state, settings.actor, reason)
