"""Hypothesis tells a command's and a timer's decisions facts at random, beside a model of a few lines."""

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from worker.ledger.decide import (
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
from worker.ledger.expiry import End, decide_expiry
from worker.ledger.verdicts import Keying

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LATE, KEY_LIFE, GRACE = timedelta(seconds=20), timedelta(seconds=60), timedelta(seconds=20)
ANSWERS = st.sampled_from((Known.CONFIRMED, Known.REFUSED, Known.IN_DOUBT, Known.NOT_SENT))


class Doubts(RuleBasedStateMachine):
    """One command: a call or a look is made only when the decision says so, and is answered in any way.

    The model knows only what was answered: whether any call was confirmed, was seen, or may have been applied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGAN
        self.attempts: list[Attempt] = []
        self.looks: list[Look] = []

    @initialize(keyed_by=st.sampled_from(Keying), can_look=st.booleans(), late_s=st.none() | st.integers(1, 90))
    def begin(self, keyed_by: Keying, *, can_look: bool, late_s: int | None) -> None:
        not_after = None if late_s is None else BEGAN + timedelta(seconds=late_s)
        looks = keyed_by is Keying.TAG or (keyed_by is Keying.TARGET and can_look)
        self.rules = Rules(keyed_by, looks, False, KEY_LIFE, not_after)

    def decision(self) -> Decision:
        return decide(self.rules, self.attempts, self.looks, self.now)

    @rule(by_s=st.sampled_from((0.5, 1.1, 5.0, 20.0, 61.0)))
    def pass_time(self, by_s: float) -> None:
        self.now += timedelta(seconds=by_s)

    @precondition(lambda self: isinstance(found := self.decision(), Send) and found.at <= self.now)
    @rule(known=ANSWERS, call_s=st.sampled_from((0.1, 9.0)))
    def send(self, known: Known, call_s: float) -> None:
        found = self.decision()
        assert isinstance(found, Send)
        doubts = self.doubts()
        if doubts:
            assert self.rules.keyed_by in (Keying.REQUEST_ID, Keying.TARGET)
            assert self.rules.not_after is None or self.now < self.rules.not_after
            if self.rules.keyed_by is Keying.REQUEST_ID:
                assert self.now < doubts[0].opened_at + KEY_LIFE
        opened_at, self.now = self.now, self.now + timedelta(seconds=call_s)
        attempt = Attempt(len(self.attempts) + 1, known, opened_at, self.now, self.now + LATE, code="1")
        self.attempts.append(attempt)

    @precondition(lambda self: isinstance(found := self.decision(), LookAt) and found.at <= self.now)
    @rule(sight=st.sampled_from((Sight.SEEN, Sight.ABSENT, Sight.UNREADABLE)))
    def look(self, sight: Sight) -> None:
        assert self.rules.can_look
        self.looks.append(Look(sight, self.now, self.now))

    def doubts(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.known is Known.IN_DOUBT]

    @invariant()
    def the_decision_fits_what_is_known(self) -> None:
        if not hasattr(self, "rules"):
            return
        found, doubts = self.decision(), self.doubts()
        proven = any(a.known is Known.CONFIRMED for a in self.attempts) or any(
            look.sight is Sight.SEEN for look in self.looks
        )
        assert isinstance(found, Succeed) == proven
        if proven:
            return
        horizon = max((a.horizon_at for a in doubts), default=BEGAN)
        if isinstance(found, Reject) and doubts:
            absent = [look for look in self.looks if look.sight is Sight.ABSENT and look.started_at >= horizon]
            assert found.by_absence
            assert len(absent) >= 2
        if isinstance(found, Park) and doubts:
            assert found.in_doubt
            assert self.now >= horizon
        if isinstance(found, Wait):
            assert found.until > self.now


class Expiry(RuleBasedStateMachine):
    """One timer: it is asked for when the decision says so; the model knows what the brokerage answered, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.hour = BEGAN, BEGAN + timedelta(seconds=30)
        self.attempts: list[Attempt] = []
        self.command_doubted = False
        self.fired_at: datetime | None = None

    def decision(self) -> End | Send:
        return decide_expiry(
            self.attempts,
            self.hour,
            GRACE,
            self.now,
            command_doubted=self.command_doubted,
            fired_at=self.fired_at,
        )

    @precondition(lambda self: self.now < self.hour)
    @rule()
    def a_person_fires_it(self) -> None:
        self.fired_at = self.now

    @rule(by_s=st.sampled_from((0.5, 1.1, 15.0, 40.0)))
    def pass_time(self, by_s: float) -> None:
        self.now += timedelta(seconds=by_s)

    @rule()
    def a_temp_expire_is_in_doubt(self) -> None:
        self.command_doubted = True

    @precondition(lambda self: isinstance(found := self.decision(), Send) and found.at <= self.now)
    @rule(known=ANSWERS)
    def ask(self, known: Known) -> None:
        assert self.now >= self.hour or self.fired_at is not None
        self.attempts.append(Attempt(len(self.attempts) + 1, known, self.now, self.now, self.now + LATE, code="FAILED"))
        found = self.decision()
        if isinstance(found, Send) and found.at >= self.hour:
            self.fired_at = None  # the timer goes back to its hour
        self.now += timedelta(seconds=0.001)

    @invariant()
    def who_ended_it_is_stated_only_where_it_is_known(self) -> None:
        found = self.decision()
        if not isinstance(found, End):
            assert not self.attempts or found.at > self.attempts[-1].opened_at
            assert found.at >= self.hour or self.fired_at is not None
            return
        confirmed = any(a.known is Known.CONFIRMED for a in self.attempts)
        doubted = self.command_doubted or any(a.known is Known.IN_DOUBT for a in self.attempts)
        failed = [a for a in self.attempts if a.known is Known.REFUSED and a.opened_at >= self.hour]
        early = any(a.known is Known.CONFIRMED and a.opened_at < self.hour for a in self.attempts)
        assert (found.ended_by in ("timer", "command")) == confirmed
        assert (found.ended_by == "command") == early
        if not confirmed:
            assert len(failed) >= 2
            assert failed[-1].opened_at >= self.hour + GRACE
            assert found.ended_by == ("unknown" if doubted else "brokerage")


DoubtsTest = Doubts.TestCase
ExpiryTest = Expiry.TestCase
for machine in (DoubtsTest, ExpiryTest):
    machine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
