"""A timer that a person fires; the caller holds its lane's lock."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Firing:
    """A temporary adjustment and its timer; `kind`, `state` and the instants are those of the timer."""

    account_no: str
    adjust_no: str | None
    ended_by: str | None
    kind: str | None
    state: str
    due_at: datetime
    wake_at: datetime
    early: bool


async def read_firing(connection: AsyncConnection, command_id: UUID) -> Firing | None:
    """Read an adjustment with its timer, if it still has one; `early` says whether its hour is still to come."""
    statement = text("""
        SELECT a.account_no, a.adjust_no, a.ended_by, t.kind, t.state, t.due_at, t.wake_at, t.due_at > now() AS early
        FROM temp_adjustments a LEFT JOIN timers t USING (command_id) WHERE a.command_id = :command_id
    """)
    row = (await connection.execute(statement, {"command_id": command_id})).one_or_none()
    return None if row is None else Firing(*row)


async def fire_timer(connection: AsyncConnection, command_id: UUID, actor: str) -> None:
    """Make a timer due now; before its hour it is noted who wanted that."""
    statement = text("""
        WITH fired AS (
            UPDATE timers SET state = 'due', fired_at = now()
            WHERE command_id = :command_id AND state = 'armed' RETURNING command_id, due_at
        )
        UPDATE temp_adjustments a SET fired_by = :actor
        FROM fired WHERE a.command_id = fired.command_id AND fired.due_at > now()
    """)
    await connection.execute(statement, {"command_id": command_id, "actor": actor})
