"""The guard before everything that changes something: a reason, and a person's yes."""

from typing import Annotated

import typer

from worker.cli.frame import person_watches
from worker.cli.output import visible
from worker.errors import RefusedByGuardError

Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where nobody can be asked.")]


def confirm_change(what: str, *, reason: str, yes: bool) -> None:
    """Return when the change may be made; `what` is a sentence that says what would change.

    Asks on a terminal. Raises RefusedByGuardError without a reason, on a no, and where nobody can be asked.
    """
    if not reason.strip():
        raise RefusedByGuardError("--reason is empty; say why, for whoever reads the audit")
    if yes:
        return
    if not person_watches():
        raise RefusedByGuardError(f"{what} Nobody can be asked here: give --yes")
    try:
        agreed = typer.confirm(f"{visible(what)} Go on?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise RefusedByGuardError("not confirmed; nothing was changed")
