"""What persons fed and put back before the database was restored, which has forgotten it: the audit, taken back, tells."""

import json
from collections.abc import Collection
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.times import written
from worker.ledger.redrive import TAKEN
from worker.store.engine import sql


async def read_forgotten_feeds(connection: AsyncConnection, topic: str) -> dict[int, list[tuple[int, int]]]:
    """Return by partition the first and last offsets that were fed and forgotten."""
    statement = sql("""
        SELECT CAST(told -> 'before' ->> 'partition' AS int), CAST(told -> 'before' ->> 'from' AS bigint),
               CAST(told -> 'before' ->> 'to' AS bigint)
        FROM (SELECT CAST(convert_from(value, 'UTF8') AS jsonb) AS told FROM audit
              WHERE taken_back AND action = 'replay.feed') fed
        WHERE told -> 'after' ->> 'topic' = :topic ORDER BY 1, 2
    """)
    found: dict[int, list[tuple[int, int]]] = {}
    for partition, first, last in await connection.execute(statement, {"topic": topic}):
        found.setdefault(partition, []).append((first, last))
    return found


async def read_forgotten_redrives(connection: AsyncConnection, dead_letter_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return of these dead letters those that were put back and taken, and forgotten, each with who did it and when.

    What became of one is not known here: it may have been sent, an edit under an id that nothing here has used.
    """
    statement = sql("""
        WITH told AS MATERIALIZED (
            SELECT actor, recorded_at, action, subject, CAST(convert_from(value, 'UTF8') AS jsonb) -> 'after' AS after
            FROM audit WHERE taken_back AND action IN ('dead-letters.redrive', 'dead-letters.edit')
        )
        SELECT t.subject AS id, t.actor, t.recorded_at, t.after ->> 'text' AS edited FROM told t
        WHERE t.action = 'dead-letters.edit' AND t.subject = ANY(:ids) AND t.after ->> 'became' = ANY(:taken)
        UNION ALL
        SELECT b.key, t.actor, t.recorded_at, NULL
        FROM told t CROSS JOIN LATERAL jsonb_each_text(t.after -> 'became') AS b(key, value)
        WHERE t.action = 'dead-letters.redrive' AND b.key = ANY(:ids) AND b.value = ANY(:taken)
    """)
    given = {"ids": [str(one) for one in dead_letter_ids], "taken": list(TAKEN)}
    found: dict[UUID, str] = {}
    for row in await connection.execute(statement, given):
        as_command = "" if row.edited is None else f" as command {_command_id(row.edited)}"
        found[UUID(row.id)] = (
            f"dead letter {row.id} was put back by {row.actor} at {written(row.recorded_at)}{as_command}"
        )
    return found


def _command_id(edited: str) -> str:
    try:
        return str(json.loads(edited)["command_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "of an id that cannot be read"
