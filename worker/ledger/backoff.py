"""How long to wait before trying again: doubling, capped, spread; the count is stored, so a restart forgets nothing."""

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
RESEND_FIRST_S = 1.1
"""A resend is signed in a later second than its first: two equal requests in one second have one signature."""


def retry_after_s(count: int, spread: float = 1.0) -> float:
    """Seconds until a call that was not sent goes out again; `count` is how often it was not sent, from 1."""
    return min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(count - 1, 10)) * spread


def resend_after_s(count: int) -> float:
    """Seconds until a doubt is looked into or resent again; `count` is how often that was done, from 1."""
    return float(min(RETRY_MAX_S, RESEND_FIRST_S * 2.0 ** min(count - 1, 10)))
