"""The only door to time, identity and chance. What judges deadlines of money is the database's clock, not this one."""

import random  # noqa: TID251
import time
import uuid
from datetime import UTC, datetime


def boot_s() -> float:
    """Seconds since boot, suspended time included: unaffected by a set clock, so fit for `send_before`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_s() -> float:
    """Unix seconds of this machine; only for signatures and log lines."""
    return time.time()  # noqa: TID251


def utc_now() -> datetime:
    """Return this machine's time in UTC; only for what people read."""
    return datetime.now(UTC)  # noqa: TID251


def new_id() -> uuid.UUID:
    """Return a fresh random id."""
    return uuid.uuid4()  # noqa: TID251


def jitter(low: float, high: float) -> float:
    """Return a number between the two, to keep retries of many from falling together."""
    return random.uniform(low, high)  # noqa: S311
