"""The sandbox's only door to time and chance."""

import random  # noqa: TID251
import time
from datetime import UTC, datetime


def wall_s() -> float:
    """Return unix seconds of this machine."""
    return time.time()  # noqa: TID251


def text_of(at_s: float | None) -> str | None:
    """Show unix seconds as RFC 3339 in UTC with microseconds, None as None."""
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def day_of(at_s: float) -> str:
    """Return the UTC day of unix seconds as YYYYMMDD."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%d")


def spread(middle: float, width: float) -> float:
    """Return a number at most `width` from `middle` and never below zero."""
    if width == 0:
        return middle
    return max(0.0, random.uniform(middle - width, middle + width))  # noqa: S311
