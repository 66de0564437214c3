"""What operators changed: the audit, written in the database transaction that changes it, and published."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from schemas.times import written
from worker.store.blobs import to_json
from worker.store.facts import Facts


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
    """Gather the audit's row and its place in the outbox; what is published is written here, once."""
    told = {
        "audit_id": str(audit_id),
        "actor": action.actor,
        "action": action.action,
        "reason": action.reason,
        "subject": action.subject,
        "before": dict(action.before),
        "after": dict(action.after),
        "recorded_at": written(now),
    }
    facts.add(
        "audit",
        {
            "audit_id": audit_id,
            "recorded_at": now,
            "actor": action.actor,
            "action": action.action,
            "reason": action.reason,
            "subject": action.subject,
            "value": (to_json(told) or "").encode("utf-8", "replace"),
        },
    )
    facts.to_publish("audit", audit_id, None, now)
