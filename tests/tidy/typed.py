"""What is typed after `ledger-worker`, as the command line itself would read it, without running it."""

from collections.abc import Sequence

import typer
from typer.core import TyperGroup

from worker.cli.app import build

[UsageError] = typer.BadParameter.__bases__
"""What typer raises for words that cannot be; it has no public name of its own."""


def parse(words: Sequence[str]) -> str:
    """Return the command's name; raises UsageError where a command or an option does not exist."""
    command = typer.main.get_command(build())
    path: list[str] = []
    rest = list(words)
    while isinstance(command, TyperGroup):
        name, found, rest = command.resolve_command(typer.Context(command), rest)
        assert found is not None
        path.append(name or "")
        command = found
    command.make_context(path[-1], rest)
    return " ".join(path)
