"""What a record turned out to be: a command, a refusal that names an identity, or something malformed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Reference:
    """What an earlier command made and this one needs: named by that command's id or by the brokerage's number."""

    kind: Literal["adjust", "freeze", "order"]
    command_id: UUID | None
    number: str | None


class Command(NamedTuple):
    """A command with nothing wrong in itself; whether its hour, limits and references hold is judged at the claim."""

    command_id: UUID
    command_type: str
    account_no: str
    issued_at: datetime
    issued_by: str
    not_after: datetime | None
    correlation_id: str | None
    payload: dict[str, Any]
    content_hash: bytes
    traceparent: str | None
    expires_at: datetime | None
    reference: Reference | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record whose identity is readable and whose rest is not right.

    Every string in it can be stored and shown: without control characters or lone surrogates, and bounded.
    """

    command_id: UUID
    account_no: str
    command_type: str | None
    issued_by: str | None
    correlation_id: str | None
    content_hash: bytes
    code: str
    message: str
    field: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record whose identity cannot be read. `message` is ours alone and holds nothing of the record."""

    reason: Literal["MALFORMED", "TOO_LARGE", "QUARANTINED"]
    message: str
