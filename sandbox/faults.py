"""Faults on demand: which call goes wrong next, and how. Acting on them is `calls`."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from sandbox import fields
from sandbox.envelope import Json

FOR_EVER = -1
_DELAY_DEFAULT_S = 1.0


class Kind(StrEnum):
    """How a call goes wrong; docs/sandbox.md says for each whether the request is applied."""

    DELAY = "delay"
    DROP_REQUEST = "drop_request"
    DROP_ANSWER = "drop_answer"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    LATE_APPLY = "late_apply"
    RATE_LIMITED = "rate_limited"
    MALFORMED = "malformed"
    INNER_FAILED = "inner_failed"
    REPLAYED_SIGNATURE = "replayed_signature"
    UNAUTHORIZED = "unauthorized"
    REFUSED = "refused"


@dataclass(slots=True)
class Fault:
    """One order to misbehave. None matches anything; `times` counts down, -1 is for ever."""

    kind: Kind
    operation: str | None
    account_no: str | None
    remark: str | None
    times: int
    delay_s: float
    json: bool = True
    code: str | int | None = None
    status: int | None = None

    def matches(self, operation: str, account_no: str | None, remark: str | None) -> bool:
        """Say whether this call is meant."""
        return (
            self.operation in (None, operation)
            and self.account_no in (None, account_no)
            and (self.remark is None or (remark is not None and self.remark in remark))
        )

    def shown(self) -> Json:
        """Return the fault as it was understood."""
        return asdict(self)


class Faults:
    """The faults that still wait for a call, first come first used."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a fault behind those that wait."""
        self._waiting.append(fault)

    def clear(self) -> int:
        """Forget all faults and return how many there were."""
        removed = len(self._waiting)
        self._waiting.clear()
        return removed

    def take(self, operation: str, account_no: str | None, remark: str | None) -> Fault | None:
        """Return the first fault that means this call and count it down."""
        for fault in self._waiting:
            if fault.matches(operation, account_no, remark):
                if fault.times != FOR_EVER:
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                return fault
        return None


def fault_of(body: Json, operations: frozenset[str]) -> Fault:
    """Read the body of POST /_sandbox/faults; RefusalError says which field is wrong."""
    fields.known(body, Fault.__slots__)
    kind = Kind(fields.choice(body, "kind", set(Kind)))
    operation = fields.optional_text(body, "operation")
    if operation is not None:
        fields.choice(body, "operation", operations)
    waits = kind in (Kind.DELAY, Kind.LATE_APPLY)
    return Fault(
        kind=kind,
        operation=operation,
        account_no=fields.optional_text(body, "account_no"),
        remark=fields.optional_text(body, "remark"),
        times=_times(body),
        delay_s=_delay_s(body, _DELAY_DEFAULT_S if waits else 0.0),
        json=body.get("json") is None or fields.flag(body, "json"),
        code=_code(body, kind),
        status=None if body.get("status") is None else fields.whole(body, "status", 200, 599),
    )


def _code(body: Json, kind: Kind) -> str | int | None:
    code = body.get("code")
    if code is None or (isinstance(code, str) and kind is Kind.INNER_FAILED):
        return code
    return fields.whole(body, "code", 1, 10**9)


def _times(body: Json) -> int:
    if body.get("times") is None:
        return 1
    times = fields.whole(body, "times", FOR_EVER, 10**9)
    if times == 0:
        raise fields.bad("times", "must be 1 or more, or -1 for ever")
    return times


def _delay_s(body: Json, default: float) -> float:
    delay_s = body.get("delay_s")
    if delay_s is None:
        return default
    if not isinstance(delay_s, int | float) or isinstance(delay_s, bool) or not 0 <= delay_s <= 86_400:
        raise fields.bad("delay_s", "must be a number of seconds from 0 to 86400")
    return float(delay_s)
