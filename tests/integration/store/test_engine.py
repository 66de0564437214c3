"""What Postgres' errors mean for the caller: rows to blame, a moment to wait out, or neither."""

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.integration.store.world import World
from worker.errors import DataRefusedError, PartUnavailableError
from worker.store.engine import reading, run, transaction


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


async def test_a_pool_without_a_free_connection_is_waited_out(world: World) -> None:
    url = world.settings.database_url.get_secret_value().replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    async with engine.connect():
        with pytest.raises(PartUnavailableError):
            async with transaction(engine):
                pass
    await engine.dispose()


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
    async def undone() -> None:
        async with transaction(world.engine) as connection:
            await run(connection, "UPDATE rate SET tokens = tokens + 7", {})
            raise RuntimeError("undone")

    before = await world.sql("SELECT tokens FROM rate")
    with pytest.raises(RuntimeError, match="undone"):
        await undone()
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
