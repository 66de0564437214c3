"""The door to Postgres: connections, database transactions, and what their errors mean for the caller."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Engine, TextClause, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFreeError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from migrations import newest
from worker.errors import DataRefusedError, LedgerWorkerError, PartUnavailableError, RevisionError, SettingsError
from worker.store.arrays import Rows, arrays
from worker.store.tls import sentence

STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 15_000
PATIENCE_MS = 5_000
"""A person's command waits so much longer for a lock than Postgres lets a frozen worker keep it."""
CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 10
APPLICATION_NAME = "ledger-worker"
"""What Postgres calls our connections, with the release's newest revision behind it: `migrate` looks who is at work."""
DATA_CLASSES = ("22", "23", "54")
"""SQLSTATE classes that blame the rows: data exception, integrity violation, program limit."""
UNKNOWN_NAMES = ("42P01", "42703")
"""SQLSTATEs that blame the revision: no such table, no such column."""
NO_RIGHT = "42501"
LOCKED = "55P03"
BUSY_CLASSES = ("25", "40", "53", "55")
"""Those that blame the moment: a server that only reads after a failover, a serialization, resources, a lock."""


class Login:
    """User and password of the connections that an engine makes from now on; server and database stay those of its URL."""

    def __init__(self) -> None:
        self._renewed: dict[str, str] = {}

    def renew(self, url: str) -> None:
        """Take user and password from this URL. SettingsError where the driver does not take it."""
        try:
            given = make_url(url)
        except ArgumentError as error:
            raise SettingsError("LEDGER_DATABASE_URL holds what the driver does not take") from error
        renewed = {"user": given.username, "password": given.password}
        self._renewed = {name: str(value) for name, value in renewed.items() if value is not None}

    def log_in(self, _dialect: object, _record: object, _args: object, given: dict[str, Any]) -> None:
        """SQLAlchemy's hook before each connection."""
        given.update(self._renewed)


def create_engine(
    url: str, *, pool_size: int = 8, lock_timeout_ms: int | None = None, login: Login | None = None
) -> AsyncEngine:
    """Make the engine for `postgresql://` URLs; it connects when first used."""
    lock_timeout_ms = lock_timeout_ms or LOCK_TIMEOUT_MS
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=False,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": f"{APPLICATION_NAME} {newest()}",
            "prepare_threshold": 2,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={lock_timeout_ms}"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
            " -c synchronous_commit=on -c timezone=UTC -c jit=off",
        },
    )
    if login is not None:
        event.listen(engine.sync_engine, "do_connect", login.log_in)
    _kept[engine.sync_engine] = Kept(asyncio.Semaphore(pool_size))
    event.listen(engine.sync_engine, "engine_disposed", _let_go)
    return engine


@dataclass(frozen=True, slots=True)
class Kept:
    """Connections that are kept open between database transactions, beside SQLAlchemy's pool.

    Taking one from that pool, beginning, committing and giving it back through SQLAlchemy costs 0.2 ms of processor, as
    much as the two or three statements of a small database transaction.
    """

    room: asyncio.Semaphore
    idle: list[AsyncConnection] = field(default_factory=list)


_kept: WeakKeyDictionary[Engine, Kept] = WeakKeyDictionary()


def _let_go(engine: Engine) -> None:
    """SQLAlchemy's hook after the pool was closed."""
    idle = _kept[engine].idle
    while idle:
        connection = idle.pop().sync_connection
        if connection is not None:
            connection.invalidate()
            connection.close()


def connections_in_use(engine: AsyncEngine) -> int:
    """Return how many connections somebody has at this moment."""
    taken = engine.pool.checkedout() if isinstance(engine.pool, QueuePool) else 0
    return taken - len(_kept[engine.sync_engine].idle)


@asynccontextmanager
async def transaction(engine: AsyncEngine, *, alone: bool = False) -> AsyncIterator[AsyncConnection]:
    """One database transaction, committed at the end; `alone`: of one statement, which needs no BEGIN and no COMMIT.

    Raises `DataRefusedError` when the rows are to blame and `PartUnavailableError` when the database is away, shutting
    down, or gave up waiting. After the latter the commit may nevertheless have happened: the caller must be able to ask.
    """
    with _meant():
        async with _connection(engine) as connection, _alone(connection) if alone else nullcontext():
            yield connection
            if connection.in_transaction():  # SQLAlchemy knows of it, because a statement went its way
                await connection.commit()
            else:
                await _driver(connection).commit()


@asynccontextmanager
async def _alone(connection: AsyncConnection) -> AsyncIterator[None]:
    """Let each statement be its own database transaction; a connection that fails meanwhile serves no more."""
    await _driver(connection).set_autocommit(True)
    try:
        yield
    except BaseException:
        await connection.invalidate()
        raise
    await _driver(connection).set_autocommit(False)


@asynccontextmanager
async def _connection(engine: AsyncEngine, *, keep: bool = True) -> AsyncIterator[AsyncConnection]:
    """Give a connection; where the block raises it goes back to SQLAlchemy, which rolls back or closes it."""
    kept = _kept[engine.sync_engine]
    async with asyncio.timeout(POOL_TIMEOUT_S):
        await kept.room.acquire()
    try:
        connection = kept.idle.pop() if kept.idle else await engine.connect()
        try:
            yield connection
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(_give_back(connection, kept.idle)))
            raise
        if keep:
            kept.idle.append(connection)
        else:
            await connection.close()
    finally:
        kept.room.release()


async def _give_back(connection: AsyncConnection, idle: list[AsyncConnection]) -> None:
    """Give a connection back after an error; with one that is lost go those that lie idle: they are likely lost too."""
    if connection.invalidated or _driver(connection).closed:
        lost, idle[:] = [connection, *idle], []
        for one in lost:
            await one.invalidate()
            await one.close()
    else:
        await connection.close()


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One database transaction that can only read. Raises as `transaction` does."""
    async with transaction(engine) as connection:
        await connection.execute(sql("SET TRANSACTION READ ONLY"))
        yield connection


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection on which every statement is its own database transaction, for a lock that outlives one.

    It is closed at the end, not kept for others. Raises as `transaction` does.
    """
    with _meant():
        async with _connection(engine, keep=False) as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            try:
                yield connection
            finally:
                await connection.invalidate()


@contextmanager
def _meant() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _meaning(error, error.orig, lost=error.connection_invalidated) from error
    except psycopg.Error as error:
        raise _meaning(error, error) from error
    except UnicodeEncodeError as error:
        raise DataRefusedError(f"a text cannot be stored: {_line(error)}") from error
    except (NoConnectionFreeError, TimeoutError, OSError) as error:
        raise PartUnavailableError(f"Postgres does not answer: {_line(error)}") from error


def _meaning(error: Exception, cause: BaseException | None, *, lost: bool = False) -> Exception:
    state = getattr(cause, "sqlstate", None) or ""
    if state.startswith(DATA_CLASSES) or isinstance(cause, psycopg.DataError):
        return DataRefusedError(f"Postgres refuses the rows: {_line(_primary(cause))}")
    if state == LOCKED:
        limit = f"one that is frozen or cut off lets go after {IDLE_IN_TRANSACTION_TIMEOUT_MS // 1000} s at most"
        return PartUnavailableError(f"somebody else keeps what must be locked in Postgres; {limit}: try again then")
    if (untrusted := sentence(str(cause))) is not None:
        return PartUnavailableError(untrusted)
    if lost or isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError) or state[:2] in ("08", "57"):
        return PartUnavailableError(f"Postgres does not answer: {_line(cause)}")
    if state[:2] in BUSY_CLASSES:
        return PartUnavailableError(f"Postgres could not take the change now: {_line(cause)}")
    return error


def _primary(cause: BaseException | None) -> object:
    """Return what Postgres says without its details, which quote the row: equal causes are told in equal words."""
    return getattr(getattr(cause, "diag", None), "message_primary", None) or cause


def _line(error: object) -> str:
    return " ".join(str(error).split())[:300]


@cache
def sql(statement: str) -> TextClause:
    """Make a statement of its text, once: SQLAlchemy looks for parameters in it each time."""
    return text(statement)


async def run(connection: AsyncConnection, statement: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Send a statement of the path straight to psycopg and return its rows, none where it returns none.

    The connection's pool and database transaction stay SQLAlchemy's; its way of making a statement, through a greenlet
    and its own rows, costs four times what psycopg's does. Parameters are `:name`, as everywhere.
    """
    text_, names = _numbered(statement)
    cursor = psycopg.AsyncRawCursor(_driver(connection))
    await cursor.execute(text_, [given[name] for name in names], binary=True)
    return await cursor.fetchall() if cursor.description is not None else []


def _driver(connection: AsyncConnection) -> "psycopg.AsyncConnection[Any]":
    if connection.sync_connection is None:
        raise RuntimeError("the connection is not open")
    return cast("psycopg.AsyncConnection[Any]", connection.sync_connection.connection.driver_connection)


@cache
def _numbered(statement: str) -> tuple[bytes, tuple[str, ...]]:
    """Write `:name` as `$1`, each name once; returns the names in that sequence. Casts must be CAST."""
    names: dict[str, int] = {}
    numbered = re.sub(r":([a-z]\w*)", lambda found: f"${names.setdefault(found[1], len(names) + 1)}", statement)
    return numbered.encode(), tuple(names)


def from_arrays(columns: Mapping[str, str], alias: str = "given", prefix: str = "") -> str:
    """Write the SQL of a row source over one array parameter per column, `{name: element type}`."""
    arrays = ", ".join(f"CAST(:{prefix}{name} AS {kind}[])" for name, kind in columns.items())
    names = ", ".join(f'"{name}"' for name in columns)
    return f"unnest({arrays}) AS {alias}({names})"


def insertion(table: str, columns: Mapping[str, str], *, on_conflict: str = "", prefix: str = "") -> str:
    """Write the SQL that inserts rows given as arrays."""
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM {from_arrays(columns, prefix=prefix)} {on_conflict}"


async def insert(
    connection: AsyncConnection, table: str, columns: Mapping[str, str], rows: Rows, *, on_conflict: str = ""
) -> None:
    """Insert rows with one statement; nothing when there are none."""
    if rows:
        await run(connection, insertion(table, columns, on_conflict=on_conflict), arrays(columns, rows))


class Part(NamedTuple):
    """A statement that may be sent with others: its SQL, and its parameters under names that no other has."""

    statement: str
    given: Mapping[str, Any]


async def run_together(connection: AsyncConnection, parts: Sequence[Part]) -> None:
    """Send statements as one; nothing when there are none. No two may touch the same rows, and none sees what another wrote.

    One wait for Postgres while locks are held, not one for each: the loop has other work, and comes back late.
    """
    if not parts:
        return
    before = ", ".join(f"part{number} AS ({part.statement})" for number, part in enumerate(parts[:-1]))
    given = {name: value for part in parts for name, value in part.given.items()}
    await run(connection, (f"WITH {before} " if before else "") + parts[-1].statement, given)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AsyncEngine]:
    """Open an engine for one command of the command line; it is closed at the end. It waits out a worker that is frozen.

    What a fault of our own would be within the worker is here what a person can mend: raises RevisionError where a table
    or column is missing, SettingsError where the URL cannot be used, LedgerWorkerError where the role lacks a right.
    """
    with for_a_person():
        engine = create_engine(url, pool_size=2, lock_timeout_ms=IDLE_IN_TRANSACTION_TIMEOUT_MS + PATIENCE_MS)
        try:
            yield engine
        finally:
            await engine.dispose()


@contextmanager
def for_a_person() -> Iterator[None]:
    """Say in one sentence, without SQL, what is wrong with the URL, the revision or the role; else raise what was raised."""
    try:
        yield
    except ArgumentError as error:
        raise SettingsError("LEDGER_DATABASE_URL holds what the driver does not take") from error
    except (DBAPIError, psycopg.Error) as error:
        advice = _advice(error.orig if isinstance(error, DBAPIError) else error)
        if advice is None:
            raise
        raise advice from error


def _advice(cause: BaseException | None) -> LedgerWorkerError | None:
    state, said = getattr(cause, "sqlstate", None), _line(_primary(cause))
    if state in UNKNOWN_NAMES:
        return RevisionError("the database is not of this release: run `ledger-worker migrate`")
    if state == NO_RIGHT:
        return LedgerWorkerError(f"the database role lacks a right: {said}")
    if state is None and isinstance(cause, psycopg.ProgrammingError):
        return SettingsError(f"LEDGER_DATABASE_URL holds what the driver does not take: {said}")
    return None
