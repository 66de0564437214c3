"""Accounts as operators list them: whether they are held, what their lanes wait for. Reads only."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.shown import Shown, all_shown

_SHOWN = """
    SELECT n.account_no, b.subject IS NOT NULL AS held, b.set_by AS held_by, b.set_at AS held_since, b.reason AS held_reason,
           l.state AS lane, l.hold_reason, l.wake_at, l.account_seq,
           (SELECT count(*) FROM commands c WHERE c.account_no = l.account_no AND c.position >= l.head_position
              AND c.state IN ('queued', 'sending', 'in_doubt')) AS waiting
    FROM named n LEFT JOIN lanes l ON l.account_no = n.account_no
        LEFT JOIN brakes b ON b.kind = 'account' AND b.subject = n.account_no
    ORDER BY n.account_no
"""


async def list_accounts(connection: AsyncConnection, *, held: bool, after: str, limit: int) -> list[Shown]:
    """List accounts by name, from behind `after` on; one may be held that has no lane yet."""
    lanes = "" if held else "SELECT account_no FROM lanes WHERE account_no > :after ORDER BY account_no LIMIT :limit"
    holds = """SELECT subject AS account_no FROM brakes WHERE kind = 'account' AND subject > :after
               ORDER BY subject LIMIT :limit"""
    both = holds if held else f"({lanes}) UNION ({holds}) ORDER BY account_no LIMIT :limit"
    statement = text(f"WITH named AS ({both}) {_SHOWN}")
    return all_shown((await connection.execute(statement, {"after": after, "limit": limit})).mappings())


async def read_account_shown(connection: AsyncConnection, account_no: str) -> Shown | None:
    """Read one account; None where it has no lane and is not held."""
    statement = text(f'WITH named AS (SELECT CAST(:account_no AS text) COLLATE "C" AS account_no) {_SHOWN}')
    [found] = all_shown((await connection.execute(statement, {"account_no": account_no})).mappings())
    return found if found["lane"] is not None or found["held"] else None


async def list_day_totals(connection: AsyncConnection, account_no: str) -> list[Shown]:
    """List what an account let go on this UTC day, where that is limited."""
    statement = text("""
        SELECT operation, unit, CAST(used AS text) AS used FROM day_totals
        WHERE day = CAST(now() AT TIME ZONE 'UTC' AS date) AND account_no = :account_no ORDER BY operation, unit
    """)
    return all_shown((await connection.execute(statement, {"account_no": account_no})).mappings())
