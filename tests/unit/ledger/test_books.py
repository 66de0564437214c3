"""Lines are paired by key alone, each once, and what agrees first."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from worker.ledger.books import (
    Book,
    Kind,
    Line,
    Ours,
    debited,
    differing_terms,
    disagreements,
    expect,
    match,
    order_terms,
    outcome_faults,
)
from worker.whale.entry import tag, tagged_id
from worker.whale.probes import LIVE

HOUR = datetime(2026, 11, 22, 8, tzinfo=UTC)


def ours(type_: str, position: int = 1, number: str | None = "N1", **changes: Any) -> Ours:
    payload = factories.payload(type_, **changes.pop("payload", {}))
    at = HOUR + timedelta(seconds=position)
    fields = {"state": "succeeded", "doubt": None, "expiry": False, "told": ("command.succeeded",)} | changes
    return Ours(UUID(int=position), type_, position, payload=payload, at=at, finished_at=at, number=number, **fields)


def line(number: str, amount: str, unit: str = "USD", book: Book = Book.CASH, **more: Any) -> Line:
    return Line(book, number, unit, Decimal(amount), HOUR, **more)


def test_nothing_is_matched_by_its_amount() -> None:
    found = match(expect(ours("cash.adjust")), [line("N2", "1000.00")])
    assert (found.pairs, len(found.ours_alone), len(found.theirs_alone)) == ((), 1, 1)
    unknown = match(expect(ours("cash.adjust", number=None)), [line("N2", "1000.00")])
    assert (unknown.pairs, len(unknown.ours_alone)) == ((), 1)


def test_a_number_of_one_history_means_nothing_in_another() -> None:
    found = match(expect(ours("cash.adjust")), [line("N1", "1000.00", book=Book.FREEZES)])
    assert found.pairs == ()


def test_a_freeze_and_its_releases_under_one_number_are_told_apart() -> None:
    releases = [
        ours("cash.unfreeze", n, payload={"amount": amount}) for n, amount in ((2, "5"), (3, "9"), (4, "9"), (5, "7"))
    ]
    expected = [one for command in (ours("cash.freeze"), *releases) for one in expect(command)]
    book = Book.FREEZES
    lines = [line("N1", amount, "HKD", book) for amount in ("-9", "-9", "-5", "-8", "-1", "36")]
    found = match(expected, lines)
    assert {(pair.expected.ours.position, str(pair.line.amount)) for pair in found.pairs} == {
        (1, "36"),
        (2, "-5"),
        (3, "-9"),
        (4, "-9"),
        (5, "-8"),
    }
    assert [str(one.amount) for one in found.theirs_alone] == ["-1"]


@given(st.lists(st.sampled_from("abcd")), st.lists(st.sampled_from("abcd")))
def test_every_line_is_in_exactly_one_place(mine: list[str], theirs: list[str]) -> None:
    expected = [one for n, number in enumerate(mine, 1) for one in expect(ours("cash.adjust", n, number))]
    lines = [line(number, str(n + 1)) for n, number in enumerate(theirs)]
    found = match(expected, lines)
    assert len(found.pairs) + len(found.ours_alone) == len(mine)
    assert len(found.pairs) + len(found.theirs_alone) == len(theirs)
    assert all(pair.expected.number == pair.line.number for pair in found.pairs)
    for number in "abcd":
        paired = sum(pair.line.number == number for pair in found.pairs)
        assert paired == min(mine.count(number), theirs.count(number))


def test_an_order_without_its_number_is_found_by_its_tag() -> None:
    placed = ours("order.place", number=None)
    remark = tag(placed.command_id) + "mine"
    theirs = line("O1", "100", "AAPL.US", Book.ORDERS, text=remark, tagged=tagged_id(remark))
    assert [pair.line.number for pair in match(expect(placed), [theirs]).pairs] == ["O1"]


@pytest.mark.parametrize("remark", ["", "lw1:", "lw1:short", "lw1:" + "a" * 27, "lw1:" + "A" * 26])
def test_what_is_no_tag_names_no_command(remark: str) -> None:
    assert tagged_id(remark) is None


def test_amount_and_unit_are_compared_as_what_they_mean() -> None:
    [expected] = expect(ours("position.adjust"))
    assert disagreements(expected, line("N1", "2000.0", "700.HK", Book.POSITIONS)) == []
    kinds = [kind for kind, _, _ in disagreements(expected, line("N1", "-2000", "701.HK", Book.POSITIONS))]
    assert kinds == [Kind.DIFFERENT_AMOUNT, Kind.DIFFERENT_TERMS]


def test_a_debit_takes_what_was_left_when_its_turn_came() -> None:
    back = [ours("cash.unfreeze", n, payload={"amount": "5"}) for n in (2, 9)]
    [released, taken] = expect(ours("cash.debit_frozen", 5, None))
    for one in (released, taken):
        filled = debited(one, ours("cash.freeze"), back, "F1")
        assert (filled.number, filled.unit, filled.amount) == ("F1", "HKD", Decimal(-30))
        assert debited(one, None, [], None).amount is None


def test_an_order_is_held_against_all_that_was_done_to_it() -> None:
    placed = ours("order.place")
    shown = {"symbol": "AAPL.US", "side": "Buy", "quantity": "200.0", "price": "50.100", "status": "CanceledStatus"}
    theirs = line("N1", "200", "AAPL.US", Book.ORDERS, terms=shown)
    changed, withdrawn = ours("order.modify", 2), ours("order.withdraw", 3)
    assert differing_terms(order_terms(placed, [withdrawn, changed]) or {}, theirs, LIVE) == []
    assert len(differing_terms(order_terms(placed, []) or {}, theirs, LIVE)) == 2
    refused = ours("order.modify", 2, state="rejected")
    assert len(differing_terms(order_terms(placed, [refused]) or {}, theirs, LIVE)) == 2
    assert order_terms(placed, [ours("order.modify", 2, state="parked")]) is None, "nobody knows yet"
    alive = line("N1", "200", "AAPL.US", Book.ORDERS, terms=shown | {"status": "NewStatus"})
    assert differing_terms(order_terms(None, [withdrawn]) or {}, alive, LIVE) == [
        (Kind.DIFFERENT_TERMS, "withdrawn", "NewStatus")
    ]


@pytest.mark.parametrize(
    ("state", "told", "kinds"),
    [
        ("succeeded", ["succeeded"], []),
        ("rejected", ["rejected"], []),
        ("succeeded", ["rejected", "corrected"], []),
        ("queued", [], []),
        ("succeeded", [], [Kind.OUTCOME_MISSING]),
        ("succeeded", ["rejected"], [Kind.OUTCOME_DIFFERS]),
        ("rejected", ["rejected", "corrected"], [Kind.OUTCOME_DIFFERS]),
        ("parked", ["rejected"], [Kind.OUTCOME_DIFFERS]),
        ("succeeded", ["succeeded", "succeeded"], [Kind.OUTCOME_TWICE]),
    ],
)
def test_a_command_has_one_outcome_that_says_what_it_is(state: str, told: list[str], kinds: list[Kind]) -> None:
    one = ours("cash.adjust", state=state, told=tuple(f"command.{word}" for word in told))
    assert [kind for kind, _ in outcome_faults(one)] == kinds
