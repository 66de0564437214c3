"""Counts over Postgres for the gauges, read every few seconds; the same for every worker."""

from collections.abc import Iterable, Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from worker import clock
from worker.observe.declarations import show
from worker.observe.metrics import Metrics
from worker.store.condition import read_breaches
from worker.store.counts import read_counts
from worker.store.engine import transaction
from worker.whale.operations import REGISTRY

EVERY_S = 5.0
INVARIANTS_EVERY_S = 45.0
SHARE_MAX = 20
"""Where much is in doubt a reading takes long: the next comes so many times its own duration later."""
LATE_S = 60.0
LANE_STATES = ("idle", "ready", "leased", "held")
AGES = ("under_1m", "under_10m", "under_1h", "over_1h")


class Gauges:
    """Sets the gauges."""

    def __init__(self, engine: AsyncEngine, metrics: Metrics) -> None:
        self._engine, self._metrics = engine, metrics
        self.queued = 0  # commands that waited in lanes when last read

    async def read(self) -> float:
        """Read all counts once; returns the seconds until the next reading."""
        began_s = clock.boot_s()
        async with transaction(self._engine) as connection:
            counts = await read_counts(connection)
        metrics = self._metrics
        show(metrics.lanes, _with_zeros(counts.lanes, LANE_STATES))
        self.queued = counts.queued
        metrics.commands_queued.set(counts.queued)
        metrics.oldest_ready_lane_s.set(counts.oldest_ready_lane_s)
        show(metrics.commands_in_doubt, _with_zeros(counts.in_doubt, REGISTRY))
        show(metrics.doubts_by_age, _with_zeros(counts.doubts_by_age, AGES))
        show(metrics.doubts_amount, counts.doubts_amount)
        metrics.oldest_doubt_s.set(counts.oldest_doubt_s)
        show(metrics.commands_parked, _with_zeros(counts.parked, REGISTRY))
        metrics.timers_armed.set(counts.timers_armed)
        metrics.timers_overdue.set(counts.timers_overdue)
        metrics.most_overdue_s.set(counts.most_overdue_s)
        metrics.outcomes_unpublished.set(counts.unpublished)
        metrics.oldest_unpublished_s.set(counts.oldest_unpublished_s)
        metrics.outbox_set_aside.set(counts.set_aside)
        metrics.intake_stopped.set(counts.intake_stopped)
        metrics.adjustments_without_timer.set(counts.adjustments_without_timer)
        return self._pause(began_s, EVERY_S)

    async def read_invariants(self) -> float:
        """Count what must not be; it looks at every lane, so it comes seldom."""
        began_s = clock.boot_s()
        async with transaction(self._engine) as connection:
            breaches = await read_breaches(connection, LATE_S)
        show(self._metrics.breaches, {(name,): count for name, count in breaches.items()})
        return self._pause(began_s, INVARIANTS_EVERY_S)

    def _pause(self, began_s: float, every_s: float) -> float:
        took_s = clock.boot_s() - began_s
        self._metrics.counts_duration_s.set(took_s)
        return max(every_s, min(INVARIANTS_EVERY_S, SHARE_MAX * took_s))


def _with_zeros(counted: Mapping[tuple[str, ...], float], names: Iterable[str]) -> dict[tuple[str, ...], float]:
    """Show 0 where nothing is, so that a series is there before its first number is."""
    return {**{(name,): 0.0 for name in names}, **counted}
