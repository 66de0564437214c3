"""What one call to the brokerage has told us, and what a look has shown.

A verdict is about one attempt, never about a command: see `worker.ledger.decide` for what several attempts amount to.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Keying(StrEnum):
    """What keeps an operation from taking effect twice when the same call goes out again."""

    REQUEST_ID = "request_id"  # the brokerage remembers the id and does not act again
    TARGET = "target"  # the call moves its target to a state that can be reached only once
    TAG = "tag"  # not resent; our tag in the remark shows whether it was applied
    NOTHING = "nothing"  # neither resent nor looked for: a person decides


@dataclass(frozen=True, slots=True)
class Numbers:
    """The brokerage's own names for what a call made."""

    adjust_no: str | None = None
    serial_num: str | None = None
    order_id: str | None = None

    def filled_from(self, named: "Numbers | None") -> "Numbers":
        """Take from what the call named whatever the answer names not."""
        if named is None:
            return self
        return Numbers(
            self.adjust_no or named.adjust_no, self.serial_num or named.serial_num, self.order_id or named.order_id
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One call as it is stored with its attempt and sent again, byte for byte; signing comes later."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The brokerage said that it was done."""

    numbers: Numbers
    rule: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The brokerage said that this call was not and will not be done."""

    code: str
    message: str
    rule: str


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The call may have been done, or may yet be."""

    rule: str
    message: str


class Pause(StrEnum):
    """Why no call of this process makes sense until something outside it changes."""

    CREDENTIALS = "credentials"  # token refused
    SIGNATURE = "signature"  # 403201; only a pause if a signed read is refused too
    ADDRESS = "address"  # key, allow-list, base URL: 403203, 403205, 403305, 404, 405, 3xx


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing was done: no byte left, or the gateway turned the call away before the brokerage saw it."""

    rule: str
    message: str
    retry_after_s: float | None = None
    pause: Pause | None = None


Verdict = Confirmed | Refused | InDoubt | NotSent


@dataclass(frozen=True, slots=True)
class Seen:
    """A look showed that it was applied."""

    numbers: Numbers
    note: str
    detail: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Absent:
    """A full look did not show it: proves nothing before the horizon."""

    note: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The order ended otherwise (filled, rejected, expired): what was asked for cannot happen any more."""

    status: str
    note: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The look itself did not come through."""

    note: str


Evidence = Seen | Absent | Ended | Unreadable
