"""What operators changed: the audit, written in the database transaction that changes it, and published."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.facts import Facts
from worker.store.shown import Shown, all_shown


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a person changed; `before` and `after` are what was so and is so."""

    actor: str
    action: str
    reason: str
    subject: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def note(facts: Facts, audit_id: UUID, action: Action, now: datetime) -> None:
    """Gather one row of the audit; when the facts are written it gets its number in the chain, its bytes and its place in the outbox."""
    facts.audited.append(
        {
            "audit_id": audit_id,
            "recorded_at": now,
            "actor": action.actor,
            "action": action.action,
            "reason": action.reason,
            "subject": action.subject,
            "before": dict(action.before),
            "after": dict(action.after),
        }
    )


async def list_audit(
    connection: AsyncConnection,
    *,
    actor: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[Shown]:
    """List what was changed, the latest first, from behind the row `after`."""
    statement = text("""
        SELECT a.audit_seq, a.audit_id, a.recorded_at, a.actor, a.database_role, a.action, a.subject, a.reason,
               a.taken_back, a.published_at, a.published_partition, a.published_offset, a.value
        FROM audit a
        WHERE (CAST(:actor AS text) IS NULL OR a.actor = :actor)
          AND (CAST(:action AS text) IS NULL OR a.action = :action)
          AND (CAST(:since AS timestamptz) IS NULL OR a.recorded_at >= :since)
          AND (CAST(:after AS uuid) IS NULL OR (a.audit_seq, a.recorded_at, a.audit_id) < (
                SELECT b.audit_seq, b.recorded_at, b.audit_id FROM audit b WHERE b.audit_id = :after))
        ORDER BY a.audit_seq DESC, a.recorded_at DESC, a.audit_id DESC LIMIT :limit
    """)
    given = {"actor": actor, "action": action, "since": since, "after": after, "limit": limit}
    rows = all_shown((await connection.execute(statement, given)).mappings())
    return [_with_change(row) for row in rows]


def _with_change(row: Shown) -> Shown:
    """Put what was before and is after, which only the bytes have, in the place of the bytes."""
    value = bytes(row.pop("value"))
    try:
        told = json.loads(value)
        return row | {"before": told["before"], "after": told["after"]}
    except (ValueError, KeyError, TypeError):  # somebody has altered it; `audit verify` says so
        return row | {"before": None, "after": None}
