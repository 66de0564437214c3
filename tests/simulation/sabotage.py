"""Decisions made wrong on purpose: each is a way in which the worker could be wrong, and the runs must find it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

from tests.simulation import database
from worker.ledger import decide as rules
from worker.ledger.decide import Attempt, Decision, Known, Look, Park, Rules, Send, Sight, Succeed, Wait
from worker.ledger.expiry import End, decide_expiry
from worker.ledger.lanes import Rest, rest
from worker.ledger.verdicts import Keying
from worker.pipeline.claim import Claim
from worker.store.rows import CommandRow, LaneRow
from worker.timers import due

Patch = tuple[str, Any]
real_decide, real_rest, real_silence, real_copied = rules.decide, rest, database.silence_attempts, database.copied


def unkeyed_sent_again(given: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime) -> Decision:
    """What takes no key is sent again when it is in doubt."""
    if given.keyed_by is Keying.NOTHING:
        given = replace(given, keyed_by=Keying.REQUEST_ID)
    return real_decide(given, attempts, looks, now)


def absence_trusted_early(given: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime) -> Decision:
    """Two looks that show nothing are believed before the horizon."""
    early = [replace(a, horizon_at=a.opened_at) for a in attempts]
    return real_decide(given, early if given.keyed_by is Keying.TAG else attempts, looks, now)


def refusal_clears_the_doubt(
    given: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime
) -> Decision:
    """A refusal of the resend is read as the verdict on the command."""
    refused = any(a.known is Known.REFUSED for a in attempts)
    cleared = [replace(a, known=Known.NOT_SENT) if a.known is Known.IN_DOUBT else a for a in attempts]
    return real_decide(given, cleared if refused else attempts, looks, now)


def doubt_read_as_unsent(given: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime) -> Decision:
    """A timeout is read as a call that never left."""
    unsent = [replace(a, known=Known.NOT_SENT) if a.known is Known.IN_DOUBT else a for a in attempts]
    return real_decide(given, unsent, looks, now)


def key_trusted_for_ever(given: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime) -> Decision:
    """A request_id is trusted beyond the brokerage's memory."""
    return real_decide(replace(given, key_life=given.key_life * 20), attempts, looks, now)


def parked_without_waiting(given: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime) -> Decision:
    """What cannot be known parks at once, and the lane goes on before the horizon."""
    decision = real_decide(given, attempts, looks, now)
    return Park(decision.reason, in_doubt=True) if isinstance(decision, Wait) else decision


def absence_confirms(given: Rules, attempts: Sequence[Attempt], looks: Sequence[Look], now: datetime) -> Decision:
    """A look that shows nothing is read as one that shows the order."""
    if any(look.sight is Sight.ABSENT for look in looks):
        return Succeed(attempts[-1].numbers, "inferred", "seen")
    return real_decide(given, attempts, looks, now)


def hold_forgotten(*, hold_until: datetime | None, **given: Any) -> Rest:
    """What a lane waits for is forgotten when its turn ends, and the command behind goes out."""
    return real_rest(hold_until=None, **given)


def before_its_hour(
    attempts: Sequence[Attempt], hour: datetime, grace: timedelta, now: datetime, **given: Any
) -> End | Send:
    """The worker's clock is ahead, and decides."""
    found = decide_expiry(attempts, hour, grace, now, **given)
    return replace(found, at=now) if isinstance(found, Send) and not attempts else found


async def due_early(db: database.Database, kind: str, limit: int) -> list[Any]:
    """Timers are read as due by a clock that is a minute ahead, and made due by it."""
    found = []
    for timer in db.timers.values():
        if timer.kind == "expire" and timer.state == "armed" and timer.wake_at <= db.now + timedelta(minutes=1):
            db.timers[timer.command_id] = timer._replace(wake_at=db.now)
            found.append(due.read_due)
    return await database.read_due(db, kind, limit) if found else []


async def silence_is_refusal(db: database.Database, *given: Any) -> list[Any]:
    """What an owner that fell silent had sent is taken for not sent."""
    found = await real_silence(db, *given)
    for _, _, command_id in found:
        db.attempts[command_id] = tuple(
            one._replace(known="not_sent") if one.known == "in_doubt" else one for one in db.attempts[command_id]
        )
    return found


real_turn = Claim._turn


def without_a_fence(claim: Claim, batch: Any, head: Any, *given: Any) -> Any:
    """The fence does not grow: whoever finishes moves the lane, whether it is still his or not."""
    head.lane.fence = 0
    return real_turn(claim, batch, head, *given)


def last_before_first(db: database.Database, account_no: str, head: int) -> CommandRow | None:
    """The youngest command of a lane goes first."""
    waiting = [
        c
        for c in db.commands.values()
        if c.account_no == account_no and c.position >= head and c.state in database.WAITING
    ]
    return max(waiting, key=lambda c: c.position, default=None)


def sequence_in_memory(lane: LaneRow) -> int:
    """The account's numbers are counted somewhere else, too."""
    lane.account_seq += 1 + (lane.account_seq == 1)
    return lane.account_seq


DECIDE: dict[str, Callable[..., Decision]] = {
    "a call that takes no key is sent again": unkeyed_sent_again,
    "absence is trusted before the horizon": absence_trusted_early,
    "a refusal of the resend clears the doubt": refusal_clears_the_doubt,
    "a timeout is read as not sent": doubt_read_as_unsent,
    "a key is trusted beyond its life": key_trusted_for_ever,
    "what waits for its horizon parks at once": parked_without_waiting,
    "a look that shows nothing confirms": absence_confirms,
}
SABOTAGES: dict[str, list[Patch]] = {
    **{name: [("worker.pipeline.turn.decide", function)] for name, function in DECIDE.items()},
    "the hold is forgotten": [("worker.store.rest.rest", hold_forgotten)],
    "a lane is finished without a fence": [("worker.pipeline.claim.Claim._turn", without_a_fence)],
    "an expiry goes out before its hour": [
        ("worker.pipeline.claim.decide_expiry", before_its_hour),
        ("worker.timers.due.read_due", due_early),
    ],
    "what a silent owner sent was not sent": [("worker.timers.reclaim.silence_attempts", silence_is_refusal)],
    "the youngest command goes first": [("tests.simulation.lookups.first_waiting", last_before_first)],
    "account_seq leaves a number out": [("worker.store.rows.LaneRow.next_seq", sequence_in_memory)],
}


@contextmanager
def sabotaged(name: str) -> Iterator[None]:
    """Make one decision wrong, inside `doors.twin`."""
    with ExitStack() as kept:
        for target, function in SABOTAGES[name]:
            kept.enter_context(mock.patch(target, function))
        yield
