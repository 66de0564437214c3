"""What each account let go on a UTC day, counted in the claim's database transaction, under the lane's lease."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.arrays import written
from worker.store.engine import run


class Counted(NamedTuple):
    """One command's part of an account's day."""

    account_no: str
    operation: str
    unit: str
    size: Decimal


async def read_used(
    connection: AsyncConnection, wanted: Sequence[Counted], now: datetime
) -> dict[tuple[str, str, str], Decimal]:
    """Read what went out on this UTC day, by (account_no, operation, unit); what is missing is nothing.

    The caller holds the lanes: nobody else counts for these accounts before it commits.
    """
    statement = """
        SELECT u.account_no, u.operation, u.unit, CAST(u.used AS text)
        FROM unnest(CAST(:accounts AS text[]), CAST(:operations AS text[]), CAST(:units AS text[]))
            AS given(account_no, operation, unit)
        JOIN day_totals u ON u.day = CAST(:day AS date) AND u.account_no = given.account_no
            AND u.operation = given.operation AND u.unit = given.unit
    """
    rows = await run(connection, statement, _columns(wanted, now))
    return {(account_no, operation, unit): Decimal(used) for account_no, operation, unit, used in rows}


async def count_sent(connection: AsyncConnection, counted: Sequence[Counted], now: datetime) -> None:
    """Add what goes out now; one row per account, operation and unit."""
    statement = """
        INSERT INTO day_totals (day, account_no, operation, unit, used)
        SELECT CAST(:day AS date), given.account_no, given.operation, given.unit, CAST(given.size AS numeric)
        FROM unnest(CAST(:accounts AS text[]), CAST(:operations AS text[]), CAST(:units AS text[]),
                    CAST(:sizes AS text[])) AS given(account_no, operation, unit, size)
        ON CONFLICT (day, account_no, operation, unit) DO UPDATE SET used = day_totals.used + excluded.used
    """
    sizes = written("text", [str(one.size) for one in counted])
    await run(connection, statement, _columns(counted, now) | {"sizes": sizes})


async def forget_days(connection: AsyncConnection, keep_days: int) -> int:
    """Delete the totals of days that are long over; returns how many rows."""
    statement = """
        DELETE FROM day_totals WHERE day < CAST(now() AT TIME ZONE 'UTC' AS date) - CAST(:keep AS int) RETURNING 1
    """
    return len(await run(connection, statement, {"keep": keep_days}))


def _columns(rows: Sequence[Counted], now: datetime) -> dict[str, object]:
    return {
        "accounts": written("text", [one.account_no for one in rows]),
        "operations": written("text", [one.operation for one in rows]),
        "units": written("text", [one.unit for one in rows]),
        "day": now.astimezone(UTC).date(),
    }
