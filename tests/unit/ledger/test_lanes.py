"""How a lane rests after a turn, as a table; and how long is waited before trying again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.backoff import RESEND_FIRST_S, RETRY_FIRST_S, RETRY_MAX_S, resend_after, retry_after
from worker.ledger.lanes import LaneState, Rest, rest

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
LATER, PAST = NOW + timedelta(seconds=5), NOW - timedelta(seconds=5)
READY, HELD, IDLE = LaneState.READY, LaneState.HELD, LaneState.IDLE


@pytest.mark.parametrize(
    ("expiry_due", "hold_until", "hold_urgent", "has_head", "head_urgent", "expected"),
    [
        (False, None, False, False, False, Rest(IDLE, False, None)),
        (False, None, False, True, False, Rest(READY, False, None)),
        (False, None, False, True, True, Rest(READY, True, None)),
        (False, LATER, False, True, True, Rest(HELD, False, LATER)),
        (False, LATER, True, True, False, Rest(HELD, True, LATER)),
        (False, LATER, False, False, False, Rest(HELD, False, LATER)),  # what was done may still be overtaken
        (False, NOW, True, True, False, Rest(READY, True, None)),
        (False, PAST, False, True, False, Rest(READY, False, None)),
        (False, PAST, True, False, False, Rest(IDLE, False, None)),
        (True, None, False, False, False, Rest(READY, True, None)),
        (True, LATER, False, True, False, Rest(READY, True, LATER)),  # the expiry's turn keeps the command's hold
        (True, PAST, False, True, False, Rest(READY, True, None)),
    ],
)
def test_how_a_lane_rests(
    expiry_due: bool, hold_until: datetime | None, hold_urgent: bool, has_head: bool, head_urgent: bool, expected: Rest
) -> None:
    found = rest(
        expiry_due=expiry_due,
        hold_until=hold_until,
        hold_urgent=hold_urgent,
        has_head=has_head,
        head_urgent=head_urgent,
        now=NOW,
    )
    assert found == expected


@pytest.mark.parametrize("after", [retry_after, resend_after])
@given(count=st.integers(1, 10_000), since=st.datetimes(timezones=st.just(UTC)))
def test_what_is_tried_again_falls_into_a_later_second_and_waits_no_longer_than_the_ceiling(
    after: Callable[[int, datetime], timedelta], count: int, since: datetime
) -> None:
    first_s = RETRY_FIRST_S if after is retry_after else RESEND_FIRST_S
    assert 1 < first_s <= after(count, since).total_seconds() <= RETRY_MAX_S
    assert after(count, since) <= after(count + 1, since)


@pytest.mark.parametrize("count", [1, 4, 100])
def test_what_failed_together_does_not_come_back_together(count: int) -> None:
    """A thousand that failed within a seventh of a second are spread over half of what they wait."""
    waits = sorted(resend_after(count, NOW + timedelta(microseconds=137 * n)).total_seconds() for n in range(1000))
    assert waits[-1] == pytest.approx(1.5 * waits[0], rel=0.01)
    assert max(b - a for a, b in pairwise(waits)) < waits[0] / 400
