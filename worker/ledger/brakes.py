"""What is stopped for now: calls of everything or of one operation (a pause), or of one account (a hold).

A brake stops calls that write; looks always go on. Only a pause of everything or of temp.expire stops expiries. A worker
itself pauses an operation of which too much is in doubt; then what is in doubt already may go on, and so may expiries.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

ALL, OPERATION, DOUBTS, ACCOUNT = "all", "operation", "doubts", "account"
EXPIRE = "temp.expire"
LOOK_AGAIN_AFTER = timedelta(seconds=30)
"""How long a lane rests behind a brake before it looks whether the brake is still there; releasing it wakes the lane."""


class Brake(NamedTuple):
    """One brake; `subject` is an operation or an account, and empty where everything is meant."""

    kind: str
    subject: str
    reason: str

    def mark(self) -> str:
        """Begin of the hold reason of every lane that waits for this brake: so its lanes are found again."""
        return f"account {self.subject} is held: " if self.kind == ACCOUNT else f"{self.name()} is paused: "

    def name(self) -> str:
        """Return what is stopped, in a word."""
        return "everything" if self.kind == ALL else self.subject


@dataclass(frozen=True, slots=True)
class Brakes:
    """The brakes that hold for one round of claims."""

    found: tuple[Brake, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Brake]) -> "Brakes":
        """Gather brakes; a pause of everything is named first, then one of an operation, then a hold."""
        return cls(
            tuple(sorted(found, key=lambda one: ((ALL, OPERATION, DOUBTS, ACCOUNT).index(one.kind), one.subject)))
        )

    def on_write(self, account_no: str, operation: str, *, doubted: bool) -> str | None:
        """Say why a call of this operation must wait; `doubted`: an earlier attempt may have been applied."""
        for one in self.found:
            applies = one.kind == ALL or one.subject == (account_no if one.kind == ACCOUNT else operation)
            if applies and not (one.kind == DOUBTS and doubted):
                return one.mark() + one.reason
        return None

    def on_expiry(self) -> str | None:
        """Say why a timer's own expiry must wait."""
        for one in self.found:
            if one.kind == ALL or (one.kind == OPERATION and one.subject == EXPIRE):
                return one.mark() + one.reason
        return None
