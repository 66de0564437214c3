"""What the attempts of a timer's own expiry amount to.

A timer keeps trying until the adjustment has ended: the call can be repeated without harm. FAILED says only that the
brokerage will not end it now; its own sweep may have done so, or be about to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.outcomes import Basis, EndedBy
from worker.ledger.backoff import resend_after, retry_after
from worker.ledger.decide import DOUBTED, Attempt, Known, Send

FAILED_MIN = 2
FAILED_RETRY_FIRST_S = 15.0


@dataclass(frozen=True, slots=True)
class End:
    """The temporary adjustment is over; `ended_by` is `timer`, `brokerage`, `unknown`, or `command` before its hour."""

    ended_by: EndedBy
    basis: Basis


def decide_expiry(
    attempts: Sequence[Attempt],
    hour: datetime,
    grace: timedelta,
    now: datetime,
    *,
    command_doubted: bool = False,
    fired_at: datetime | None = None,
) -> End | Send:
    """Say whether the adjustment has ended, and if not when to ask again.

    `hour` is when it lapses, `grace` how long after it the brokerage's own sweep may take. Ended by `brokerage` needs
    two FAILED, the last of an attempt begun after hour + grace, and no call of ours in doubt; with one it is `unknown`.
    `command_doubted` says that a temp.expire of this adjustment is in doubt: it may be what ended it.
    `fired_at` is when a person asked to end it: without that nothing is asked before the hour, and no wait is cut short.
    """
    attempts = [a for a in attempts if a.known is not Known.CLEARED]
    for attempt in attempts:
        if attempt.known is Known.CONFIRMED:
            return End("command", "person") if attempt.opened_at < hour else End("timer", "answer")
    if not any(a.opened_at >= hour for a in attempts):
        return _before_its_hour(attempts, hour, now, fired_at)
    swept_at = hour + grace
    refused = [a for a in attempts if a.known is Known.REFUSED and a.opened_at >= hour]
    doubted = command_doubted or any(a.known in DOUBTED for a in attempts)
    if len(refused) >= FAILED_MIN and refused[-1].opened_at >= swept_at:
        told = not doubted and all(a.code == "FAILED" for a in refused)
        return End("brokerage" if told else "unknown", "inferred")
    last = attempts[-1]
    if fired_at is not None and last.opened_at < fired_at:
        return Send(now, "a person asked for it")
    since = last.reported_at or last.horizon_at
    if last.known is Known.REFUSED:
        if now >= swept_at:
            return Send(since + resend_after(1, since), "refused: asked once more")
        wait_s = FAILED_RETRY_FIRST_S * 2.0 ** min(len(refused) - 1, 10)
        return Send(min(since + timedelta(seconds=wait_s), swept_at), "refused before the brokerage's sweep was due")
    return _again(attempts)


def _before_its_hour(attempts: Sequence[Attempt], hour: datetime, now: datetime, fired_at: datetime | None) -> Send:
    """Say when to ask where nothing was asked since the hour: at it, or now where a person wants that.

    FAILED sends it back to its hour; a call in doubt is asked again as at any time.
    """
    if fired_at is None:
        return Send(hour, "due")
    if not attempts or attempts[-1].opened_at < fired_at:
        return Send(min(now, hour), "a person asked for it before its hour")
    return Send(hour, "refused before its hour") if attempts[-1].known is Known.REFUSED else _again(attempts)


def _again(attempts: Sequence[Attempt]) -> Send:
    """Say when to ask again where the last call was not sent, or is in doubt."""
    last = attempts[-1]
    since = last.reported_at or last.horizon_at
    if last.known is Known.NOT_SENT:
        unsent = sum(1 for a in attempts if a.known is Known.NOT_SENT)
        at = since + retry_after(unsent, since)
        return Send(max(at, last.retry_at or at), f"not sent: {last.message}")
    return Send(since + resend_after(len(attempts), since), "in doubt: asked again")
