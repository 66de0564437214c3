"""`recover`: after Postgres was restored, or a replica that lagged was promoted."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import example, say, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.output import Output, OutputForm, print_rows

if TYPE_CHECKING:
    from worker.settings import Settings

WITNESSES_SHOWN = 5
COLUMNS = (
    "records_forgotten",
    "outcomes_forgotten",
    "commands_answered",
    "commands_in_doubt",
    "commands_parked",
    "records_refused",
    "adjustments_in_doubt",
    "ids_without_record",
    "audit_forgotten",
    "accounts",
)


def register(app: typer.Typer) -> None:
    """Add `recover`."""
    examples = example(
        "recover --reason 'restored from the backup of 03:00'", "recover --whole --reason 'see replay plan'"
    )
    app.command("recover", epilog=examples)(recover)


def recover(
    reason: Reason,
    whole: Annotated[
        bool, typer.Option("--whole", help="Look for unknown records below the stored offsets too.")
    ] = False,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Tell a database that has forgotten what Kafka knows; what Kafka does not know either is in doubt from then on.

    Stop every worker first. Says what it would do, asks, and does it in one database transaction: outcomes that were
    published are taken back and end their commands, account_seq goes on above the highest, and every other command that
    is not finished is resolved like any doubt, for it may have been sent. See docs/runbooks/restored-database.md.
    Exit 3 when nothing was forgotten and nothing waits.
    """
    asyncio.run(_recover(settings_for("kafka", "database"), reason, whole, yes, output))


async def _recover(settings: "Settings", reason: str, whole: bool, yes: bool, output: OutputForm) -> None:
    from worker.kafka.past import open_past
    from worker.operate.recover import preview
    from worker.operate.recover import recover as carry_out
    from worker.operate.remember import check_stopped, remember
    from worker.operate.witnesses import find_witnesses
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        async with open_past(settings) as past:
            await check_stopped(settings, past)
            for witness in (await find_witnesses(engine, settings, past))[:WITNESSES_SHOWN]:
                say(witness)
            remembered = await remember(engine, settings, past, say, whole=whole)
        found = await preview(engine, settings, remembered)
        for name, count in found.row().items():
            say(f"{count:>8} {name.replace('_', ' ')}")
        unfinished = found.commands_in_doubt + found.commands_parked
        confirm_change(
            f"{unfinished} commands will be in doubt, none of them is new any more, and {found.commands_answered} end as published.",
            reason=reason,
            yes=yes,
        )
        done = await carry_out(engine, settings, remembered, settings.actor, reason)
    print_rows([done.row()], COLUMNS, output)
    say("start the workers; `ledger-worker in-doubt list` shows what is still in doubt")
