"""`prune`: takes away what is old and done, at a rate."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.frame import EXIT_NOTHING_MATCHED, example, say, settings_for
from worker.cli.guard import Yes, confirm_change
from worker.cli.lists import OlderThan, finite
from worker.cli.output import Output, OutputForm, print_rows
from worker.cli.progress import progress
from worker.ledger.retention import Aged

if TYPE_CHECKING:
    from worker.operate.prune import Asked
    from worker.settings import Settings

COLUMNS = ("what", "before", "count", "note")


def register(app: typer.Typer) -> None:
    """Add `prune`."""
    app.command(
        "prune",
        epilog=example(
            "prune --dry-run",
            "prune --reason 'ages agreed with compliance on 1 December'",
            "prune --only attempts --older-than 90d --rate 500 --reason 'the disk is half full'",
        ),
    )(prune)


def prune(
    only: Annotated[
        list[Aged] | None, typer.Option("--only", help="Only this; may be given again.", show_default=False)
    ] = None,
    older_than: OlderThan = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="N", min=0.1, callback=finite, help="At most so many rows a second."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go; changes nothing.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit. Needed where something goes.")] = "",
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Take away what is older than the settings LEDGER_RETENTION_… say: bytes are redacted, rows are deleted.

    Only what is finished goes, and never what a promise needs: the identity, hash and verdict of every command, the
    brokerage's numbers, the place of every record and the audit stay for ever. --older-than takes the place of the settings'
    ages and needs --only. Killed half-way, the same command goes on. Exit 3 when no age is set or nothing is as old, 5
    without --reason and --yes, and while another prunes.
    """
    from worker.operate.prune import Asked, chosen_ages

    if older_than is not None and not only:
        raise typer.BadParameter("needs --only, which says of what", param_hint="--older-than")
    settings = settings_for("database")
    age = None if older_than is None else timedelta(seconds=older_than)
    ages = chosen_ages(settings, tuple(dict.fromkeys(only or ())), age)
    pace = settings.prune_rate_per_s if rate is None else rate
    asked = Asked(ages, pace) if dry_run else Asked(ages, pace, settings.actor, reason)
    if not dry_run:
        confirm_change(asked.sentence(), reason=reason, yes=yes)
    try:
        rows = asyncio.run(_prune(settings, asked))
    except KeyboardInterrupt:
        say("interrupted; what is done is done, the same command goes on with the rest")
        raise
    print_rows(rows, COLUMNS, output)
    if not any(row["count"] for row in rows):
        say("nothing is as old")
        raise typer.Exit(EXIT_NOTHING_MATCHED)


async def _prune(settings: "Settings", asked: "Asked") -> list[dict[str, Any]]:
    from worker.operate.prune import prune as take_away
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        with progress("pruning" if asked.changes else "counting") as reach:
            return await take_away(engine, asked, reach)
