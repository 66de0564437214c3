"""What several attempts and looks amount to, per keyedness: tables of what is promised, and properties of all else."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.ledger.decide import (
    OWNER_SILENT,
    RECOVERED,
    SIGNATURE_ALONE,
    Attempt,
    Decision,
    Known,
    Look,
    LookAt,
    Park,
    Reject,
    Rules,
    Send,
    Sight,
    Succeed,
    Wait,
    decide,
)
from worker.ledger.verdicts import Keying, Numbers

T0 = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
KEY_LIFE_S = 600.0
HORIZON_S = 150.0
ORDER = Numbers(order_id="O1")

CASH = Rules(Keying.REQUEST_ID, False, False, timedelta(seconds=KEY_LIFE_S), None)
EXPIRE = replace(CASH, keyed_by=Keying.TARGET)
MODIFY = replace(CASH, keyed_by=Keying.TARGET, can_look=True)
WITHDRAW = replace(MODIFY, ended_rejects=True)
PLACE = replace(CASH, keyed_by=Keying.TAG, can_look=True)
TEMP = replace(CASH, keyed_by=Keying.NOTHING)
ALL = {"cash": CASH, "expire": EXPIRE, "modify": MODIFY, "withdraw": WITHDRAW, "place": PLACE, "temp": TEMP}


def at(s: float) -> datetime:
    return T0 + timedelta(seconds=s)


def attempt(number: int, known: Known, opened_s: float = 0.0, **changes: object) -> Attempt:
    """An attempt that was reported one second after it began, or whose owner fell silent."""
    reported = None if known is Known.OPEN else at(opened_s + 1)
    made = Attempt(number, known, at(opened_s), reported, at(opened_s + HORIZON_S), code="C", message="m")
    return replace(made, **changes)  # type: ignore[arg-type]


def look(sight: Sight, started_s: float, **changes: object) -> Look:
    return replace(Look(sight, at(started_s), at(started_s + 1), "seen so"), **changes)  # type: ignore[arg-type]


DOUBT = attempt(1, Known.IN_DOUBT)
LATE = KEY_LIFE_S + HORIZON_S + 1


@pytest.mark.parametrize("rules", ALL.values(), ids=ALL)
@pytest.mark.parametrize("later", [Known.REFUSED, Known.NOT_SENT])
@pytest.mark.parametrize("now_s", [5.0, HORIZON_S + 5, LATE])
def test_a_later_attempt_that_was_refused_or_not_sent_clears_no_doubt(rules: Rules, later: Known, now_s: float) -> None:
    decision = decide(rules, [DOUBT, attempt(2, later, 2)], [], at(now_s))
    assert isinstance(decision, Send | LookAt | Wait | Park)
    assert not isinstance(decision, Park) or decision.in_doubt


@pytest.mark.parametrize("rules", ALL.values(), ids=ALL)
@pytest.mark.parametrize("others", [[Known.IN_DOUBT], [Known.REFUSED], [Known.IN_DOUBT, Known.REFUSED], []])
def test_what_was_confirmed_has_succeeded_whatever_else_was_answered(rules: Rules, others: list[Known]) -> None:
    attempts = [attempt(i + 1, known) for i, known in enumerate(others)]
    confirmed = attempt(len(others) + 1, Known.CONFIRMED, 9, numbers=ORDER)
    looks = [look(Sight.ABSENT, 300), look(Sight.ABSENT, 400)]
    expected = Succeed(ORDER, "answer", confirmed.rule)
    assert decide(rules, [*attempts, confirmed], looks, at(500)) == expected


@pytest.mark.parametrize("rules", [MODIFY, WITHDRAW, PLACE])
def test_what_a_look_showed_has_succeeded_by_inference(rules: Rules) -> None:
    decision = decide(rules, [DOUBT], [look(Sight.SEEN, 3, numbers=ORDER), look(Sight.ABSENT, 9)], at(11))
    assert decision == Succeed(ORDER, "inferred", "seen so")


@pytest.mark.parametrize("rules", ALL.values(), ids=ALL)
def test_the_answer_of_the_doubtful_attempt_itself_decides(rules: Rules) -> None:
    refused = decide(rules, [attempt(1, Known.REFUSED)], [], at(2))
    assert isinstance(refused, Reject)
    assert refused.origin == "brokerage"
    unsent = decide(rules, [attempt(1, Known.NOT_SENT)], [], at(2))
    assert isinstance(unsent, Send)


def test_a_change_whose_followers_are_forgotten_is_looked_at_and_never_made_again() -> None:
    rules, absent = replace(MODIFY, repeat_is_harmless=False), look(Sight.ABSENT, 2)
    assert isinstance(decide(rules, [DOUBT], [absent], at(4)), Send)
    recovered = replace(DOUBT, rule=RECOVERED)
    assert isinstance(decide(rules, [recovered], [absent], at(4)), LookAt)
    again = [absent, look(Sight.ABSENT, HORIZON_S + 1)]
    assert isinstance(decide(rules, [recovered], again, at(LATE)), Park)


def test_what_was_never_tried_is_sent_now() -> None:
    assert decide(CASH, [], [], T0) == Send(T0, "first call")


def test_a_person_who_said_that_it_was_not_applied_lets_it_go_out_again() -> None:
    assert isinstance(decide(CASH, [attempt(1, Known.CLEARED)], [], at(9)), Send)


def test_what_was_not_sent_waits_as_long_as_the_brokerage_asked() -> None:
    told = attempt(1, Known.NOT_SENT, retry_at=at(60))
    assert decide(CASH, [told], [], at(2)) == Send(at(60), "not sent: m")


def test_what_could_not_be_sent_for_a_day_parks_without_doubt() -> None:
    decision = decide(CASH, [attempt(1, Known.NOT_SENT), attempt(2, Known.NOT_SENT, 80_000)], [], at(86_400))
    assert isinstance(decision, Park)
    assert not decision.in_doubt


def test_a_signature_refused_for_this_command_alone_parks_it_without_doubt() -> None:
    decision = decide(CASH, [attempt(1, Known.NOT_SENT, rule=SIGNATURE_ALONE)], [], at(2))
    assert isinstance(decision, Park)
    assert not decision.in_doubt


class TestKeyedByRequestId:
    def test_the_same_bytes_go_out_again_while_the_key_lives(self) -> None:
        decision = decide(CASH, [DOUBT], [], at(2))
        assert isinstance(decision, Send)
        assert decision.no_later_than == at(KEY_LIFE_S)

    def test_a_resend_is_signed_in_a_later_second(self) -> None:
        decision = decide(CASH, [DOUBT], [], at(1))
        assert isinstance(decision, Send)
        assert decision.at - at(1) > timedelta(seconds=1)

    def test_a_resend_for_a_worker_that_fell_silent_waits_no_longer_than_its_lease(self) -> None:
        silent = replace(DOUBT, rule=OWNER_SILENT, reported_at=at(30))
        decision = decide(CASH, [silent], [], at(30))
        assert isinstance(decision, Send)
        assert decision.at <= at(30)

    def test_after_the_keys_life_it_parks_in_doubt(self) -> None:
        assert decide(CASH, [DOUBT], [], at(KEY_LIFE_S)) == Park(
            "the brokerage's memory of the key has run out", in_doubt=True
        )

    def test_the_lane_is_held_until_the_last_attempts_horizon(self) -> None:
        attempts = [DOUBT, attempt(2, Known.IN_DOUBT, KEY_LIFE_S - 5)]
        decision = decide(CASH, attempts, [], at(KEY_LIFE_S + 1))
        assert decision == Wait(at(KEY_LIFE_S - 5 + HORIZON_S), "the brokerage's memory of the key has run out")

    def test_past_not_after_nothing_goes_out_and_it_parks_at_the_horizon(self) -> None:
        rules = replace(CASH, not_after=at(10))
        waiting = decide(rules, [DOUBT], [], at(10))
        assert isinstance(waiting, Wait)
        assert waiting.until == at(HORIZON_S)
        assert isinstance(decide(rules, [DOUBT], [], at(HORIZON_S)), Park)

    def test_no_resend_may_leave_after_not_after(self) -> None:
        decision = decide(replace(CASH, not_after=at(10)), [DOUBT], [], at(9))
        assert isinstance(decision, Send)
        assert decision.no_later_than == at(10)


class TestKeyedByItsTarget:
    def test_expire_is_only_sent_again_for_it_cannot_be_looked_up(self) -> None:
        assert isinstance(decide(EXPIRE, [DOUBT], [], at(5)), Send)

    def test_an_expire_refused_after_a_doubt_is_held_to_its_horizon_and_parks(self) -> None:
        attempts = [DOUBT, attempt(2, Known.REFUSED, 3)]
        assert isinstance(decide(EXPIRE, attempts, [], at(5)), Wait)
        assert isinstance(decide(EXPIRE, attempts, [], at(HORIZON_S)), Park)

    def test_an_order_is_looked_at_before_anything_is_sent_again(self) -> None:
        assert isinstance(decide(MODIFY, [DOUBT], [], at(5)), LookAt)
        absent = decide(MODIFY, [DOUBT], [look(Sight.ABSENT, 3)], at(5))
        assert isinstance(absent, Send)

    def test_a_look_from_before_the_last_call_allows_no_resend(self) -> None:
        attempts = [DOUBT, attempt(2, Known.IN_DOUBT, 10)]
        assert isinstance(decide(MODIFY, attempts, [look(Sight.ABSENT, 3)], at(20)), LookAt)

    def test_a_resend_of_a_change_may_not_leave_after_not_after(self) -> None:
        decision = decide(replace(MODIFY, not_after=at(30)), [DOUBT], [look(Sight.ABSENT, 3)], at(20))
        assert isinstance(decision, Send)
        assert decision.no_later_than == at(30)

    def test_a_withdrawal_from_an_order_that_ended_otherwise_is_rejected(self) -> None:
        decision = decide(WITHDRAW, [DOUBT], [look(Sight.ENDED, 3)], at(5))
        assert isinstance(decision, Reject)
        assert decision.code == "ORDER_ENDED"

    def test_a_change_of_an_order_that_ended_parks_after_a_look_at_the_horizon(self) -> None:
        assert isinstance(decide(MODIFY, [DOUBT], [look(Sight.ENDED, 3)], at(5)), LookAt)
        looks = [look(Sight.ENDED, 3), look(Sight.ENDED, HORIZON_S)]
        assert isinstance(decide(MODIFY, [DOUBT], looks, at(HORIZON_S + 2)), Park)


class TestKeyedByNothing:
    @pytest.mark.parametrize("now_s", [2.0, HORIZON_S - 1])
    def test_nothing_goes_out_again_and_the_lane_waits_for_the_horizon(self, now_s: float) -> None:
        decision = decide(TEMP, [DOUBT], [], at(now_s))
        assert isinstance(decision, Wait)
        assert decision.until == at(HORIZON_S)

    @pytest.mark.parametrize("now_s", [HORIZON_S, LATE])
    def test_after_the_horizon_it_parks_in_doubt(self, now_s: float) -> None:
        decision = decide(TEMP, [DOUBT], [], at(now_s))
        assert isinstance(decision, Park)
        assert decision.in_doubt


class TestKeyedByTag:
    def test_two_full_looks_after_the_horizon_reject_by_absence(self) -> None:
        looks = [look(Sight.ABSENT, HORIZON_S), look(Sight.ABSENT, HORIZON_S + 5)]
        decision = decide(PLACE, [DOUBT], looks, at(HORIZON_S + 7))
        assert isinstance(decision, Reject)
        assert (decision.code, decision.by_absence) == ("NOT_APPLIED", True)

    @pytest.mark.parametrize(
        "looks",
        [
            [(Sight.ABSENT, 3), (Sight.ABSENT, 9)],
            [(Sight.ABSENT, HORIZON_S - 1), (Sight.ABSENT, HORIZON_S + 1)],
            [(Sight.UNREADABLE, HORIZON_S + 1), (Sight.ABSENT, HORIZON_S + 5)],
        ],
    )
    def test_less_than_two_full_looks_after_the_horizon_reject_nothing(self, looks: list[tuple[Sight, float]]) -> None:
        decision = decide(PLACE, [DOUBT], [look(*one) for one in looks], at(HORIZON_S + 7))
        assert isinstance(decision, LookAt)

    def test_a_worker_that_was_away_for_long_still_looks_twice(self) -> None:
        """The first look after a day of silence is one reading, and the second follows: it does not park instead."""
        decision = decide(PLACE, [DOUBT], [look(Sight.ABSENT, 86_000)], at(86_002))
        assert isinstance(decision, LookAt)

    def test_looks_that_cannot_be_read_back_off_even_after_one_that_could(self) -> None:
        looks = [look(Sight.ABSENT, HORIZON_S + 1)]
        looks += [look(Sight.UNREADABLE, HORIZON_S + 5 * i) for i in range(1, 6)]
        now = looks[-1].ended_at
        decision = decide(PLACE, [DOUBT], looks, now)
        assert isinstance(decision, LookAt)
        assert decision.at - now >= timedelta(seconds=10)

    def test_orders_that_cannot_be_read_for_a_keys_life_park(self) -> None:
        looks = [look(Sight.UNREADABLE, HORIZON_S + 30 * i) for i in range(22)]
        decision = decide(PLACE, [DOUBT], looks, at(HORIZON_S + 30 * 22))
        assert decision == Park("the orders cannot be read", in_doubt=True)


KNOWN_WRITES = [Known.REFUSED, Known.IN_DOUBT, Known.NOT_SENT, Known.OPEN, Known.CLEARED, Known.CONFIRMED]


@st.composite
def stories(draw: st.DrawFn) -> tuple[Rules, list[Attempt], list[Look], datetime]:
    """Rules and a past: attempts and looks in the order in which they began, all before now."""
    rules = draw(st.sampled_from(list(ALL.values())))
    rules = replace(rules, not_after=draw(st.sampled_from([None, at(1), at(200), at(900)])))
    now_s, attempts, looks = 0.0, [], []
    for known in draw(st.lists(st.sampled_from(KNOWN_WRITES), max_size=5)):
        attempts.append(attempt(len(attempts) + 1, known, now_s))
        now_s += draw(st.floats(1, 300))
    if rules.can_look and attempts:
        for sight in draw(st.lists(st.sampled_from(list(Sight)), max_size=4)):
            looks.append(look(sight, now_s))
            now_s += draw(st.floats(1, 300))
    return rules, attempts, looks, at(now_s)


def doubts_of(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [a for a in attempts if a.known in (Known.IN_DOUBT, Known.OPEN)]


@given(stories())
def test_no_decision_breaks_a_promise(story: tuple[Rules, list[Attempt], list[Look], datetime]) -> None:
    rules, attempts, looks, now = story
    decision, doubts = decide(rules, attempts, looks, now), doubts_of(attempts)
    horizon = max((a.horizon_at for a in doubts), default=None)
    match decision:
        case Wait():
            assert decision.until > now
        case Send() if doubts:
            assert rules.keyed_by in (Keying.REQUEST_ID, Keying.TARGET)
            life_end = max(doubts[0].opened_at + rules.key_life, doubts[0].horizon_at)
            assert decision.no_later_than is not None
            assert decision.no_later_than <= life_end
            assert now < decision.no_later_than
            assert rules.not_after is None or decision.no_later_than <= rules.not_after
            if rules.keyed_by is Keying.REQUEST_ID:
                assert decision.no_later_than <= doubts[0].opened_at + rules.key_life
        case Park(in_doubt=True):
            assert horizon is not None
            assert now >= horizon
        case Reject() if doubts:
            reads = [one for one in looks if horizon is not None and one.started_at >= horizon]
            absent_twice = sum(one.sight is Sight.ABSENT for one in reads) >= 2
            assert (rules.keyed_by is Keying.TAG and absent_twice) or rules.ended_rejects
        case Succeed():
            confirmed = any(a.known is Known.CONFIRMED for a in attempts)
            assert confirmed or any(one.sight is Sight.SEEN for one in looks)
        case _:
            pass


@given(
    stories(),
    st.lists(st.sampled_from([Known.REFUSED, Known.IN_DOUBT, Known.NOT_SENT]), min_size=1, max_size=4),
    st.lists(st.sampled_from([Sight.ABSENT, Sight.ENDED, Sight.UNREADABLE]), min_size=1, max_size=4),
)
@settings(max_examples=50)
def test_every_story_goes_on_until_it_ends(
    story: tuple[Rules, list[Attempt], list[Look], datetime], answers: list[Known], sights: list[Sight]
) -> None:
    """Do what is decided, at its hour, with unhelpful answers in turn: it ends within a day and some, and never spins."""
    rules, attempts, looks, now = story
    for step in range(500):
        decision = decide(rules, attempts, looks, now)
        match decision:
            case Succeed() | Reject() | Park():
                return
            case Wait():
                assert decision.until > now
                now = decision.until
            case Send():
                now = max(now, decision.at)
                if doubts_of(attempts) and (decision.no_later_than or now) < now:
                    continue  # asked again at that hour
                opened_s = (now - T0).total_seconds()
                attempts = [
                    *attempts,
                    attempt(attempts[-1].number + 1 if attempts else 1, answers[step % len(answers)], opened_s),
                ]
                now = at(opened_s + (1 if doubts_of(attempts) else 3600))
            case LookAt():
                now = max(now, decision.at)
                looks = [*looks, look(sights[step % len(sights)], (now - T0).total_seconds())]
                now += timedelta(seconds=1)
    raise AssertionError(f"no end after 500 steps: {_shown(decision)}")


def _shown(decision: Decision) -> str:
    return f"{type(decision).__name__} {decision}"
