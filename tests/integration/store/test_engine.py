"""What Postgres' errors mean for the caller: rows to blame, a moment to wait out, or neither."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.store.world import World
from tests.support.waiting import wait_until_async
from worker.errors import DataRefusedError, PartUnavailableError
from worker.store import engine as doors
from worker.store.engine import connected, connections_in_use, create_engine, reading, run, transaction


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT CAST('x' AS int)",
        "SELECT 1/0",
        "INSERT INTO rate DEFAULT VALUES",
        "SELECT CAST('\"\\u0000\"' AS jsonb)->>0",
    ],
)
async def test_what_the_rows_are_to_blame_for_is_data_refused(world: World, statement: str) -> None:
    with pytest.raises(DataRefusedError):
        await world.sql(statement)


@pytest.mark.parametrize("value", ["nul \x00", "lone \ud800"])
async def test_a_text_that_cannot_be_stored_is_data_refused(world: World, value: str) -> None:
    with pytest.raises(DataRefusedError):
        await world.sql("SELECT CAST(:value AS text)", value=value)


@pytest.mark.parametrize(
    "statement",
    [
        "SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)",
        "SET LOCAL transaction_read_only = on; DELETE FROM rate",
        "SELECT pg_terminate_backend(pg_backend_pid())",
    ],
)
async def test_what_the_moment_is_to_blame_for_is_waited_out(world: World, statement: str) -> None:
    async def ask() -> None:
        async with transaction(world.engine) as connection:
            for part in statement.split(";"):
                await connection.execute(text(part))

    with pytest.raises(PartUnavailableError):
        await ask()


async def test_a_pool_without_a_free_connection_is_waited_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "POOL_TIMEOUT_S", 0.05)
    engine = create_engine(world.settings.database_url.get_secret_value(), pool_size=1)
    async with transaction(engine):
        with pytest.raises(PartUnavailableError):
            async with transaction(engine):
                pass
    await engine.dispose()


async def backend(engine: AsyncEngine) -> int:
    async with transaction(engine) as connection:
        [[pid]] = await run(connection, "SELECT pg_backend_pid()", {})
    return int(pid)


@pytest.fixture
async def kept(world: World) -> AsyncIterator[AsyncEngine]:
    """An engine whose two connections lie idle."""
    engine = create_engine(world.settings.database_url.get_secret_value(), pool_size=2)
    async with transaction(engine), transaction(engine):
        pass
    yield engine
    await engine.dispose()


async def test_a_connection_serves_one_database_transaction_after_the_other(kept: AsyncEngine) -> None:
    assert connections_in_use(kept) == 0
    first = await backend(kept)
    async with transaction(kept):
        assert connections_in_use(kept) == 1
    assert await backend(kept) == first
    async with connected(kept) as connection:
        assert (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one() == first
    assert await backend(kept) != first, "one that kept a lock and commits each statement is not for others"


async def test_a_lock_that_outlives_its_statement_is_gone_with_its_connection_whatever_happened(
    world: World, kept: AsyncEngine
) -> None:
    async def fails() -> None:
        async with connected(kept) as connection:
            await connection.execute(text("SELECT pg_advisory_lock(4711)"))
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        await fails()

    async def is_free() -> bool:
        return bool((await world.one("SELECT pg_try_advisory_xact_lock(4711) AS taken")).taken)

    await wait_until_async(is_free, 10)


async def undone(engine: AsyncEngine) -> None:
    async with transaction(engine) as connection:
        await run(connection, "UPDATE rate SET tokens = 42", {})
        raise RuntimeError("undone")


async def test_a_statement_alone_is_committed_by_itself_and_leaves_the_connection_as_it_was(kept: AsyncEngine) -> None:
    async with transaction(kept, alone=True) as connection:
        await run(connection, "UPDATE rate SET tokens = 41", {})
        assert await run(connection, "SELECT pg_current_xact_id_if_assigned()", {}) == [(None,)]
    with pytest.raises(RuntimeError, match="undone"):
        await undone(kept)
    async with transaction(kept) as connection:
        assert await run(connection, "SELECT tokens FROM rate", {}) == [(41.0,)]


async def test_a_connection_on_which_a_statement_alone_failed_serves_no_more(kept: AsyncEngine) -> None:
    with pytest.raises(DataRefusedError):
        async with transaction(kept, alone=True) as connection:
            await run(connection, "SELECT 1/0", {})
    for _ in range(3):
        with pytest.raises(RuntimeError, match="undone"):
            await undone(kept)
    async with transaction(kept) as connection:
        assert await run(connection, "SELECT tokens FROM rate WHERE tokens = 42", {}) == []


async def test_with_a_connection_that_is_lost_go_those_that_lie_idle(world: World, kept: AsyncEngine) -> None:
    """After a failover one database transaction fails for it, not one for each connection."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await world.sql(f"SELECT pg_terminate_backend(pid) {others}")
    with pytest.raises(PartUnavailableError):
        await backend(kept)
    for _ in range(3):
        assert await backend(kept) > 0


async def test_an_engine_that_is_closed_keeps_no_connection(world: World, kept: AsyncEngine) -> None:
    pid = await backend(kept)
    await kept.dispose()

    async def is_gone() -> bool:
        return await world.sql("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=pid) == []

    await wait_until_async(is_gone)


async def test_a_fault_of_our_own_is_not_hidden(world: World) -> None:
    with pytest.raises(Exception, match="nowhere") as raised:
        await world.sql("SELECT * FROM nowhere")
    assert not isinstance(raised.value, DataRefusedError | PartUnavailableError)


async def test_commits_are_durable_and_waits_are_bounded(world: World) -> None:
    for name in ("synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        [row] = await world.sql(f"SHOW {name}")
        assert row[0] not in ("off", "local", "0"), name


async def ask_directly(world: World, *statements: str, **given: object) -> list[tuple[object, ...]]:
    async with transaction(world.engine) as connection:
        return [row for statement in statements for row in await run(connection, statement, given)]


@pytest.mark.parametrize("value", ["nul \x00", "lone \ud800"])
async def test_what_goes_straight_to_the_driver_blames_the_rows_alike(world: World, value: str) -> None:
    with pytest.raises(DataRefusedError):
        await ask_directly(world, "SELECT CAST(:value AS text)", value=value)
    with pytest.raises(DataRefusedError):
        await ask_directly(world, "INSERT INTO rate DEFAULT VALUES")


@pytest.mark.parametrize(
    "statement", ["SELECT pg_sleep(1)", "DELETE FROM rate", "SELECT pg_terminate_backend(pg_backend_pid())"]
)
async def test_what_goes_straight_to_the_driver_blames_the_moment_alike(world: World, statement: str) -> None:
    before = ("SET LOCAL statement_timeout = 1", "SET LOCAL transaction_read_only = on")
    with pytest.raises(PartUnavailableError):
        await ask_directly(world, *before, statement)
    for _ in range(13):  # one more than the pool holds: none is left broken in it
        assert await ask_directly(world, "SELECT 1") == [(1,)]


async def test_a_fault_of_our_own_is_not_hidden_where_it_goes_straight_to_the_driver(world: World) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        await ask_directly(world, "SELECT * FROM nowhere")


async def test_what_goes_straight_to_the_driver_is_taken_back_with_the_rest(world: World) -> None:
    before = await world.sql("SELECT tokens FROM rate")
    with pytest.raises(RuntimeError, match="undone"):
        await undone(world.engine)
    assert await world.sql("SELECT tokens FROM rate") == before


async def test_a_parameter_may_stand_in_a_statement_more_than_once(world: World) -> None:
    statement = "SELECT CAST(:a AS int) + CAST(:b AS int), CAST(:a AS int)"
    assert await ask_directly(world, statement, a=1, b=2) == [(3, 1)]


async def test_what_only_reads_can_change_nothing(world: World) -> None:
    async with reading(world.engine) as connection:
        assert (await connection.execute(text("SELECT count(*) FROM rate"))).scalar_one() >= 0
    with pytest.raises(PartUnavailableError, match="read-only"):
        async with reading(world.engine) as connection:
            await connection.execute(text("DELETE FROM rate"))
