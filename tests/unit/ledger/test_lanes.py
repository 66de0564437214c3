"""How a lane rests after a turn, as a table; and how long is waited before trying again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.backoff import RESEND_FIRST_S, RETRY_FIRST_S, RETRY_MAX_S, resend_after_s, retry_after_s
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


@given(st.integers(1, 10_000))
def test_a_retry_falls_into_a_later_second_and_waits_no_longer_than_the_ceiling(count: int) -> None:
    assert 1 < RETRY_FIRST_S <= retry_after_s(count) <= RETRY_MAX_S
    assert retry_after_s(count) <= retry_after_s(count + 1)


@given(st.integers(1, 10_000))
def test_a_resend_falls_into_a_later_second_and_waits_no_longer_than_the_ceiling(count: int) -> None:
    assert 1 < RESEND_FIRST_S <= resend_after_s(count) <= RETRY_MAX_S
    assert resend_after_s(count) <= resend_after_s(count + 1)
