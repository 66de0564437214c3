"""What is written as an array parameter is what Postgres reads."""

import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import DataRefusedError
from worker.store.arrays import arrays
from worker.store.engine import create_engine, from_arrays, sql, transaction

VALUES: dict[str, list[Any]] = {
    "bigint": [0, -1, 2**63 - 1, -(2**63), None],
    "boolean": [True, False, None],
    "bytea": [b"", b"\x00\xff", None],
    "float8": [0.0, -1.5, 1e300, None],
    "int": [0, -1, 2**31 - 1, None],
    "jsonb": ['{"a":"\u00e9\u4e2d"}', "[]", "null", None],
    "smallint": [0, -(2**15), None],
    "text": ["", "NULL", '{"a", \\b}', "\u00e9\u4e2d\U0001f600", None],
    "timestamptz": [
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        datetime(2026, 11, 22, 8, 30, tzinfo=timezone(timedelta(hours=8))),
        None,
    ],
    "uuid": [UUID(int=0), UUID("0f8fad5b-d9cb-469f-a165-70867728950e"), None],
}
READ = {"jsonb": [{"a": "\u00e9\u4e2d"}, [], None, None]}


@pytest.fixture
async def engine(empty_database_url: str) -> AsyncIterator[AsyncEngine]:
    made = create_engine(empty_database_url, pool_size=1)
    yield made
    await made.dispose()


async def _read(engine: AsyncEngine, kind: str, values: list[Any]) -> list[Any]:
    columns = {"given": kind, "place": "int"}
    rows = [{"given": value, "place": place} for place, value in enumerate(values)]
    statement = sql(f"SELECT given.given FROM {from_arrays(columns)} ORDER BY place")
    async with transaction(engine) as connection:
        return list((await connection.execute(statement, arrays(columns, rows))).scalars())


@pytest.mark.parametrize("kind", VALUES)
async def test_postgres_reads_what_was_written(engine: AsyncEngine, kind: str) -> None:
    values = VALUES[kind]
    assert await _read(engine, kind, values) == READ.get(kind, values)
    assert await _read(engine, kind, []) == []
    assert await _read(engine, kind, [None, None]) == [None, None]
    assert await _read(engine, kind, [values[1]] * 3) == [READ.get(kind, values)[1]] * 3


async def test_text_that_postgres_cannot_hold_blames_the_rows(engine: AsyncEngine) -> None:
    with pytest.raises(DataRefusedError):
        await _read(engine, "text", ["a\x00b"])
    with pytest.raises(DataRefusedError):
        await _read(engine, "jsonb", ['"\\u0000"'])


async def test_a_value_of_another_kind_is_not_written() -> None:
    with pytest.raises(TypeError):
        arrays({"given": "timestamptz"}, [{"given": datetime(2026, 1, 1)}])  # noqa: DTZ001 - that is the point
    with pytest.raises(struct.error):
        arrays({"given": "int"}, [{"given": 2**31}])
