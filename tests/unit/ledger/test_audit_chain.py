"""Two copies of one chain, and what is said where they differ; the whole of `audit verify` is tested on real parts."""

from dataclasses import replace

import pytest

from worker.ledger.audit_chain import Fault, Head, Link, Side, judge, read_row

BEGINNING = "start"


def chain(count: int) -> list[Link]:
    names = [BEGINNING, *(f"h{seq}" for seq in range(1, count + 1))]
    return [Link(f"id{seq}", seq, names[seq - 1], names[seq], 0, seq - 1) for seq in range(1, count + 1)]


def told(
    table: list[Link], topic: list[Link], *, head: Head | None = None, beginning: str = BEGINNING, start: int = 0
) -> list[tuple[int, Side, Fault]]:
    span = {0: (start, max((one.at + 1 for one in topic if one.at is not None), default=start))}
    last = Head(5, "h5") if head is None else head
    return [(one.seq, one.side, one.fault) for one in judge(table, topic, last, beginning, span)]


def test_equal_copies_differ_in_nothing_and_so_do_empty_ones() -> None:
    assert told(chain(5), chain(5)) == []
    assert told([], [], head=Head(0, BEGINNING)) == []


def test_equal_counts_are_not_equal_copies() -> None:
    theirs = chain(5)
    theirs[2] = replace(theirs[2], hash="other")
    assert told(chain(5), theirs) == [(3, Side.TOPIC, Fault.ALTERED)]


def test_a_table_that_was_rewritten_from_a_row_on_is_told_from_the_topic() -> None:
    ours = chain(5)
    ours[2:] = [
        replace(ours[2], hash="x3"),
        replace(ours[3], previous="x3", hash="x4"),
        replace(ours[4], previous="x4", hash="x5"),
    ]
    found = told(ours, chain(5), head=Head(5, "x5"))
    assert found == [(seq, Side.TABLE, Fault.ALTERED) for seq in (3, 4, 5)]


def test_rows_that_the_topic_keeps_no_more_are_covered_by_the_chain() -> None:
    assert told(chain(5), chain(5)[3:], start=3) == []
    ours = chain(5)
    ours[1] = replace(ours[1], hash="x2")
    assert told(ours, chain(5)[3:], start=3) == [(2, Side.TABLE, Fault.ALTERED)]
    assert told(chain(5)[1:], chain(5)[3:], start=3) == [(1, Side.TABLE, Fault.REMOVED)]


def test_a_row_that_waits_to_be_published_need_not_be_on_the_topic() -> None:
    ours = chain(5)
    ours[4] = replace(ours[4], at=None, waits=True)
    assert told(ours, chain(4)) == []
    ours[4] = replace(ours[4], waits=False)
    assert told(ours, chain(4)) == [(5, Side.TABLE, Fault.INSERTED)]


def test_a_number_from_far_away_costs_no_time() -> None:
    far = Link("far", 10**17, "nobody", "far", 0, 5)
    assert told(chain(5), [*chain(5), far]) == [(10**17, Side.TOPIC, Fault.INSERTED)]


def test_rows_from_before_the_chain_are_sealed_by_its_first() -> None:
    early = Link("early", 0, "", "h0", 0, 9)
    assert told([early, *chain(5)], [*chain(5), early]) == []
    changed = [(0, Side.TABLE, Fault.ALTERED)]
    assert told([replace(early, hash="x0"), *chain(5)], [*chain(5), early], beginning="other") == changed
    assert told(chain(5), chain(5), beginning="other") == changed
    assert told(chain(5), [*chain(5), early], beginning="other") == [(0, Side.TABLE, Fault.REMOVED)]
    assert told(chain(5), [*chain(5), early]) == [(0, Side.TOPIC, Fault.INSERTED)]


@pytest.mark.parametrize(
    "value",
    [None, b"", b"[]", b"{}", b"\xff", b'{"audit_id":1,"actor":"a","action":"b","reason":"c","recorded_at":"d"}'],
)
def test_what_is_no_row_is_none(value: bytes | None) -> None:
    assert read_row(value) is None
