"""Into a table of yours: rows and offsets in one database transaction, so that a kill loses and doubles nothing."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql

from ledger_client.consume.completeness import Gap
from ledger_client.consume.reading import RECORDS_MAX, Batch
from ledger_client.consume.rows import COLUMNS, Kind, Row
from ledger_client.consume.sinks import GAPS
from ledger_client.errors import ContradictionError, LedgerClientError, SettingsError, UnavailableError

LOCK_TIMEOUT = "5s"  # the session of a consumer that was killed a moment ago may still be ending
_TYPES: dict[Kind, str] = {
    "uuid": "uuid",
    "text": "text",
    "integer": "bigint",
    "instant": "timestamptz",
    "json": "jsonb",
}
Connection = psycopg.AsyncConnection[tuple[object, ...]]


class PostgresSink:
    """One table and, beside it, `<table>_offsets`; see `open_postgres`."""

    def __init__(self, connection: Connection, table: tuple[str, ...], topic: str) -> None:
        self.records_max = RECORDS_MAX
        self._connection, self._topic = connection, topic
        self._name = ".".join(table)
        self._table = sql.Identifier(*table)
        self._places = sql.Identifier(*table[:-1], f"{table[-1]}_offsets")
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in COLUMNS)
        marks = sql.SQL(", ").join(sql.Placeholder() for _ in COLUMNS)
        self._insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (event_id) DO NOTHING").format(
            self._table, names, marks
        )

    async def prepare(self) -> None:
        """Lock the table's name for this session and make both tables, where they are not there."""
        await self._connection.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_TIMEOUT))
        try:
            await self._connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [self._name])
        except psycopg.errors.LockNotAvailable as error:
            raise UnavailableError(f"another consumer writes to {self._name}") from error
        columns = [
            sql.SQL("{} {} {}").format(
                sql.Identifier(column.name),
                sql.SQL(_TYPES[column.kind]),
                sql.SQL("" if column.nullable else "NOT NULL"),
            )
            for column in COLUMNS
        ]
        await self._connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (event_id), UNIQUE (account_no, account_seq))"
            ).format(self._table, sql.SQL(", ").join(columns))
        )
        await self._connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (topic text, partition integer, next_offset bigint NOT NULL,"
                " PRIMARY KEY (topic, partition))"
            ).format(self._places)
        )

    async def offsets(self) -> Mapping[int, int]:
        """Return where to go on, by partition."""
        found = await self._connection.execute(
            sql.SQL("SELECT partition, next_offset FROM {} WHERE topic = %s").format(self._places), [self._topic]
        )
        return {int(str(partition)): int(str(offset)) for partition, offset in await found.fetchall()}

    async def store(self, batch: Batch) -> int:
        """Write rows and offsets in one database transaction; returns how many rows were new."""
        if not batch.read:
            return 0
        with told(self._name):
            async with self._connection.transaction(), self._connection.cursor() as cursor:
                await cursor.executemany(self._insert, [_storable(row) for row in batch.rows])
                new = cursor.rowcount
                for partition, (begun, until) in batch.read.items():
                    await self._move(cursor, partition, begun, until)
        return new

    async def _move(
        self, cursor: psycopg.AsyncCursor[tuple[object, ...]], partition: int, begun: int, until: int
    ) -> None:
        moved = await cursor.execute(
            sql.SQL(
                "INSERT INTO {0} AS stored VALUES (%s, %s, %s) ON CONFLICT (topic, partition)"
                " DO UPDATE SET next_offset = excluded.next_offset WHERE stored.next_offset <= %s"
            ).format(self._places),
            [self._topic, partition, until, begun],
        )
        if moved.rowcount != 1:
            raise UnavailableError(
                f"another consumer writes to {self._name}: partition {partition} was moved meanwhile"
            )

    async def flush(self) -> None:
        """Nothing waits: each batch is committed."""

    async def missing(self) -> list[Gap]:
        """Return every gap in the table."""
        with told(self._name):
            found = await self._connection.execute(sql.SQL(GAPS).format(self._table))
            return [Gap(str(no), int(str(first)), int(str(last))) for no, first, last in await found.fetchall()]


class told:  # noqa: N801 - reads as a sentence
    """Turns psycopg's errors into sentences."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, psycopg.Error):
            raise sentence(error, self._name) from error


def sentence(error: psycopg.Error, name: str) -> LedgerClientError:
    """Say what the database said; it quotes no password."""
    why = (error.diag.message_primary or str(error)).strip().partition("\n")[0]
    match error:
        case psycopg.errors.UniqueViolation():
            detail = error.diag.message_detail or ""
            return ContradictionError(f"{name}: two different outcomes of one account bear one number: {detail}")
        case psycopg.errors.UndefinedColumn() | psycopg.errors.DatatypeMismatch() | psycopg.errors.NotNullViolation():
            return SettingsError(f"{name} is not a table that this consumer made: {why}")
        case _:
            return UnavailableError(f"the database of {name} does not take it: {why}")


def _storable(row: Row) -> Row:
    """Postgres has no NUL in texts; the brokerage's words might."""
    return tuple(cell.replace("\x00", "\ufffd") if isinstance(cell, str) else cell for cell in row)


@asynccontextmanager
async def open_postgres(database_url: str, table: str, topic: str) -> AsyncIterator[PostgresSink]:
    """Connect, lock the table for this consumer and make it, where it is not there. An empty address: libpq's variables.

    Raises UnavailableError, SettingsError.
    """
    parts = tuple(table.split("."))
    if not all(parts) or len(parts) > 2:  # noqa: PLR2004 - schema.table
        raise SettingsError(f"--table {table}: must be TABLE or SCHEMA.TABLE")
    try:
        connection: Connection = await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, connect_timeout=10, application_name="ledger_client.consume"
        )
    except psycopg.ProgrammingError as error:  # its text may quote the address, password and all
        raise SettingsError(
            "--database-url is not an address of a database, postgresql://user@host:port/name"
        ) from error
    except psycopg.OperationalError as error:
        raise sentence(error, table) from error
    async with connection:
        sink = PostgresSink(connection, parts, topic)
        with told(table):
            await sink.prepare()
        yield sink
