"""Outcomes: composed and serialised once, with the fact, and put into the outbox."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from schemas.outcomes import Error, Outcome, OutcomeType, Result, Source, Timing, cloud_event_headers, event_id
from worker.store.blobs import members, pack_headers, to_json
from worker.store.facts import Facts
from worker.store.rows import CommandRow, LaneRow


class Told(NamedTuple):
    """What an outcome says, apart from its place in the account's sequence."""

    kind: OutcomeType
    command: CommandRow
    command_type: str
    attempts: int
    occurred_at: datetime
    first_sent_at: datetime | None
    answered_at: datetime | None
    result: Result | None
    error: Error | None
    decided_by: str | None
    refers_to: UUID | None
    attempt_number: int | None
    place: int | None


def record(facts: Facts, lane: LaneRow, now: datetime, told: Told) -> UUID:
    """Gather one outcome about an accepted command; takes the account's next number. Returns its event_id."""
    command = told.command
    name = event_id(
        told.kind,
        command.command_id,
        attempt=told.attempt_number,
        place=told.place,
        of_expiry=told.command_type != command.command_type,
    )
    outcome = Outcome(
        event_id=name,
        type=told.kind,
        command_id=command.command_id,
        command_type=told.command_type,
        account_no=command.account_no,
        account_seq=lane.next_seq(),
        occurred_at=told.occurred_at,
        recorded_at=now,
        issued_by=command.issued_by,
        correlation_id=command.correlation_id,
        attempts=told.attempts,
        result=told.result,
        error=told.error,
        payload=dict(command.payload),
        timing=Timing(command.accepted_at, told.first_sent_at, told.answered_at),
        decided_by=told.decided_by,
        refers_to=told.refers_to,
        source=Source(command.topic, command.partition, command.offset),
    )
    store(facts, outcome, command.traceparent)
    return name


def store(facts: Facts, outcome: Outcome, traceparent: str | None) -> None:
    """Gather the rows of a composed outcome."""
    facts.add(
        "outcomes",
        {
            "event_id": outcome.event_id,
            "account_no": outcome.account_no,
            "account_seq": outcome.account_seq,
            "type": outcome.type,
            "command_id": outcome.command_id,
            "recorded_at": outcome.recorded_at,
            "value": outcome.to_bytes(),
            "headers": pack_headers(
                [(name.encode(), value) for name, value in cloud_event_headers(outcome, traceparent)]
            ),
        },
    )
    facts.to_publish("outcome", outcome.event_id, outcome.account_no, outcome.recorded_at)


def stored(result: Result | None, error: Error | None) -> dict[str, str | None]:
    """Return result and error as `command_ids` keeps them for duplicates."""
    kept = (
        None
        if result is None
        else members(result) | {"expires_at": result.expires_at and result.expires_at.isoformat()}
    )
    return {
        "result": to_json(kept),
        "error": to_json(members(error)) if error else None,
    }


def read_back(result: dict[str, Any] | None, error: dict[str, Any] | None) -> tuple[Result | None, Error | None]:
    """Undo `stored`."""
    if result is not None and result["expires_at"] is not None:
        result = result | {"expires_at": datetime.fromisoformat(result["expires_at"])}
    return (Result(**result) if result else None), (Error(**error) if error else None)
