"""How long to wait before trying again: doubling, capped, spread; the count is stored, so a restart forgets nothing."""

NEW_SECOND_S = 1.1
"""A call is signed in a later second than the one before it: two equal requests in one second have one signature."""
RETRY_FIRST_S = NEW_SECOND_S
RESEND_FIRST_S = NEW_SECOND_S
RETRY_MAX_S = 30.0


def retry_after_s(count: int) -> float:
    """Seconds until a call that was not sent goes out again; `count` is how often it was not sent, from 1.

    "Not sent" includes what the brokerage turned away at its door: it may remember that signature.
    """
    return float(min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(count - 1, 10)))


def resend_after_s(count: int) -> float:
    """Seconds until a doubt is looked into or resent again; `count` is how often that was done, from 1."""
    return float(min(RETRY_MAX_S, RESEND_FIRST_S * 2.0 ** min(count - 1, 10)))
