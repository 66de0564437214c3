"""A rate that a person chose: so many a second, and no more."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TypeVar

from worker.clock import boot_s

One = TypeVar("One")


class Pace:
    """Holds a loop to a rate, counted from when it was made; without a rate it never waits."""

    def __init__(self, per_s: float | None) -> None:
        self._per_s, self._began_s, self._done = per_s, boot_s(), 0

    def parts(self, many: Sequence[One]) -> Iterator[Sequence[One]]:
        """Give parts that take about a second at most, one at a time."""
        size = len(many) if self._per_s is None else max(1, int(self._per_s))
        for at in range(0, len(many), size or 1):
            yield many[at : at + size]

    async def after(self, count: int) -> None:
        """Wait until so many more may have been done."""
        self._done += count
        if self._per_s is not None:
            await asyncio.sleep(max(0.0, self._began_s + self._done / self._per_s - boot_s()))
