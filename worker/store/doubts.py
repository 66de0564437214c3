"""Open doubts that are to be told of, and watches that are to be looked at."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class OpenDoubt:
    """A doubt that has lasted long enough to tell of it."""

    command_id: UUID
    is_expiry: bool
    account_no: str
    operation: str
    attempt_number: int
    reason: str


_DOUBT = "command_id, is_expiry, account_no, operation, attempt_number, reason"


async def read_untold(connection: AsyncConnection, limit: int) -> list[OpenDoubt]:
    """Read doubts whose notice is due, without locking them."""
    statement = text(f"SELECT {_DOUBT} FROM doubts WHERE notice_at <= now() ORDER BY notice_at LIMIT :limit")
    return [OpenDoubt(*row) for row in await connection.execute(statement, {"limit": limit})]


async def take_untold(connection: AsyncConnection, doubts: list[OpenDoubt]) -> list[OpenDoubt]:
    """Mark these as told of and return those that still were not; the caller holds their lanes."""
    statement = text(f"""
        UPDATE doubts SET notice_at = NULL
        WHERE command_id = ANY(:ids) AND notice_at <= now() RETURNING {_DOUBT}
    """)
    rows = await connection.execute(statement, {"ids": [doubt.command_id for doubt in doubts]})
    return [OpenDoubt(*row) for row in rows]


async def take_watches(connection: AsyncConnection, limit: int, every: timedelta) -> list[tuple[UUID, str]]:
    """Take watches whose look is due, and put their next look off; returns (command_id, account_no).

    A watch past its end is taken away instead.
    """
    await connection.execute(text("DELETE FROM watches WHERE until_at <= now()"))
    statement = text("""
        WITH due AS (
            SELECT command_id FROM watches WHERE look_at <= now() ORDER BY look_at LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE watches w SET look_at = now() + :every * least(w.looks + 1, 10), looks = w.looks + 1
        FROM due WHERE w.command_id = due.command_id RETURNING w.command_id, w.account_no
    """)
    rows = await connection.execute(statement, {"limit": limit, "every": every})
    return [(row.command_id, row.account_no) for row in rows]
