"""What the attempts of a timer's own expiry amount to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.decide import Attempt, Known, Send
from worker.ledger.expiry import End, decide_expiry

HOUR = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
GRACE = timedelta(seconds=120)


def at(s: float) -> datetime:
    return HOUR + timedelta(seconds=s)


def attempt(number: int, known: Known, opened_s: float, **changes: object) -> Attempt:
    reported = None if known is Known.OPEN else at(opened_s + 1)
    made = Attempt(number, known, at(opened_s), reported, at(opened_s + 150), code="FAILED", message="m")
    return replace(made, **changes)  # type: ignore[arg-type]


def decided(now_s: float, *attempts: Attempt) -> End | Send:
    return decide_expiry(attempts, HOUR, GRACE, at(now_s))


@pytest.mark.parametrize(("command_doubted", "by"), [(False, "brokerage"), (True, "unknown")])
def test_an_end_is_put_down_to_the_brokerage_only_where_no_command_s_own_call_is_in_doubt(
    *, command_doubted: bool, by: str
) -> None:
    refused = [attempt(1, Known.REFUSED, 0), attempt(2, Known.REFUSED, 130)]
    decision = decide_expiry(refused, HOUR, GRACE, at(132), command_doubted=command_doubted)
    assert decision == End(by, "inferred")


def test_the_first_call_is_at_the_hour() -> None:
    assert decided(-100) == Send(HOUR, "due")


def test_what_the_brokerage_confirmed_was_ended_by_the_timer() -> None:
    doubt, confirmed = attempt(1, Known.IN_DOUBT, 0), attempt(2, Known.CONFIRMED, 5)
    assert decided(6, doubt, confirmed) == End("timer", "answer")


@pytest.mark.parametrize("now_s", [2.0, 60.0, 119.0])
def test_failed_before_the_brokerages_sweep_is_no_end(now_s: float) -> None:
    refused = [attempt(1, Known.REFUSED, 0), attempt(2, Known.REFUSED, 1)]
    decision = decided(now_s, *refused)
    assert isinstance(decision, Send)
    assert at(now_s) <= decision.at <= at(120) or decision.at <= at(120)


def test_two_failed_the_second_after_the_grace_were_the_brokerage() -> None:
    assert decided(125, attempt(1, Known.REFUSED, 0), attempt(2, Known.REFUSED, 121)) == End("brokerage", "inferred")


def test_with_a_call_of_ours_in_doubt_nobody_knows_who_ended_it() -> None:
    attempts = [attempt(1, Known.IN_DOUBT, 0), attempt(2, Known.REFUSED, 10), attempt(3, Known.REFUSED, 121)]
    assert decided(125, *attempts) == End("unknown", "inferred")


def test_one_failed_after_the_grace_is_asked_once_more() -> None:
    decision = decided(130, attempt(1, Known.REFUSED, 125))
    assert isinstance(decision, Send)
    assert at(126) < decision.at < at(130)


def test_what_was_not_sent_waits_as_told() -> None:
    decision = decided(2, attempt(1, Known.NOT_SENT, 0, retry_at=at(40)))
    assert isinstance(decision, Send)
    assert decision.at == at(40)


@given(
    st.lists(st.sampled_from([Known.REFUSED, Known.IN_DOUBT, Known.NOT_SENT, Known.OPEN]), max_size=8),
    st.floats(0, 400),
)
def test_no_call_before_the_hour_and_no_end_before_the_grace(story: list[Known], apart_s: float) -> None:
    attempts = [attempt(i + 1, known, i * apart_s) for i, known in enumerate(story)]
    now = at(len(story) * apart_s)
    decision = decide_expiry(attempts, HOUR, GRACE, now)
    if isinstance(decision, Send):
        assert decision.at >= HOUR
        assert not attempts or decision.at > attempts[-1].opened_at
    else:
        assert now >= HOUR + GRACE
        assert sum(a.known is Known.REFUSED for a in attempts) >= 2
        doubted = any(a.known in (Known.IN_DOUBT, Known.OPEN) for a in attempts)
        assert decision.ended_by == ("unknown" if doubted else "brokerage")


@given(st.lists(st.sampled_from([Known.REFUSED, Known.IN_DOUBT, Known.NOT_SENT]), min_size=1, max_size=6))
def test_as_long_as_the_brokerage_refuses_the_expiry_ends_soon_after_the_grace(story: list[Known]) -> None:
    attempts: list[Attempt] = []
    now = HOUR
    for step in range(200):
        decision = decide_expiry(attempts, HOUR, GRACE, now)
        if isinstance(decision, End):
            assert now < HOUR + GRACE + timedelta(minutes=5)
            return
        now = max(now, decision.at)
        known = story[step] if step < len(story) else Known.REFUSED
        attempts.append(attempt(step + 1, known, (now - HOUR).total_seconds()))
        now += timedelta(seconds=1)
    raise AssertionError("the expiry did not end")


def fired(now_s: float, fired_s: float, *attempts: Attempt) -> End | Send:
    return decide_expiry(attempts, HOUR, GRACE, at(now_s), fired_at=at(fired_s))


def test_what_a_person_fired_is_asked_at_once_and_what_it_confirmed_was_ended_by_command() -> None:
    asked = fired(-100, -101)
    assert isinstance(asked, Send)
    assert asked.at == at(-100)
    assert fired(-98, -101, attempt(1, Known.CONFIRMED, -100)) == End("command", "person")


def test_failed_before_the_hour_goes_back_to_the_hour_until_a_person_fires_again() -> None:
    refused = attempt(1, Known.REFUSED, -100)
    assert fired(-98, -101, refused) == Send(HOUR, "refused before its hour")
    again = fired(-50, -51, refused)
    assert isinstance(again, Send)
    assert again.at == at(-50)


@pytest.mark.parametrize("known", [Known.REFUSED, Known.NOT_SENT, Known.IN_DOUBT])
def test_past_the_hour_a_person_cuts_a_wait_short(known: Known) -> None:
    tried = attempt(1, known, 1)
    waiting, asked = decided(3, tried), fired(3, 2.5, tried)
    assert isinstance(waiting, Send)
    assert isinstance(asked, Send)
    assert waiting.at > at(3) == asked.at


@given(
    known=st.lists(st.sampled_from([Known.IN_DOUBT, Known.REFUSED, Known.NOT_SENT, Known.CLEARED]), max_size=4),
    now_s=st.floats(-100, -1),
)
def test_without_a_person_nothing_is_asked_before_the_hour_whatever_was_tried(known: list[Known], now_s: float) -> None:
    tried = [attempt(i, one, -200 + i) for i, one in enumerate(known, 1)]
    decision = decided(now_s, *tried)
    assert isinstance(decision, Send)
    assert decision.at >= HOUR
