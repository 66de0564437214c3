"""A worker that prunes by itself, where the settings say how often; else nothing of this runs."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker.errors import PartUnavailableError, RefusedByGuardError
from worker.operate.prune import Asked, ages_of, last_pruned_s, prune
from worker.settings import Settings

AGAIN_S = 60.0
REASON = "LEDGER_PRUNE_EVERY_H"


class Prunes:
    """Prunes every so many hours, one worker of the fleet at a time; it says nothing of readiness, for work goes on without."""

    def __init__(self, engine: AsyncEngine, settings: Settings, every_h: float, log: FilteringBoundLogger) -> None:
        self._engine, self._settings, self._every_s, self._log = engine, settings, every_h * 3600, log

    async def run(self, stopping: asyncio.Event) -> None:
        """Prune, wait, and again, until `stopping`; the step in hand ends first."""
        while not stopping.is_set():
            try:
                wait_s = await self._once(stopping)
            except PartUnavailableError as error:
                self._log.warning("prune.unavailable", why=str(error))
                wait_s = AGAIN_S
            try:
                async with asyncio.timeout(wait_s):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def _once(self, stopping: asyncio.Event) -> float:
        """Prune, unless that was done lately; returns the seconds until the next time."""
        ago_s = await last_pruned_s(self._engine)
        if ago_s is not None and ago_s < self._every_s:
            return self._every_s - ago_s
        settings = self._settings
        asked = Asked(ages_of(settings), settings.prune_rate_per_s, settings.actor, REASON)
        try:
            rows = await prune(self._engine, asked, lambda _done, _total: None, stopping.is_set)
        except RefusedByGuardError:
            return AGAIN_S  # another prunes
        self._log.info("prune.ended", counts={row["what"]: row["count"] for row in rows})
        return self._every_s
