"""The entry of `ledger-worker` and `python -m worker`: errors become one line and an exit code here, and only here."""

import sys

import typer

from worker.cli.app import build
from worker.cli.frame import EXIT_ERROR, EXIT_NOTHING_MATCHED, EXIT_REFUSED_BY_GUARD
from worker.errors import LedgerWorkerError, NothingMatchedError, RefusedByGuardError


def main() -> None:
    """Run the command line; exits 0 done, 1 error, 2 usage, 3 nothing matched, 4 partly done, 5 refused by a guard."""
    try:
        build()(prog_name="ledger-worker")
    except LedgerWorkerError as error:
        typer.secho(" ".join(str(error).split()), fg="red", err=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def exit_code(error: LedgerWorkerError) -> int:
    """Return the exit code that the contract gives this kind of error."""
    match error:
        case NothingMatchedError():
            return EXIT_NOTHING_MATCHED
        case RefusedByGuardError():
            return EXIT_REFUSED_BY_GUARD
        case _:
            return EXIT_ERROR


if __name__ == "__main__":
    main()
