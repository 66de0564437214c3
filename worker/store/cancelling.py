"""Commands that wait in their lanes, for a person who wants them not to be sent any more."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def read_accounts(connection: AsyncConnection, command_ids: Collection[UUID]) -> dict[UUID, tuple[str, str]]:
    """Say whose each command is, and where it stands; a record refused when it was read stands at its verdict."""
    statement = text("""
        SELECT i.command_id, i.account_no, coalesce(c.state, i.verdict) AS state
        FROM command_ids i LEFT JOIN commands c USING (command_id) WHERE i.command_id = ANY(:ids)
    """)
    rows = await connection.execute(statement, {"ids": list(command_ids)})
    return {row.command_id: (row.account_no, row.state) for row in rows}


async def read_waiting(connection: AsyncConnection, account_no: str, after: int, limit: int) -> list[tuple[int, UUID]]:
    """Read (position, command_id) of what waits in a lane, from behind a place on."""
    statement = text("""
        SELECT c.position, c.command_id FROM lanes l
        JOIN commands c ON c.account_no = l.account_no AND c.position >= l.head_position
        WHERE l.account_no = :account_no AND c.position > :after AND c.state IN ('queued', 'sending', 'in_doubt')
        ORDER BY c.position LIMIT :limit
    """)
    given = {"account_no": account_no, "after": after, "limit": limit}
    return [(row.position, row.command_id) for row in await connection.execute(statement, given)]


async def count_waiting(connection: AsyncConnection, account_no: str) -> tuple[int, int]:
    """Count what waits in a lane: (queued, under way or in doubt)."""
    statement = text("""
        SELECT count(*) FILTER (WHERE c.state = 'queued') AS queued, count(*) FILTER (WHERE c.state <> 'queued') AS others
        FROM lanes l JOIN commands c ON c.account_no = l.account_no AND c.position >= l.head_position
        WHERE l.account_no = :account_no AND c.state IN ('queued', 'sending', 'in_doubt')
    """)
    row = (await connection.execute(statement, {"account_no": account_no})).one()
    return row.queued, row.others
