"""Counts over Postgres for the gauges, read every few seconds; the same for every worker."""

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.observe.metrics import Metrics
from worker.store.counts import read_counts
from worker.store.engine import transaction

EVERY_S = 5.0
LANE_STATES = ("idle", "ready", "leased", "held")


class Gauges:
    """Sets the gauges."""

    def __init__(self, engine: AsyncEngine, metrics: Metrics) -> None:
        self._engine, self._metrics = engine, metrics

    async def read(self) -> float:
        """Read all counts once; returns the seconds until the next reading."""
        async with transaction(self._engine) as connection:
            counts = await read_counts(connection)
        metrics = self._metrics
        for state in LANE_STATES:
            metrics.lanes.labels(state=state).set(counts.lanes.get(state, 0))
        metrics.commands_in_doubt.clear()
        for operation, count in counts.in_doubt.items():
            metrics.commands_in_doubt.labels(operation=operation).set(count)
        metrics.commands_parked.clear()
        for operation, count in counts.parked.items():
            metrics.commands_parked.labels(operation=operation).set(count)
        metrics.timers_armed.set(counts.timers_armed)
        metrics.timers_overdue.set(counts.timers_overdue)
        metrics.outcomes_unpublished.set(counts.unpublished)
        metrics.oldest_unpublished_s.set(counts.oldest_unpublished_s)
        metrics.adjustments_without_timer.set(counts.adjustments_without_timer)
        return EVERY_S
