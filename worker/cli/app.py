"""Assembles the command line from its groups."""

import typer

from worker.cli import (
    accounts,
    audit,
    commands,
    dead_letters,
    demo,
    doctor,
    explain,
    in_doubt,
    migrate,
    outbox,
    parked,
    pause,
    prune,
    reconcile,
    recover,
    replay,
    run,
    schemas,
    send,
    settings,
    tail,
    timers,
    topics,
    whale,
)
from worker.cli.frame import example

GROUPS = (
    demo,
    migrate,
    topics,
    run,
    send,
    tail,
    explain,
    doctor,
    in_doubt,
    parked,
    dead_letters,
    timers,
    replay,
    reconcile,
    outbox,
    pause,
    accounts,
    commands,
    recover,
    prune,
    audit,
    whale,
    settings,
    schemas,
)


def build() -> typer.Typer:
    """Return the whole command line."""
    app = typer.Typer(
        name="ledger-worker",
        help="Moves commands from Kafka through a brokerage's API to outcomes. stdout is data, stderr is talk.",
        epilog=example("demo", "send commands.jsonl", "explain 0f8fad5b-d9cb-469f-a165-70867728950e"),
        no_args_is_help=True,
        rich_markup_mode=None,  # boxes take half a second to draw, and wrap an example in the middle
        pretty_exceptions_enable=False,  # its tracebacks print local variables, secrets among them
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in GROUPS:
        group.register(app)
    return app
