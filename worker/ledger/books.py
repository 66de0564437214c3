"""What our commands should have left in the brokerage's histories, and how the two are held against each other; pure.

Matched by key alone: the brokerage's number, or our tag in a remark. Never by an amount, a currency or a time.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, assert_never
from uuid import UUID

EXACT = Context(prec=60)
"""Sums of amounts of 28 digits need more than Python's default."""


class Book(StrEnum):
    """One history of the brokerage."""

    CASH = "cash"
    FREEZES = "freezes"
    POSITIONS = "positions"
    ORDERS = "orders"
    TEMPORARY = "temporary"  # the API has no history of these


class Kind(StrEnum):
    """What sort of difference; docs/runbooks/reconcile.md has a line for each."""

    OURS_WITHOUT_THEIRS = "ours_without_theirs"
    THEIRS_WITHOUT_OURS = "theirs_without_ours"
    DIFFERENT_AMOUNT = "different_amount"
    DIFFERENT_TERMS = "different_terms"
    REJECTED_BUT_THERE = "rejected_but_there"
    IN_DOUBT = "in_doubt"
    UNFINISHED = "unfinished"
    OUTCOME_MISSING = "outcome_missing"
    OUTCOME_TWICE = "outcome_twice"
    OUTCOME_DIFFERS = "outcome_differs"
    COMMAND_MISSING = "command_missing"
    UNPUBLISHED = "unpublished"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the brokerage's histories. `amount` is signed, in money or pieces, `unit` the currency or symbol.

    `at` has whole seconds. `terms` are an order's other fields; `tagged` the command whose tag the remark carries.
    """

    book: Book
    number: str
    unit: str
    amount: Decimal
    at: datetime
    text: str = ""
    code: str = ""
    tagged: UUID | None = None
    terms: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """The history, where it has two sorts of lines the sort, and the number."""
        return key_of(self.book, self.number, self.amount)


@dataclass(frozen=True, slots=True)
class Ours:
    """A command as it is stored, with the number that the brokerage gave it; `at` is when its first call began."""

    command_id: UUID
    command_type: str
    position: int
    state: str
    payload: Mapping[str, Any]
    at: datetime
    finished_at: datetime | None
    number: str | None
    doubt: str | None  # why its call, or with `expiry` that of its end, may or may not have been applied
    expiry: bool
    told: tuple[str, ...]  # types of the outcomes that end or correct it


@dataclass(frozen=True, slots=True)
class Expected:
    """One line that a command should have left; what is None cannot be known from what is stored."""

    ours: Ours
    book: Book
    number: str | None
    unit: str | None
    amount: Decimal | None
    releases: bool = False  # of a freeze

    @property
    def key(self) -> tuple[str, str] | None:
        """As of a line; None where the number is not known."""
        if self.number is None:
            return None
        return key_of(self.book, self.number, Decimal(-1 if self.releases else 1))


@dataclass(frozen=True, slots=True)
class Pair:
    """What we expected, and the line of the brokerage that has its key."""

    expected: Expected
    line: Line


@dataclass(frozen=True, slots=True)
class Matched:
    """Every line and every expected one is in exactly one of the three."""

    pairs: tuple[Pair, ...]
    ours_alone: tuple[Expected, ...]
    theirs_alone: tuple[Line, ...]


def key_of(book: Book, number: str, amount: Decimal) -> tuple[str, str]:
    """Return the key of a line; in the history of freezes a release may carry the number of its freeze."""
    return (f"{book}-" if book is Book.FREEZES and amount < 0 else str(book)), number


def makers(line: Line) -> tuple[str, ...]:
    """Return the command types that make such a line."""
    match line.book:
        case Book.CASH:
            return ("cash.adjust", "cash.debit_frozen")
        case Book.POSITIONS:
            return ("position.adjust",)
        case Book.FREEZES:
            return ("cash.freeze",) if line.amount > 0 else ("cash.unfreeze", "cash.debit_frozen")
        case Book.ORDERS:
            return ("order.place",)
        case Book.TEMPORARY:
            return ("temp.adjust",)
        case _:
            assert_never(line.book)


def match(expected: Iterable[Expected], lines: Iterable[Line]) -> Matched:
    """Pair what has one key; where several have the same, those that agree come first, then in the sequence of time."""
    by_key: dict[tuple[str, str], list[Line]] = defaultdict(list)
    by_tag: dict[tuple[Book, UUID], list[Line]] = defaultdict(list)
    for line in lines:
        by_key[line.key].append(line)
        if line.tagged is not None:
            by_tag[line.book, line.tagged].append(line)
    waiting: dict[tuple[str, str], list[Expected]] = defaultdict(list)
    alone: list[Expected] = []
    pairs: list[Pair] = []
    for one in sorted(expected, key=lambda one: (one.ours.at, one.ours.position)):
        key = one.key
        if key is None:
            tagged = by_tag.get((one.book, one.ours.command_id), [])
            found = next((line for line in tagged if line in by_key[line.key]), None)
            if found is None:
                alone.append(one)
            else:
                by_key[found.key].remove(found)
                pairs.append(Pair(one, found))
        else:
            waiting[key].append(one)
    for key, ones in waiting.items():
        left = sorted(by_key.get(key, ()), key=lambda line: line.at)
        agreeing, others = [], []
        for one in ones:
            same = next((line for line in left if not disagreements(one, line)), None)
            if same is None:
                others.append(one)
            else:
                left.remove(same)
                agreeing.append(Pair(one, same))
        pairs += agreeing + [Pair(one, line) for one, line in zip(others, left, strict=False)]
        alone += others[len(left) :]
        by_key[key] = left[len(others) :]
    return Matched(tuple(pairs), tuple(alone), tuple(line for rest in by_key.values() for line in rest))


def disagreements(one: Expected, line: Line) -> list[tuple[Kind, str, str]]:
    """Return how a line differs from what was expected: kind, ours, theirs."""
    found = []
    if one.amount is not None and one.amount != line.amount:
        found.append((Kind.DIFFERENT_AMOUNT, f"{one.amount:f}", f"{line.amount:f}"))
    if one.unit is not None and plain_unit(one.unit) != plain_unit(line.unit):
        found.append((Kind.DIFFERENT_TERMS, one.unit, line.unit))
    return found


def plain_unit(unit: str) -> str:
    """Return a symbol without leading zeros: the brokerage writes 00700.HK and 700.HK."""
    code, dot, region = unit.partition(".")
    return f"{code.lstrip('0') or '0'}{dot}{region}" if dot and code.isdigit() else unit


def expect(ours: Ours) -> list[Expected]:
    """Return the lines that a command leaves if it was applied; that of a debit lacks what only its freeze knows.

    Temporary adjustments leave none that the API shows, changes and withdrawals of orders none of their own.
    """
    payload = ours.payload
    match ours.command_type:
        case "cash.adjust":
            return [Expected(ours, Book.CASH, ours.number, payload["currency"], _signed(payload, "amount"))]
        case "position.adjust":
            return [Expected(ours, Book.POSITIONS, ours.number, payload["symbol"], _signed(payload, "quantity"))]
        case "cash.freeze":
            return [Expected(ours, Book.FREEZES, ours.number, payload["currency"], Decimal(payload["amount"]))]
        case "cash.unfreeze":
            amount = Decimal(payload["amount"]).copy_negate()
            return [Expected(ours, Book.FREEZES, ours.number, payload["currency"], amount, releases=True)]
        case "cash.debit_frozen":
            return [
                Expected(ours, Book.FREEZES, ours.number, None, None, releases=True),
                Expected(ours, Book.CASH, ours.number, None, None),
            ]
        case "order.place":
            return [Expected(ours, Book.ORDERS, ours.number, payload["symbol"], Decimal(payload["quantity"]))]
        case _:
            return []


def debited(one: Expected, freeze: Ours | None, given_back: Sequence[Ours], serial: str | None) -> Expected:
    """Fill in a debit's line from its freeze and what was given back of it before; as it is where that is not known."""
    filled = replace(one, number=one.number or serial)
    if freeze is None:
        return filled
    amounts = [Decimal(other.payload["amount"]) for other in given_back if other.position < one.ours.position]
    rest = total([Decimal(freeze.payload["amount"]), *(amount.copy_negate() for amount in amounts)])
    return replace(filled, unit=freeze.payload["currency"], amount=rest.copy_negate())


def temporary_amount(ours: Ours) -> tuple[str, Decimal]:
    """Return the unit and signed amount of a temp.adjust."""
    payload = ours.payload
    if payload["security_type"] == "CASH":
        return payload["currency"], _signed(payload, "amount")
    return payload.get("symbol") or payload["counter_id"], _signed(payload, "quantity")


def order_terms(placed: Ours | None, changes: Sequence[Ours]) -> dict[str, str] | None:
    """Return what an order must show after all that was done to it; None while a change of it is undecided.

    Of an order that another placed only what the last change named is known.
    """
    if any(change.state not in ("succeeded", "rejected") for change in changes):
        return None
    terms: dict[str, str] = {}
    if placed is not None:
        terms = {name: placed.payload[name] for name in ("symbol", "side", "quantity")}
        terms |= {"price": placed.payload["price"]} if placed.payload.get("price") else {}
    for change in sorted(changes, key=lambda change: change.position):
        if change.state != "succeeded":
            continue
        if change.command_type == "order.withdraw":
            terms["status"] = "withdrawn"
        else:
            terms |= {name: change.payload[name] for name in ("quantity", "price") if change.payload.get(name)}
    return terms


def differing_terms(terms: Mapping[str, str], line: Line, live: frozenset[str]) -> list[tuple[Kind, str, str]]:
    """Return how an order differs from its terms; one that was withdrawn may have ended otherwise, but not live on."""
    found = []
    for name, wanted in terms.items():
        shown = line.terms.get(name, "")
        if name == "status":
            if shown in live:
                found.append((Kind.DIFFERENT_TERMS, "withdrawn", shown))
        elif name in ("quantity", "price"):
            if decimal_of(shown) != Decimal(wanted):
                found.append((Kind.DIFFERENT_AMOUNT, f"{name} {wanted}", f"{name} {shown}"))
        elif plain_unit(wanted) != plain_unit(shown):
            found.append((Kind.DIFFERENT_TERMS, f"{name} {wanted}", f"{name} {shown}"))
    return found


def outcome_faults(ours: Ours) -> list[tuple[Kind, str]]:
    """Return what is wrong with a command's outcomes: kind and note."""
    ends = [kind for kind in ours.told if kind != "command.corrected"]
    if len(ends) > 1:
        return [(Kind.OUTCOME_TWICE, ", ".join(ends))]
    if ours.state not in ("succeeded", "rejected"):
        return [(Kind.OUTCOME_DIFFERS, f"told as {ends[0]}, but it is {ours.state}")] if ends else []
    if not ends:
        return [(Kind.OUTCOME_MISSING, f"it is {ours.state}, and no outcome says so")]
    says = "command.succeeded" if "command.corrected" in ours.told else ends[0]
    return (
        [] if says == f"command.{ours.state}" else [(Kind.OUTCOME_DIFFERS, f"told as {says}, but it is {ours.state}")]
    )


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add exactly."""
    found = Decimal(0)
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def decimal_of(text: object) -> Decimal | None:
    """Read a plain finite number, None where it is none."""
    if isinstance(text, bool) or not isinstance(text, str | int):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _signed(payload: Mapping[str, Any], name: str) -> Decimal:
    amount = Decimal(payload[name])
    return amount if payload["direction"] == "CREDIT" else amount.copy_negate()
