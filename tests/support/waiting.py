"""Waiting for a condition with a deadline; the only place of the tests that sleeps."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

_LOOK_EVERY_S = 0.05


def wait_until(condition: Callable[[], Found], deadline_s: float = 30, message: str | Callable[[], str] = "") -> Found:
    """Return the condition's first true value; AssertionError with the message at the deadline."""
    give_up_at = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > give_up_at:
            raise AssertionError(_text(condition, deadline_s, message))
        time.sleep(_LOOK_EVERY_S)
    return found


async def wait_until_async(
    condition: Callable[[], Found | Awaitable[Found]],
    deadline_s: float = 30,
    message: str | Callable[[], str] = "",
    every_s: float = _LOOK_EVERY_S,
) -> Found:
    """As `wait_until`, for a plain or an async condition, which is asked so often."""
    give_up_at = time.monotonic() + deadline_s
    while True:
        seen = condition()
        found: Found = await seen if inspect.isawaitable(seen) else seen
        if found:
            return found
        if time.monotonic() > give_up_at:
            raise AssertionError(_text(condition, deadline_s, message))
        await asyncio.sleep(every_s)


def _text(condition: object, deadline_s: float, message: str | Callable[[], str]) -> str:
    said = message if isinstance(message, str) else message()
    return f"not within {deadline_s} s: {said or getattr(condition, '__name__', condition)}"
