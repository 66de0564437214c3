"""What the worker publishes about a command: one JSON object per fact, with CloudEvents headers, in stable bytes.

Plain dataclasses, for thousands are written each second; the three that every outcome needs are not frozen, for a frozen
one takes three times as long to make. Body and headers are written once, when the fact is recorded, and stored; the
same values give the same bytes.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID, uuid5

from schemas.codes import Origin
from schemas.compact import compact
from schemas.times import written, written_whole

EVENT_NAMESPACE = UUID("5b0f3c0e-8d0a-5e0c-9a55-0d9b7c1f6f21")
CE_SOURCE = b"/ledger-worker"

EndedBy = Literal["timer", "command", "brokerage", "unknown"]
Basis = Literal["answer", "inferred", "person"]
Headers = list[tuple[str, bytes]]


class OutcomeType(StrEnum):
    """What kind of fact; `terminal` ones end the command, of which each has exactly one."""

    SUCCEEDED = "command.succeeded"
    REJECTED = "command.rejected"
    IN_DOUBT = "command.in_doubt"
    PARKED = "command.parked"
    DUPLICATE = "command.duplicate"
    CONFLICTED = "command.conflicted"
    CORRECTED = "command.corrected"
    ACCEPTED = "command.accepted"
    EXPIRED = "temp_adjustment.expired"

    @property
    def terminal(self) -> bool:
        """Whether nothing but a correction can follow, of the command or, for EXPIRED, of the adjustment."""
        return self in _TERMINAL


_TERMINAL = frozenset({OutcomeType.SUCCEEDED, OutcomeType.REJECTED, OutcomeType.EXPIRED})
_CE_TYPES = {kind: f"ledger.{kind}.v1".encode() for kind in OutcomeType}
_BY_SOURCE = frozenset({OutcomeType.DUPLICATE, OutcomeType.CONFLICTED})
_BY_ATTEMPT = frozenset({OutcomeType.IN_DOUBT, OutcomeType.PARKED})


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record was read, once and for all: `epoch` counts how often its topic was made again."""

    topic: str
    epoch: int
    partition: int
    offset: int


@dataclass(slots=True)
class Source:
    """Where the record lies, as consumers see it."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Result:
    """What is known to be so. `expires_at` is a whole second."""

    adjust_no: str | None = None
    serial_num: str | None = None
    order_id: str | None = None
    expires_at: datetime | None = None
    ended_by: EndedBy | None = None
    basis: Basis = "answer"


@dataclass(frozen=True, slots=True)
class Error:
    """Why not. `code` is listed in docs/codes.md; `field` is a dotted path from the root or None."""

    code: str
    message: str
    origin: Origin
    field: str | None = None


@dataclass(slots=True)
class Timing:
    """When the command was accepted, its first call made, and its last answer received."""

    accepted_at: datetime | None = None
    first_sent_at: datetime | None = None
    answered_at: datetime | None = None


@dataclass(slots=True)
class Outcome:
    """One fact about a command; every member is written, null rather than absent, in this sequence.

    Instants are aware. `payload` is the command's as accepted, None for a refusal by validation.
    """

    event_id: UUID
    type: OutcomeType
    command_id: UUID
    command_type: str | None
    account_no: str
    account_seq: int
    occurred_at: datetime
    recorded_at: datetime
    issued_by: str | None
    correlation_id: str | None
    attempts: int
    result: Result | None
    error: Error | None
    payload: dict[str, Any] | None
    timing: Timing
    decided_by: str | None
    refers_to: UUID | None
    source: Source

    def to_bytes(self) -> bytes:
        """Write the compact JSON, UTF-8. A lone surrogate, which only the brokerage could send, becomes `?`."""
        return compact(_as_json(self))


def event_id(
    outcome_type: OutcomeType,
    command_id: UUID,
    *,
    source: Position | None = None,
    attempt: int | None = None,
    place: int | None = None,
    of_expiry: bool = False,
) -> UUID:
    """Return the UUIDv5 of a fact: the same fact has the same id however often it is recorded or published.

    `source` is for duplicate and conflicted, `attempt` for in_doubt and parked, and neither for any other: ValueError.
    `place` is the parked command's place in its lane: put back, it may be parked again before another attempt.
    `of_expiry` tells a doubt of the timer's expiry, which carries the temp.adjust's id, from that command's own.
    """
    if (source is not None) != (outcome_type in _BY_SOURCE) or (attempt is not None) != (outcome_type in _BY_ATTEMPT):
        raise ValueError(f"{outcome_type} is not identified by source={source}, attempt={attempt}")
    name = f"{outcome_type} {command_id}"
    if source is not None:
        name += f" {source.topic} {source.epoch} {source.partition} {source.offset}"
    if attempt is not None:
        name += f" {attempt}"
    if place is not None:
        name += f" at {place}"
    if of_expiry:
        name += " expiry"
    return uuid5(EVENT_NAMESPACE, name)


def cloud_event_headers(outcome: Outcome, traceparent: str | None = None) -> Headers:
    """Return the CloudEvents 1.0 binary-mode headers, in a fixed sequence."""
    named = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", str(outcome.event_id).encode()),
        ("ce_source", CE_SOURCE),
        ("ce_type", _CE_TYPES[outcome.type]),
        ("ce_subject", outcome.account_no.encode()),
        ("ce_time", written(outcome.occurred_at).encode()),
        ("ce_causationid", str(outcome.command_id).encode()),
    ]
    if outcome.correlation_id is not None:
        named.append(("ce_correlationid", outcome.correlation_id.encode()))
    if traceparent is not None:
        named.append(("traceparent", traceparent.encode()))
    return named


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "event_id": outcome.event_id,
        "type": outcome.type,
        "command_id": outcome.command_id,
        "command_type": outcome.command_type,
        "account_no": outcome.account_no,
        "account_seq": outcome.account_seq,
        "occurred_at": written(outcome.occurred_at),
        "recorded_at": written(outcome.recorded_at),
        "issued_by": outcome.issued_by,
        "correlation_id": outcome.correlation_id,
        "attempts": outcome.attempts,
        "result": None if outcome.result is None else _result(outcome.result),
        "error": None if outcome.error is None else _error(outcome.error),
        "payload": outcome.payload,
        "timing": {
            "accepted_at": _written(outcome.timing.accepted_at),
            "first_sent_at": _written(outcome.timing.first_sent_at),
            "answered_at": _written(outcome.timing.answered_at),
        },
        "decided_by": outcome.decided_by,
        "refers_to": outcome.refers_to,
        "source": {
            "topic": outcome.source.topic,
            "partition": outcome.source.partition,
            "offset": outcome.source.offset,
        },
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "adjust_no": result.adjust_no,
        "serial_num": result.serial_num,
        "order_id": result.order_id,
        "expires_at": None if result.expires_at is None else written_whole(result.expires_at),
        "ended_by": result.ended_by,
        "basis": result.basis,
    }


def _error(error: Error) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "origin": error.origin, "field": error.field}


def _written(at: datetime | None) -> str | None:
    return None if at is None else written(at)
