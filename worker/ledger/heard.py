"""An outcome as the topic has it: what `recover` learns from, where the database has forgotten it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from schemas.compact import compact
from schemas.outcomes import Error, OutcomeType, Result
from worker.ledger.records import RawRecord


@dataclass(frozen=True, slots=True)
class Heard:
    """One outcome that was published, with its record: bytes, headers and place."""

    event_id: UUID
    type: OutcomeType
    command_id: UUID
    command_type: str | None
    account_no: str
    account_seq: int
    attempts: int
    recorded_at: datetime
    first_sent_at: datetime | None
    result: Result | None
    error: Error | None
    record: RawRecord

    @property
    def ends_command(self) -> bool:
        """Whether it is the command's one terminal outcome."""
        return self.type in (OutcomeType.SUCCEEDED, OutcomeType.REJECTED)

    @property
    def published_at(self) -> datetime:
        """When Kafka was given it."""
        return datetime.fromtimestamp(self.record.timestamp_ms / 1000, UTC)


def hear(record: RawRecord) -> Heard | None:
    """Read an outcome; None where the record is none of ours, which anybody with write access may have put there."""
    try:
        told = json.loads(record.value or b"")
        return Heard(
            event_id=UUID(told["event_id"]),
            type=OutcomeType(told["type"]),
            command_id=UUID(told["command_id"]),
            command_type=told["command_type"],
            account_no=str(told["account_no"]),
            account_seq=int(told["account_seq"]),
            attempts=int(told["attempts"]),
            recorded_at=datetime.fromisoformat(told["recorded_at"]),
            first_sent_at=_instant(told["timing"]["first_sent_at"]),
            result=_result(told["result"]),
            error=None if told["error"] is None else Error(**told["error"]),
            record=record,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def renumbered(value: bytes, account_seq: int) -> bytes:
    """Return an outcome's bytes under another `account_seq`, all else as it was written."""
    told = json.loads(value)
    told["account_seq"] = account_seq
    return compact(told)


def _result(told: Mapping[str, Any] | None) -> Result | None:
    return None if told is None else Result(**{**told, "expires_at": _instant(told["expires_at"])})


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
