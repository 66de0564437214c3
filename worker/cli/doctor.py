"""`doctor`: is everything in order, and what to do where it is not."""

import asyncio
import os
from typing import TYPE_CHECKING

import typer

from worker.cli.frame import EXIT_ERROR, example, say, settings_for
from worker.cli.output import Output, OutputForm, print_rows, visible
from worker.errors import SettingsError

if TYPE_CHECKING:
    from worker.operate.doctor import Check
    from worker.settings import Need


def register(app: typer.Typer) -> None:
    """Add `doctor`."""
    app.command("doctor", epilog=example("doctor", "doctor --output json"))(doctor)


def doctor(output: Output = OutputForm.TABLE) -> None:
    """Look at settings, database, clocks, Kafka, topics, brokerage, and at what waits; exit 1 if anything is wrong.

    Changes nothing; the brokerage is asked one signed question. What has no settings is said and not looked at.
    """
    from worker.operate.doctor import Check, examine

    parts, problem = _parts_with_settings()
    told = problem or "complete, and none contradicts another"
    checks = [Check("settings", not problem, told, "set them; see `ledger-worker settings show`")]
    if parts:
        checks += asyncio.run(examine(settings_for(*parts), parts))
    _print(checks, output)
    wrong = [check for check in checks if not check.ok]
    if wrong:
        say(f"{len(wrong)} of {len(checks)} are not in order")
        raise typer.Exit(EXIT_ERROR)
    say("all is in order")


def _parts_with_settings() -> "tuple[list[Need], str]":
    """Return the parts that can be looked at, and what is wrong with the settings."""
    from worker.settings import Settings

    needs: tuple[Need, ...] = ("database", "kafka", "whale")
    try:
        Settings.from_env(os.environ, needs=needs)
    except SettingsError as error:
        return [need for need in needs if _are_given(need)], str(error)
    return list(needs), ""


def _are_given(need: "Need") -> bool:
    from worker.settings import Settings

    try:
        Settings.from_env(os.environ, needs=(need,))
    except SettingsError:
        return False
    return True


def _print(checks: "list[Check]", output: OutputForm) -> None:
    rows = [
        {"check": one.name, "ok": "ok" if one.ok else "WRONG", "says": one.says, "do": "" if one.ok else one.do}
        for one in checks
    ]
    if output is OutputForm.JSON:
        print_rows([row | {"ok": one.ok} for row, one in zip(rows, checks, strict=True)], (), output)
        return
    for row in rows:
        typer.echo(visible(f"{row['ok']:<6}{row['check']:<12}{row['says']}{'; ' + row['do'] if row['do'] else ''}"))
