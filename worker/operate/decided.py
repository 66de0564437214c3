"""A person's decision about a command: kept as evidence and in the audit, and told to whoever comes second."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping

from schemas.times import written
from worker import clock
from worker.store.audit import Action, note
from worker.store.blobs import to_json
from worker.store.facts import Facts

PERSON: Final = "person"


@dataclass(frozen=True, slots=True)
class Decided:
    """Who decided what about which command and why; `detail` names the decision and what is so now."""

    command_id: UUID
    action: str
    actor: str
    reason: str
    before: Mapping[str, Any]
    detail: Mapping[str, Any]


def note_decision(facts: Facts, decided: Decided, now: datetime) -> None:
    """Gather the evidence and the audit of one decision."""
    facts.add(
        "evidence",
        {
            "evidence_id": clock.new_id(),
            "command_id": decided.command_id,
            "kind": PERSON,
            "recorded_at": now,
            "actor": decided.actor,
            "reason": decided.reason,
            "detail": to_json(decided.detail),
        },
    )
    subject = str(decided.command_id)
    action = Action(decided.actor, decided.action, decided.reason, subject, decided.before, decided.detail)
    note(facts, clock.new_id(), action, now)


def by_whom(last: RowMapping | None) -> str:
    """Say who decided about a command last, what, when and why."""
    if last is None:
        return "no person has decided about it"
    word = str(last["detail"].get("decision")).replace("_", " ")
    return f"{last['actor']} decided {word} at {written(last['recorded_at'])} ({last['reason']})"
