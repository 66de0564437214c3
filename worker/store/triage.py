"""What persons think of dead letters: seen, or ignored with a reason. Rows are locked without waiting for the relay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

LOCK = "SELECT pg_advisory_xact_lock(hashtext('dead_letters'))"
"""Whoever changes more than one dead letter takes it first: of two persons the second waits for the first."""


@dataclass(frozen=True, slots=True)
class Group:
    """The dead letters with these ids, or those of one fingerprint."""

    ids: tuple[UUID, ...] = ()
    fingerprint: str | None = None

    @property
    def condition(self) -> str:
        """Write the SQL that chooses them, of `dead_letters d`."""
        return "d.dead_letter_id = ANY(:ids)" if self.fingerprint is None else "d.fingerprint = :fingerprint"

    @property
    def given(self) -> dict[str, object]:
        """Return the parameters of `condition`."""
        return {"ids": list(self.ids)} if self.fingerprint is None else {"fingerprint": self.fingerprint}


async def count_states(connection: AsyncConnection, group: Group) -> tuple[dict[str, int], datetime]:
    """Count the group's dead letters by state, and say what time it is."""
    statement = text(f"SELECT d.state, count(*), now() FROM dead_letters d WHERE {group.condition} GROUP BY d.state")
    rows = (await connection.execute(statement, group.given)).all()
    now = rows[0][2] if rows else (await connection.execute(text("SELECT now()"))).scalar_one()
    return {state: count for state, count, _ in rows}, now


async def sort_letters(
    connection: AsyncConnection, group: Group, state: str, actor: str, reason: str, until: datetime, limit: int
) -> Sequence[RowMapping]:
    """Give up to `limit` dead letters of before `until` this state; returns each id with the state that it had.

    None is changed that was put back or is in that state. One that the relay has locked is left for the next time.
    """
    await connection.execute(text(LOCK))
    statement = text(f"""
        WITH chosen AS (
            SELECT d.dead_letter_id, d.state AS state_before FROM dead_letters d
            WHERE {group.condition} AND d.state NOT IN (:state, 'redriven') AND d.failed_at <= :until
            LIMIT :limit FOR UPDATE SKIP LOCKED
        )
        UPDATE dead_letters d SET state = :state, triaged_at = now(), triaged_by = :actor, triage_reason = :reason
        FROM chosen WHERE d.dead_letter_id = chosen.dead_letter_id
        RETURNING d.dead_letter_id, chosen.state_before, now() AS now
    """)
    given = {**group.given, "state": state, "actor": actor, "reason": reason, "until": until, "limit": limit}
    return (await connection.execute(statement, given)).mappings().all()
