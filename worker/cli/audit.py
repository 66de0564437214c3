"""`audit list` and `verify`: who changed what and why, and whether all of it is still as it was written."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli.frame import EXIT_ERROR, example, say, settings_for
from worker.cli.lists import NO_MORE, Limit, print_list, read
from worker.cli.output import Output, OutputForm, print_json, print_rows

if TYPE_CHECKING:
    from datetime import datetime

    from worker.operate.audit import Verified
    from worker.settings import Settings

COLUMNS = ("audit_id", "audit_seq", "recorded_at", "actor", "action", "subject", "reason")
DIFFERING = ("seq", "side", "fault", "audit_id", "sentence")


def register(app: typer.Typer) -> None:
    """Add the group `audit`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("audit list", "audit verify"))
    group.command(
        "list", epilog=example("audit list", "audit list --actor ann --since 2026-11-22T08:00:00Z --output json")
    )(list_)
    group.command("verify", epilog=example("audit verify", "audit verify --output json"))(verify)
    app.add_typer(group, name="audit", help="What operators changed, when and why.")


def list_(
    actor: Annotated[str | None, typer.Option("--actor", help="Only what this one did.")] = None,
    action: Annotated[str | None, typer.Option("--action", help="Only this, such as in-doubt.resolve.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="From this instant, RFC 3339.")] = None,
    after: Annotated[UUID | None, typer.Option("--after", metavar="ID", help="Go on after this one.")] = None,
    limit: Limit = 100,
    output: Output = OutputForm.TABLE,
) -> None:
    """List what was changed, the latest first; as JSON with what was before and after.

    `actor` is who the command was run for, `database_role` whom Postgres knew; `taken_back` is true for what `recover`
    found on the topic.
    """
    from worker.store.audit import list_audit

    from_at = _instant(since)

    rows = read(
        lambda connection: list_audit(
            connection, actor=actor, action=action, since=from_at, after=after, limit=limit + 1
        )
    )
    print_list(rows, COLUMNS, output, limit, "nothing was changed" if after is None else NO_MORE, key="audit_id")


def _instant(text: str | None) -> "datetime | None":
    from schemas.times import instant

    try:
        return None if text is None else instant(text)
    except ValueError:
        raise typer.BadParameter(
            "is not an RFC 3339 date-time such as 2026-11-22T08:30:00Z", param_hint="--since"
        ) from None


def verify(output: Output = OutputForm.TABLE) -> None:
    """Compare the audit in the database with the one on the topic, row by row; changes nothing.

    Exit 1 and a sentence for the first row that was altered, removed or inserted on either side. Rows that still wait to
    be published, and rows that the topic keeps no more, are in the table alone; the chain covers them all the same.
    """
    found = asyncio.run(_verify(settings_for("kafka", "database")))
    rows = [asdict(one) for one in found.differences]
    if output is OutputForm.JSON:
        print_json({**found.counts(), "differences": rows})
    else:
        print_rows(rows, DIFFERING, output)
    counts = found.counts()
    say(
        f"{counts['compared']} rows compared; {counts['table']} in the table, {counts['topic']} on the topic, "
        f"{counts['waiting']} wait to be published, {counts['kept_no_more']} are kept by the topic no more"
    )
    if not found.differences:
        say("all is as it was written")
        return
    say(found.differences[0].sentence)
    if len(rows) > 1:
        say(f"that is the first of {len(rows)}")
    say("see docs/runbooks/audit.md")
    raise typer.Exit(EXIT_ERROR)


async def _verify(settings: "Settings") -> "Verified":
    from worker.operate.audit import verify as compare
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await compare(engine, settings)
