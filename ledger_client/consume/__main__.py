"""`python -m ledger_client.consume`: outcomes into a table or into Parquet files."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ledger_client.connection import Connection
from ledger_client.consume.run import Reach, Tally, consume, stop_on_signals
from ledger_client.consume.sinks import Sink
from ledger_client.errors import LedgerClientError, SettingsError

EXIT_ERROR, EXIT_MISSING = 1, 4
TOLD_EVERY_S = 10.0
EXAMPLES = """\b
Examples:
  python -m ledger_client.consume --to postgres --database-url postgresql://analytics@db/books --until-end
  python -m ledger_client.consume --to parquet --folder ./outcomes
"""


class Destination(StrEnum):
    """Where to."""

    POSTGRES = "postgres"
    PARQUET = "parquet"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=EXAMPLES)
def main(
    to: Annotated[Destination, typer.Option(help="A table of yours, or files (needs the extra `parquet`).")],
    database_url: Annotated[
        str, typer.Option(help="Of --to postgres; without it, or for the password, libpq's PGHOST, PGPASSWORD, ….")
    ] = "",
    table: Annotated[str, typer.Option(help="TABLE or SCHEMA.TABLE; made where it is not there.")] = "ledger_outcomes",
    folder: Annotated[Path, typer.Option(help="Of --to parquet; made where it is not there.")] = Path("outcomes"),
    file_rows: Annotated[int, typer.Option(min=1, help="A file is written when it has so many rows,")] = 100_000,
    file_every_s: Annotated[float, typer.Option(min=0, help="or when its first row has waited so long.")] = 60.0,
    until_end: Annotated[bool, typer.Option("--until-end", help="End when all is kept that is there now.")] = False,
    pass_over_lost: Annotated[
        bool, typer.Option("--pass-over-lost", help="Go on behind what retention removed before it was read.")
    ] = False,
) -> None:
    """Copy every outcome once into a table or into Parquet files, and say what is missing.

    Kafka is named by LEDGER_KAFKA_BOOTSTRAP_SERVERS and the other LEDGER_KAFKA_… variables, the topic by
    LEDGER_TOPIC_OUTCOMES. Offsets are kept with the rows, so it may be killed at any time and started again. Ends on
    Ctrl-C, SIGTERM or --until-end with one JSON object: read, stored, at_end, missing (each gap with account_no, first,
    last). Exit 0, 4 when something is missing, 1 when it could not go on.
    """
    try:
        tally = asyncio.run(_run(to, database_url, table, folder, file_rows, file_every_s, until_end, pass_over_lost))
    except LedgerClientError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_ERROR) from None
    missing = [gap._asdict() for gap in tally.missing]
    told = {"read": tally.read, "stored": tally.stored, "at_end": tally.at_end, "missing": missing}
    typer.echo(json.dumps(told))
    if missing:
        count = sum(gap.last - gap.first + 1 for gap in tally.missing)
        typer.echo(f"{count} outcomes are missing", err=True)
        raise typer.Exit(EXIT_MISSING)


async def _run(
    to: Destination,
    database_url: str,
    table: str,
    folder: Path,
    file_rows: int,
    file_every_s: float,
    until_end: bool,
    pass_over_lost: bool,
) -> Tally:
    stop = stop_on_signals()
    connection = Connection.from_env()
    topic = connection.topics.outcomes
    opened: AbstractAsyncContextManager[Sink]
    match to:
        case Destination.POSTGRES:
            from ledger_client.consume.postgres import open_postgres  # noqa: PLC0415 - only what is asked for

            opened = open_postgres(database_url, table, topic)
        case Destination.PARQUET:
            try:
                from ledger_client.consume.parquet import open_parquet  # noqa: PLC0415 - only what is asked for
            except ImportError as error:
                raise SettingsError("--to parquet needs pyarrow: pip install 'ledger-worker[parquet]'") from error
            opened = open_parquet(folder, topic, rows_max=file_rows, every_s=file_every_s)
    async with opened as sink:
        with _progress() as reach:
            return await consume(
                connection, sink, until_end=until_end, pass_over_lost=pass_over_lost, reach=reach, stop=stop
            )


@contextmanager
def _progress() -> Iterator[Reach]:
    """Give what moves a bar on a terminal, and says how far it is every few seconds elsewhere."""
    if sys.stderr.isatty():
        columns = TextColumn("outcomes"), BarColumn(), MofNCompleteColumn()
        with Progress(*columns, console=Console(stderr=True)) as bar:
            row = bar.add_task("outcomes", total=None)
            yield lambda read, left: bar.update(row, completed=read, total=read + left)
        return
    told_at_s = time.monotonic()

    def say(read: int, left: int) -> None:
        nonlocal told_at_s
        if time.monotonic() - told_at_s >= TOLD_EVERY_S:
            told_at_s = time.monotonic()
            typer.echo(f"{read} outcomes read, {left} left of those that were there at the start", err=True)

    yield say


if __name__ == "__main__":
    app()
