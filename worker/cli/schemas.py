"""`schemas export` and `schemas check`: the documents of what goes over the wire."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.frame import example, say
from worker.errors import LedgerWorkerError

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the documents are.")]
DEFAULT = Path("schemas", "json")


def register(app: typer.Typer) -> None:
    """Add the group `schemas`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("schemas export", "schemas check"))
    group.command("export", epilog=example("schemas export", "schemas export ./schemas-of-ledger"))(export)
    group.command("check", epilog=example("schemas check", "schemas check ./schemas-of-ledger"))(check)
    app.add_typer(group, name="schemas", help="JSON Schemas and the AsyncAPI document.")


def export(folder: Folder = DEFAULT) -> None:
    """Write the JSON Schemas and the AsyncAPI document into a folder, and print the names of the files."""
    from schemas.export import export as write

    try:
        files = write(folder)
    except OSError as error:
        raise LedgerWorkerError(f"{folder} cannot be written: {error.strerror}") from error
    for file in files:
        typer.echo(file)


def check(folder: Folder = DEFAULT) -> None:
    """Compare a folder with what this release would write; exit 1 and the names of files that differ."""
    from schemas.export import stale

    try:
        differing = stale(folder)
    except OSError as error:
        raise LedgerWorkerError(f"{folder} cannot be read: {error.strerror}") from error
    for name in differing:
        typer.echo(name)
    if differing:
        raise LedgerWorkerError(f"{len(differing)} files in {folder} differ from this release: export them again")
    say("all documents are current")
