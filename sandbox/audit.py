"""What was received and what was applied, kept apart from the books so that the books can be judged by it.

Both lists only grow. Bodies are kept as bytes and read when someone asks.
"""

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from sandbox import clock
from sandbox.envelope import Json


@dataclass(slots=True)
class Call:
    """One request as it came in, and what became of it; `status` stays None where no answer was given."""

    method: str
    path: str
    query: str
    body: bytes
    received_at: float
    operation: str | None = None
    account_no: str | None = None
    request_id: str | None = None
    remark: str | None = None
    answered_at: float | None = None
    status: int | None = None
    answer: bytes | None = None
    applied: bool = False
    fault: str | None = None

    def shown(self) -> Json:
        """Return the call as GET /_sandbox/calls lists it."""
        return {
            "operation": self.operation,
            "account_no": self.account_no,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "request": _request_or_text(self.query, self.body),
            "request_id": self.request_id,
            "remark": self.remark,
            "received_at": clock.text_of(self.received_at),
            "answered_at": clock.text_of(self.answered_at),
            "status": self.status,
            "answer": None if self.answer is None else _json_or_text(self.answer),
            "applied": self.applied,
            "fault": self.fault,
        }


@dataclass(frozen=True, slots=True)
class Effect:
    """One change of the books, by a call or by the sandbox's own sweep (then `request` says of what)."""

    operation: str
    account_no: str | None
    number: str | None
    applied_at: float
    call: Call | None = None
    request: Json = field(default_factory=dict)

    def shown(self) -> Json:
        """Return the effect as GET /_sandbox/effects lists it."""
        call = self.call
        return {
            "operation": self.operation,
            "account_no": self.account_no,
            "request": self.request if call is None else request_of(call.query, call.body),
            "request_id": None if call is None else call.request_id,
            "remark": None if call is None else call.remark,
            "number": self.number,
            "received_at": clock.text_of(self.applied_at if call is None else call.received_at),
            "applied_at": clock.text_of(self.applied_at),
        }


class Audit:
    """All calls in the order of their arrival, all effects in the order in which they were applied."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.effects: list[Effect] = []

    def effects_shown(self, account_no: str | None, operation: str | None) -> list[Json]:
        """Return the effects, narrowed where asked."""
        return [one.shown() for one in self.effects if _meant(one, account_no, operation)]

    def calls_shown(self, account_no: str | None, operation: str | None) -> list[Json]:
        """Return the calls, narrowed where asked."""
        return [one.shown() for one in self.calls if _meant(one, account_no, operation)]


def request_of(query: str, body: bytes) -> Json:
    """Return a request's fields: those of the query (a repeated one as a list), then those of the JSON body.

    Raises ValueError where the body is not one JSON object.
    """
    request: Json = {}
    if query:
        found = parse_qs(query, keep_blank_values=True)
        request = {name: values[0] if len(values) == 1 else values for name, values in found.items()}
    if body:
        parsed = json.loads(body)
        if not isinstance(parsed, dict):
            raise ValueError("the body must be one JSON object")
        request |= parsed
    return request


def _meant(one: Call | Effect, account_no: str | None, operation: str | None) -> bool:
    return account_no in (None, one.account_no) and operation in (None, one.operation)


def _request_or_text(query: str, body: bytes) -> object:
    try:
        return request_of(query, body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


def _json_or_text(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
