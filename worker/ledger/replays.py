"""What a record of the past would be today, and the sum of many such."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any

from worker.ledger.commands import Command, Malformed, Refusal

_EXACT = Context(prec=60)
"""An amount has up to 28 digits, more of them at once more."""
_DEAD = ("malformed", "quarantined")


class Class(StrEnum):
    """What a record would be today; docs/cli.md says it in full."""

    DONE = "done"
    IN_FLIGHT = "in_flight"
    NOT_YET_READ = "not_yet_read"
    SKIPPED = "skipped"
    FORGOTTEN = "forgotten"
    CONFLICTING = "conflicting"
    MALFORMED = "malformed"
    TOO_LATE = "too_late"


@dataclass(frozen=True, slots=True)
class KnownId:
    """What the database knows of a command id; `ended` where it has a terminal outcome."""

    account_no: str
    content_hash: bytes
    ended: bool

    def is_of(self, judged: Command | Refusal) -> bool:
        """Whether this is the same intent: then the record is a repeat, else a conflict."""
        return self.account_no == judged.account_no and self.content_hash == judged.content_hash


@dataclass(frozen=True, slots=True)
class KnownRecord:
    """What the database knows of a record, by its place; `ended` where its command has a terminal outcome."""

    disposition: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Hours:
    """Against what times are judged: now, by the database, and how far ahead an `expires_at` must lie."""

    now: datetime
    ahead_min_s: float

    def have_passed(self, command: Command) -> bool:
        """Whether a call that would be made now must not be made any more."""
        if command.not_after is not None and command.not_after <= self.now:
            return True
        return command.expires_at is not None and (command.expires_at - self.now).total_seconds() < self.ahead_min_s


def classify(
    judged: Command | Refusal | Malformed,
    *,
    is_read: bool,
    is_skipped: bool,
    record: KnownRecord | None,
    known: KnownId | None,
    hours: Hours,
) -> tuple[Class, bool]:
    """Say what a record would be, and whether a run feeds it: only what was skipped and nobody was told of.

    `is_read` is below the stored offset, `is_skipped` in a range that `topics adopt` passed over. `record` is what is
    stored from this place, `known` what is stored of its id, if it has one that can be read.
    """
    if not is_read:
        return Class.NOT_YET_READ, False
    if record is not None:
        return _of_record(record), False
    if known is not None and not isinstance(judged, Malformed):
        if not known.is_of(judged):
            return Class.CONFLICTING, is_skipped
        return _ended(known.ended), False
    if not is_skipped:
        return Class.FORGOTTEN, False
    if not isinstance(judged, Command):
        return Class.MALFORMED, True
    return (Class.TOO_LATE if hours.have_passed(judged) else Class.SKIPPED), True


def _of_record(record: KnownRecord) -> Class:
    if record.disposition in _DEAD:
        return Class.MALFORMED
    return Class.CONFLICTING if record.disposition == "conflict" else _ended(record.ended)


def _ended(ended: bool) -> Class:
    return Class.DONE if ended else Class.IN_FLIGHT


@dataclass(slots=True)
class Sum:
    """The records of one class: how many, how many of them a run feeds, and what they move, by type and direction."""

    count: int = 0
    fed: int = 0
    money: dict[tuple[str, str | None, str], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    quantities: dict[tuple[str, str | None, str | None], Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def add(self, judged: Command | Refusal | Malformed, *, fed: bool) -> None:
        """Count one; only what is right in itself has an amount that can be believed."""
        self.count += 1
        self.fed += fed
        if isinstance(judged, Command):
            payload: Mapping[str, Any] = judged.payload
            way = payload.get("direction") or payload.get("side")
            if payload.get("amount") is not None:
                of = (judged.command_type, way, payload["currency"])
                self.money[of] = _EXACT.add(self.money[of], Decimal(payload["amount"]))
            if payload.get("quantity") is not None:
                what = (judged.command_type, way, payload.get("symbol") or payload.get("counter_id"))
                self.quantities[what] = _EXACT.add(self.quantities[what], Decimal(payload["quantity"]))

    def shown(self) -> dict[str, Any]:
        """Return it for JSON; sums are text, as amounts are everywhere."""
        return {
            "count": self.count,
            "fed": self.fed,
            "money": [
                {"type": type_, "direction": way, "currency": currency, "amount": f"{amount:f}"}
                for (type_, way, currency), amount in sorted(self.money.items(), key=str)
            ],
            "quantities": [
                {"type": type_, "direction": way, "symbol": symbol, "quantity": f"{quantity:f}"}
                for (type_, way, symbol), quantity in sorted(self.quantities.items(), key=str)
            ],
        }


@dataclass(slots=True)
class Sums:
    """A sum for each class."""

    by_class: dict[Class, Sum] = field(default_factory=lambda: {one: Sum() for one in Class})

    def add(self, found: Class, judged: Command | Refusal | Malformed, *, fed: bool) -> None:
        """Count one record."""
        self.by_class[found].add(judged, fed=fed)

    @property
    def records(self) -> int:
        """How many were counted."""
        return sum(one.count for one in self.by_class.values())

    @property
    def to_feed(self) -> int:
        """How many of them a run feeds."""
        return sum(one.fed for one in self.by_class.values())

    def shown(self) -> dict[str, Any]:
        """Return all of them for JSON, empty ones too."""
        return {str(name): one.shown() for name, one in self.by_class.items()}


def overlap(spans: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Return the parts of these spans, each before its end, that lie between `start` and `end`."""
    cut = [(max(a, start), min(b, end)) for a, b in sorted(spans)]
    return [(a, b) for a, b in cut if a < b]
