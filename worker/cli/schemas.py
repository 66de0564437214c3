"""`schemas export` and `schemas check`: the documents of what goes over the wire."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.frame import example, say
from worker.errors import LedgerWorkerError, NothingMatchedError, RefusedByGuardError

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the documents are.")]
DEFAULT = Path("schemas", "json")


def register(app: typer.Typer) -> None:
    """Add the group `schemas`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("schemas export", "schemas check"))
    group.command("export", epilog=example("schemas export", "schemas export ./schemas-of-ledger"))(export)
    group.command(
        "check",
        epilog=example("schemas check", "schemas check ./schemas-of-ledger", "schemas check --against ./pinned"),
    )(check)
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


def check(
    folder: Folder = DEFAULT,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Documents of an earlier version; by default the last one released."),
    ] = None,
) -> None:
    """Compare a folder with what this release would write, and this release with the last one.

    Exit 1 and the names of files that are not current; 5 and each change that breaks who sends commands or reads outcomes.
    """
    from schemas.export import stale

    try:
        differing = stale(folder)
    except OSError as error:
        raise LedgerWorkerError(f"{folder} cannot be read: {error.strerror}") from error
    for name in differing:
        typer.echo(name)
    if differing:
        raise LedgerWorkerError(f"{len(differing)} files in {folder} differ from this release: export them again")
    _refuse_if_incompatible(against)
    say("all documents are current, and compatible")


def _refuse_if_incompatible(against: Path | None) -> None:
    from schemas.compatible import incompatible
    from schemas.export import documents
    from schemas.released import last, read

    earlier = last() if against is None else against
    try:
        released = read(earlier)
    except (OSError, ValueError) as error:
        raise LedgerWorkerError(f"{earlier} cannot be read: {error}") from error
    if not released:
        raise NothingMatchedError(f"{earlier} holds no document")
    changes = incompatible(released, documents())
    for change in changes:
        typer.echo(change.sentence)
    if changes:
        raise RefusedByGuardError(f"{len(changes)} changes break those who use {earlier.name}: take them back")
