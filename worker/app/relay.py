"""The relay engine: what was recorded goes out at once while little is, and in groups where much is."""

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.app.rounds import Rounds, Step
from worker.errors import PartUnavailableError
from worker.pipeline.publish import SHARD_LEASE_S, Publish

PACE_S = 0.05
"""A round begins so often by itself: the timers, intake and other processes wake nobody here."""
PACE_MAX_S = 0.15
PACE_AT_1000_PER_S = 0.03
AVERAGED_S = 0.1
CLEAR_S = 2.0


class Relay:
    """Rounds of one relay. A round costs the same for one row as for many: their pace follows the rate of the rows."""

    def __init__(self, publish: Publish, rounds: Callable[[str, Step], Rounds], log: FilteringBoundLogger) -> None:
        self._publish, self._log = publish, log
        self._rounds = rounds("relay", self._step)
        self._held_s = self._began_s = 0.0
        self._per_s = 0.0
        self._waking: asyncio.TimerHandle | None = None

    @property
    def _pace_s(self) -> float:
        """How long after a round's begin the next may begin: 0.3 ms at 100 rows a second, 30 ms at 1,000."""
        return min(PACE_MAX_S, PACE_AT_1000_PER_S * (self._per_s / 1000) ** 2)

    def wake(self) -> None:
        """Say that outcomes were recorded."""
        if self._waking is None:
            wait_s = max(0.0, self._began_s + self._pace_s - clock.boot_s())
            self._waking = asyncio.get_running_loop().call_later(wait_s, self._begin)

    def _begin(self) -> None:
        self._waking = None
        self._rounds.wake()

    async def run(self, last_out: asyncio.Event) -> None:
        """Publish until all else has stopped and the outbox is empty, or the time to clear it is over."""
        await self._rounds.run(last_out)
        try:
            async with asyncio.timeout(CLEAR_S):
                while await self._publish.publish():
                    pass
                await self._publish.leave()
        except (TimeoutError, PartUnavailableError) as error:
            self._log.warning("publish.left_behind", why=str(error))
        await self._publish.close()

    async def _step(self) -> float:
        if clock.boot_s() - self._held_s > SHARD_LEASE_S / 4:
            await self._publish.hold()
            self._held_s = clock.boot_s()
        since_s, self._began_s = self._began_s, clock.boot_s()
        count = await self._publish.publish()
        passed_s = self._began_s - since_s
        self._per_s += (count / passed_s - self._per_s) * min(1.0, passed_s / AVERAGED_S)
        pace_s = max(PACE_S, self._pace_s)
        return 0.0 if self._publish.has_more else max(0.0, pace_s - (clock.boot_s() - self._began_s))
