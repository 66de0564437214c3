"""The page docs/options.md: every command's help text, from the command line itself. `python -m worker.cli.pages` writes it."""

from collections.abc import Iterator
from pathlib import Path

import typer.main
from typer.core import TyperCommand, TyperGroup

from worker.cli.app import build

PAGE = Path(__file__).parents[2] / "docs/options.md"
_COLUMNS = 110
_HEAD = """# The command line, every option

What `--help` says of each command. Made from `worker/cli/` by `make pages`; a test keeps it current. What they are for, and what holds for
all of them (exit statuses, `--output`, `--reason`), is in [the command line](cli.md).
"""


def options_page() -> str:
    """Return docs/options.md."""
    return _HEAD + "".join(_told(typer.main.get_command(build()), "ledger-worker", None))


def _told(command: object, name: str, above: typer.Context | None) -> Iterator[str]:
    """Give the help of a command that can be run, and of all below it, sorted."""
    if not isinstance(command, TyperGroup | TyperCommand):
        raise TypeError(f"{name} is no command of typer's")
    context = typer.Context(command, parent=above, info_name=name, terminal_width=_COLUMNS, **command.context_settings)
    if not isinstance(command, TyperGroup) or command.invoke_without_command:
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        yield f"\n## {context.command_path.removeprefix('ledger-worker ')}\n\n```text\n{text}\n```\n"
    if isinstance(command, TyperGroup):
        for below in sorted(command.list_commands(context)):
            yield from _told(command.get_command(context, below), below, context)


if __name__ == "__main__":
    PAGE.write_text(options_page())
