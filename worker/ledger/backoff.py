"""How long to wait before trying again: doubling, capped, spread; the count is stored, so a restart forgets nothing.

What failed together must not come back together. Each wait is up to half as long again, by the last three digits of the
instant from which it is counted, in microseconds: as good as chance, and the same however often it is worked out.
"""

from datetime import datetime, timedelta

NEW_SECOND_S = 1.1
"""A call is signed in a later second than the one before it: two equal requests in one second have one signature."""
RETRY_FIRST_S = NEW_SECOND_S
RESEND_FIRST_S = NEW_SECOND_S
RETRY_MAX_S = 30.0
SPREAD = 1.5


def retry_after(count: int, since: datetime) -> timedelta:
    """How long after `since` a call that was not sent goes out again; `count` is how often it was not sent, from 1.

    "Not sent" includes what the brokerage turned away at its door: it may remember that signature.
    """
    return _doubled(RETRY_FIRST_S, count, since)


def resend_after(count: int, since: datetime) -> timedelta:
    """How long after `since` a doubt is looked into or resent again; `count` is how often that was done, from 1."""
    return _doubled(RESEND_FIRST_S, count, since)


def _doubled(first_s: float, count: int, since: datetime) -> timedelta:
    waited_s = min(RETRY_MAX_S / SPREAD, first_s * 2.0 ** min(count - 1, 10))
    return timedelta(seconds=waited_s * (1 + (SPREAD - 1) * (since.microsecond % 1000) / 1000))
