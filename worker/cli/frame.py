"""What all commands share: reading settings, talk on stderr, the example in a help text."""

import logging
import os
import sys
from typing import TYPE_CHECKING

import typer

from worker.cli.output import visible_lines

if TYPE_CHECKING:
    from worker.settings import Need, Settings

EXIT_ERROR, EXIT_USAGE, EXIT_NOTHING_MATCHED, EXIT_PARTLY_DONE, EXIT_REFUSED_BY_GUARD = 1, 2, 3, 4, 5


def settings_for(*needs: "Need") -> "Settings":
    """Read the settings from the environment; names variables that look like typing errors on stderr.

    Logs are silent afterwards; `run` configures them anew.
    Raises SettingsError when one of the parts named has a setting missing, or any contradicts.
    """
    from worker.settings import Settings, unknown_variables

    unknown = unknown_variables(os.environ)
    if unknown:
        say(f"not a setting, ignored: {', '.join(unknown)}")
    settings = Settings.from_env(os.environ, needs=needs)
    if {"kafka", "database"} & set(needs):
        _hush_logs(settings)
    return settings


def _hush_logs(settings: "Settings") -> None:
    """Leave the talking to the command: its one sentence says what a library would log in five lines."""
    from worker.observe.logs import configure

    configure(settings.log_format, settings.secret_values(), sys.stderr, level=logging.CRITICAL)


def say(text: str) -> None:
    """Tell the person something; data goes to stdout instead."""
    typer.echo(visible_lines(text), err=True)


def example(*lines: str) -> str:
    """Return the last part of a help text; every command has one."""
    return "\b\n" + "\n".join(
        ("Example:" if len(lines) == 1 else "Examples:", *(f"  ledger-worker {line}" for line in lines))
    )


def person_watches() -> bool:
    """Say whether a person can be asked: both what is typed and what is said are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
