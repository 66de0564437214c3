"""Shows in readiness and metrics what people, or too many doubts, have stopped; the same in every worker."""

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.ledger.brakes import ALL
from worker.observe.declarations import show
from worker.observe.health import Readiness
from worker.observe.metrics import Metrics
from worker.store.brakes import Kept, count_holds, read_pauses
from worker.store.engine import transaction
from worker.store.limits import forget_days

EVERY_S = 1.0
FORGET_EVERY_S = 3600.0
TOTALS_KEPT_DAYS = 7


class Stopped:
    """Reads once a second; what stops a call is read by the claim itself."""

    def __init__(self, engine: AsyncEngine, readiness: Readiness, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._engine, self._readiness, self._metrics, self._log = engine, readiness, metrics, log
        self._shown: list[Kept] = []
        self._forgot_s = clock.boot_s()

    async def read(self) -> float:
        """Read once; returns the seconds until the next reading."""
        async with transaction(self._engine) as connection:
            pauses, holds = await read_pauses(connection), await count_holds(connection)
            if clock.boot_s() - self._forgot_s > FORGET_EVERY_S:
                await forget_days(connection, TOTALS_KEPT_DAYS)
                self._forgot_s = clock.boot_s()
        self._metrics.accounts_held.set(holds)
        if pauses != self._shown:
            self._show(pauses)
        return EVERY_S

    def _show(self, pauses: list[Kept]) -> None:
        show(self._metrics.paused, {("all" if one.kind == ALL else one.subject,): 1.0 for one in pauses})
        if pauses:
            told = "; ".join(f"{one.brake().mark()}{one.reason} (by {one.set_by})" for one in pauses)
            self._readiness.set("paused", f"{told}; until `ledger-worker resume`")
        else:
            self._readiness.clear("paused")
        self._log.info("run.paused" if pauses else "run.resumed", paused=[one.brake().name() for one in pauses])
        self._shown = pauses
