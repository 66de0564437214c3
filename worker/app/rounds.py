"""The engines that go round: timers, relay, gauges. Each round is one step; a part that is away is waited for."""

import asyncio
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.errors import PartUnavailableError
from worker.observe.health import Liveness, Readiness

AWAY_FIRST_S = 0.2
AWAY_MAX_S = 5.0

Step = Callable[[], Awaitable[float]]
"""Does one round and returns how many seconds may pass before the next; 0 means that there may be more at once."""


class Rounds:
    """Runs one step again and again until it is stopped."""

    def __init__(
        self, name: str, step: Step, readiness: Readiness, liveness: Liveness, log: FilteringBoundLogger
    ) -> None:
        self._name, self._step = name, step
        self._readiness, self._liveness, self._log = readiness, liveness, log
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Let the next round begin now."""
        self._woken.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Go round until `stopping`; the round in hand ends first."""
        away_s = AWAY_FIRST_S
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(self._wake_on(stopping))
            while not stopping.is_set():
                self._liveness.beat(self._name)
                self._woken.clear()
                try:
                    wait_s = await self._step()
                except PartUnavailableError as error:
                    self._readiness.set(self._name, str(error))
                    self._log.warning("engine.unavailable", engine=self._name, why=str(error))
                    wait_s, away_s = away_s * clock.jitter(0.5, 1.0), min(AWAY_MAX_S, away_s * 2)
                else:
                    self._readiness.clear(self._name)
                    away_s = AWAY_FIRST_S
                if wait_s > 0:
                    await self._wait(wait_s)
            waiting.cancel()

    async def _wake_on(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._woken.set()

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            return
