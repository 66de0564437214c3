"""The entry of `ledger-worker` and `python -m worker`: errors become one line and an exit code here, and only here."""

import sys
from collections.abc import Sequence

import typer

from worker.cli.app import build
from worker.cli.frame import EXIT_ERROR, EXIT_NOTHING_MATCHED, EXIT_REFUSED_BY_GUARD, EXIT_USAGE
from worker.cli.output import visible
from worker.errors import LedgerWorkerError, NothingMatchedError, RefusedByGuardError


def main() -> None:
    """Run the command line; exits 0 done, 1 error, 2 usage, 3 nothing matched, 4 partly done, 5 refused by a guard."""
    try:
        _refuse_what_is_no_text(sys.argv[1:])
        build()(prog_name="ledger-worker")
    except LedgerWorkerError as error:
        typer.secho(visible(" ".join(str(error).split())), fg="red", err=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse_what_is_no_text(arguments: Sequence[str]) -> None:
    """Exit 2 where an argument is not UTF-8: it names nothing in Postgres or Kafka, and could not be looked for."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            typer.secho(f"an argument is not UTF-8: {visible(argument)}", fg="red", err=True)
            sys.exit(EXIT_USAGE)


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
