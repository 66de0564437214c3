"""What several attempts and looks amount to: the one place that decides about a command, called with every new fact.

    queued ──claim──► sending ──Confirmed──► succeeded
      ▲                 │ ├────Refused, nothing in doubt──► rejected
      └────NotSent──────┘ └────InDoubt──► in_doubt ──Confirmed, Seen──► succeeded
                                            │  ▲                 (absence, after the horizon) ──► rejected
                                            ▼  │ resend, look
                                          parked ──a person, or a look that confirms──► succeeded or rejected

A refused or unsent later attempt clears no doubt about an earlier one; only that attempt's own answer does, or a
confirmation under the same key, a look, or a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schemas.codes import Origin, brokerage_code
from schemas.outcomes import Basis
from worker.ledger.backoff import RESEND_FIRST_S, resend_after, retry_after
from worker.ledger.verdicts import Keying, Numbers

NOT_SENT_PARKS_AFTER = timedelta(hours=24)
ABSENT_READS_MIN = 2
FIRST_CALL = "first call"
OWNER_SILENT = "owner_silent"
"""Rule of an attempt whose worker was not heard of until its lease ran out."""
SIGNATURE_ALONE = "signature_refused_alone"
"""Rule of a NotSent whose signature was refused while a signed read was not: waiting will not mend it."""
RECOVERED = "recovered"
"""Rule of a doubt that `recover` made: the database has forgotten whether, and before what else, the call went out."""


NO_NUMBERS = Numbers()


class Known(StrEnum):
    """What is known of one write attempt; an attempt whose owner fell silent is in doubt."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"
    NOT_SENT = "not_sent"
    CLEARED = "cleared"  # a person said that it was not applied
    REDRIVEN = "redriven"  # it was not sent, and a person put the parked command back into its lane afterwards


DOUBTED = (Known.IN_DOUBT, Known.OPEN)
"""May have been applied: nobody has its answer."""


class Sight(StrEnum):
    """What one look showed."""

    SEEN = "seen"
    ABSENT = "absent"
    ENDED = "ended"
    UNREADABLE = "unreadable"


@dataclass(slots=True)
class Attempt:
    """One write attempt, as far as the decision needs it; instants are the database's."""

    number: int
    known: Known
    opened_at: datetime
    reported_at: datetime | None
    horizon_at: datetime
    rule: str = ""
    code: str = ""
    message: str = ""
    numbers: Numbers = NO_NUMBERS
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the brokerage; `started_at` is when its first read began."""

    sight: Sight
    started_at: datetime
    ended_at: datetime
    note: str = ""
    numbers: Numbers = NO_NUMBERS


@dataclass(slots=True)
class Rules:
    """What the operation and the settings say about this command's doubts."""

    keyed_by: Keying
    can_look: bool
    ended_rejects: bool
    key_life: timedelta
    not_after: datetime | None
    repeat_is_harmless: bool = True


@dataclass(frozen=True, slots=True)
class Succeed:
    """It was applied."""

    numbers: Numbers
    basis: Basis
    rule: str


@dataclass(frozen=True, slots=True)
class Reject:
    """It was not applied and will not be."""

    code: str
    message: str
    origin: Origin
    field: str | None = None
    by_absence: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """A write attempt may go out at `at`: the first, one that was not sent, or a resend under the same key."""

    at: datetime
    reason: str
    no_later_than: datetime | None = None


@dataclass(frozen=True, slots=True)
class LookAt:
    """A look may begin at `at`."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing may go out before `until`, when this is asked again."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Park:
    """No machine can decide it; a person must."""

    reason: str
    in_doubt: bool


Decision = Succeed | Reject | Send | LookAt | Wait | Park


def decide(rules: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime) -> Decision:
    """Say what follows from all that is known of a command that is not finished.

    `attempts` and `looks` are in the order in which they began. No attempt may be open under a living lease.
    Whether a first call is still allowed (`not_after`, references, limits) is the claim's to judge, not this one's.
    """
    if not attempts and not looks:
        return Send(now, FIRST_CALL)
    for attempt in attempts:
        if attempt.known is Known.CONFIRMED:
            return Succeed(attempt.numbers, "answer", attempt.rule)
    for look in looks:
        if look.sight is Sight.SEEN:
            return Succeed(look.numbers, "inferred", look.note)
    attempts = _since_cleared(attempts)
    doubts = [a for a in attempts if a.known in DOUBTED]
    if not doubts:
        return _without_doubt(attempts, now)
    horizon = max(a.horizon_at for a in doubts)
    match rules.keyed_by:
        case Keying.REQUEST_ID:
            return _resend_or_park(rules, attempts, doubts, horizon, now, doubts[0].opened_at + rules.key_life)
        case Keying.TARGET if rules.can_look:
            return _look_then_resend(rules, attempts, doubts, looks, horizon, now)
        case Keying.TARGET:
            return _resend_or_park(rules, attempts, doubts, horizon, now, doubts[0].horizon_at)
        case Keying.TAG:
            return _look_for_tag(rules, attempts, looks, horizon, now)
        case Keying.NOTHING:
            return _wait_or_park(horizon, now, "the operation takes no key and cannot be looked up")


def _since_cleared(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Leave out what a person's resend or redrive has put behind it, but never a doubt."""
    cleared = max((a.number for a in attempts if a.known in (Known.CLEARED, Known.REDRIVEN)), default=0)
    return [a for a in attempts if a.number > cleared or a.known in DOUBTED]


def _without_doubt(attempts: Sequence[Attempt], now: datetime) -> Decision:
    refused = [a for a in attempts if a.known is Known.REFUSED]
    if refused:
        return Reject(brokerage_code(refused[-1].code), refused[-1].message, "brokerage")
    unsent = [a for a in attempts if a.known is Known.NOT_SENT]
    if not unsent:
        return Send(now, FIRST_CALL)
    last = unsent[-1]
    if last.rule == SIGNATURE_ALONE:
        return Park("the brokerage refuses the signature of this command alone", in_doubt=False)
    if now - unsent[0].opened_at >= NOT_SENT_PARKS_AFTER:
        return Park(f"not sent for 24 hours: {last.message}", in_doubt=False)
    since = last.reported_at or last.opened_at
    at = max(since + retry_after(len(unsent), since), last.retry_at or since)
    return Send(at, f"not sent: {last.message}")


def _resend_or_park(
    rules: Rules,
    attempts: Sequence[Attempt],
    doubts: Sequence[Attempt],
    horizon: datetime,
    now: datetime,
    end: datetime,
) -> Decision:
    """Resend the same bytes until `end`; where a target refused a resend, it has nothing more to say."""
    last = end if rules.not_after is None else min(end, rules.not_after)
    if rules.keyed_by is Keying.TARGET and any(a.known is Known.REFUSED for a in attempts):
        return _wait_or_park(horizon, now, "the target refuses now, which does not tell why")
    if rules.not_after is not None and now >= rules.not_after:
        return _wait_or_park(horizon, now, "not_after has passed, so it is not sent again")
    at = _next_try(attempts, [], doubts)
    if max(now, at) < end:
        return Send(at, "in doubt: sent again under the same key", no_later_than=last)
    return _wait_or_park(max(horizon, end), now, "the brokerage's memory of the key has run out")


def _look_then_resend(
    rules: Rules,
    attempts: Sequence[Attempt],
    doubts: Sequence[Attempt],
    looks: Sequence[Look],
    horizon: datetime,
    now: datetime,
) -> Decision:
    last_write = attempts[-1].reported_at or attempts[-1].horizon_at
    fresh = [look for look in looks if look.started_at >= last_write and look.sight is not Sight.UNREADABLE]
    end = max(doubts[0].horizon_at, doubts[0].opened_at + rules.key_life)
    if fresh and fresh[-1].sight is Sight.ENDED and rules.ended_rejects:
        return Reject("ORDER_ENDED", fresh[-1].note, "brokerage")
    # with a doubt that was recovered, calls after this one may have been made: a resend would undo what they did
    undoes = not rules.repeat_is_harmless and any(a.rule == RECOVERED for a in attempts)
    final = undoes or any(a.known is Known.REFUSED for a in attempts)
    too_late = rules.not_after is not None and now >= rules.not_after
    if fresh and fresh[-1].sight is Sight.ABSENT and not final and not too_late and now < end:
        last = end if rules.not_after is None else min(end, rules.not_after)
        return Send(_next_try(attempts, [], doubts), "the order does not show it: sent again", no_later_than=last)
    hopeless = final or too_late or bool(fresh and fresh[-1].sight is Sight.ENDED)
    at = _next_try(attempts, looks, doubts)
    last_look_at = looks[-1].started_at if looks else None
    if now < (horizon if hopeless else end) or last_look_at is None or last_look_at < horizon:
        return LookAt(at, "in doubt: the order is looked at")
    return _wait_or_park(horizon, now, "the order does not tell whether it was applied")


def _look_for_tag(
    rules: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], horizon: datetime, now: datetime
) -> Decision:
    absent = [look for look in looks if look.sight is Sight.ABSENT and look.started_at >= horizon]
    if len(absent) >= ABSENT_READS_MIN:
        return Reject(
            "NOT_APPLIED", "two full readings of the orders after the horizon do not show it", "policy", by_absence=True
        )
    since_horizon = [look for look in looks if look.started_at >= horizon]
    unread = bool(since_horizon) and since_horizon[-1].sight is not Sight.ABSENT
    if unread and now - since_horizon[0].started_at >= rules.key_life:
        return Park("the orders cannot be read", in_doubt=True)
    if absent and not unread:
        return LookAt(absent[-1].ended_at + timedelta(seconds=RESEND_FIRST_S), "in doubt: second reading of the orders")
    at = _next_try(attempts, looks, attempts)
    if now < horizon < at:
        at = horizon
    return LookAt(at, "in doubt: looked for by its tag")


def _next_try(attempts: Sequence[Attempt], looks: Sequence[Look], since: Sequence[Attempt]) -> datetime:
    """When the next step into a doubt may come: it doubles with what was tried since the doubt began."""
    tried = sum(1 for a in attempts if a.number >= since[0].number) + len(looks)
    latest = attempts[-1]
    # no call is signed as late as the lease's end: nothing is gained by waiting from there on
    last = latest.opened_at if latest.rule == OWNER_SILENT else latest.reported_at or latest.opened_at
    if looks:
        last = max(last, looks[-1].ended_at)
    at = last + resend_after(tried, last)
    return max(at, latest.retry_at or at)


def _wait_or_park(until: datetime, now: datetime, why: str) -> Decision:
    return Wait(until, why) if now < until else Park(why, in_doubt=True)
