"""Every metric, declared once, with its unit in its name and its meaning beside it.

Counters and the histogram are moved by the stage that sees the fact; the gauges over Postgres are set by whoever reads
the counts there, so that several workers show the same number.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
CALL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
FLUSH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        self.records_read = Counter(
            "ledger_records_read", "Records accepted into Postgres", ["topic"], registry=registry
        )
        self.commands_refused = Counter(
            "ledger_commands_refused", "Commands refused by validation", ["code"], registry=registry
        )
        self.dead_letters = Counter("ledger_dead_letters", "Dead letters recorded", ["reason"], registry=registry)
        self.commands_finished = Counter(
            "ledger_commands_finished", "Outcomes recorded", ["command_type", "outcome"], registry=registry
        )
        self.outcomes_published = Counter(
            "ledger_outcomes_published", "Rows of the outbox that Kafka acknowledged", ["topic"], registry=registry
        )
        self.call_duration_s = Histogram(
            "ledger_call_duration_seconds",
            "Time of one call to the brokerage",
            ["operation", "verdict"],
            buckets=CALL_BUCKETS_S,
            registry=registry,
        )
        self.calls_in_flight = Gauge("ledger_calls_in_flight", "Calls under way in this process", registry=registry)
        self.flush_commands = Histogram(
            "ledger_flush_commands",
            "Commands in one group commit",
            ["stage"],
            buckets=FLUSH_BUCKETS,
            registry=registry,
        )
        self._declare_gauges(registry)

    def _declare_gauges(self, registry: CollectorRegistry) -> None:
        self.intake_lag_records = Gauge(
            "ledger_intake_lag_records",
            "Records of a partition that are not yet accepted",
            ["topic", "partition"],
            registry=registry,
        )
        self.lanes = Gauge("ledger_lanes", "Lanes by state", ["state"], registry=registry)
        self.commands_in_doubt = Gauge(
            "ledger_commands_in_doubt",
            "Commands with an attempt in doubt, not parked",
            ["operation"],
            registry=registry,
        )
        self.commands_parked = Gauge(
            "ledger_commands_parked", "Commands that wait for a person", ["operation"], registry=registry
        )
        self.paused = Gauge(
            "ledger_paused", "1 while calls of an operation, or of all, are paused", ["operation"], registry=registry
        )
        self.accounts_held = Gauge("ledger_accounts_held", "Accounts that a person holds", registry=registry)
        self.timers_armed = Gauge("ledger_timers_armed", "Timers whose hour has not come", registry=registry)
        self.timers_overdue = Gauge(
            "ledger_timers_overdue", "Timers past their hour that are not yet ended", registry=registry
        )
        self.outcomes_unpublished = Gauge(
            "ledger_outcomes_unpublished", "Rows of the outbox not yet published", registry=registry
        )
        self.oldest_unpublished_s = Gauge(
            "ledger_oldest_unpublished_seconds", "Age of the oldest row not yet published", registry=registry
        )
        self.adjustments_without_timer = Gauge(
            "ledger_invariant_adjustments_without_timer",
            "Open temporary adjustments without exactly one live timer or watch; must be 0",
            registry=registry,
        )
        self.contradictions = Counter(
            "ledger_invariant_contradictions",
            "Evidence that contradicts a verdict already recorded; must be 0",
            ["operation"],
            registry=registry,
        )
        self.fences_lost = Counter(
            "ledger_fences_lost", "Writes refused because another worker owns the lane", registry=registry
        )
        self.loop_lag_s = Gauge(
            "ledger_event_loop_lag_seconds", "How late the event loop woke a sleeper last time", registry=registry
        )
        self.not_ready_reasons = Gauge(
            "ledger_not_ready_reasons", "Reasons for which /readyz answers 503", registry=registry
        )

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        return generate_latest(self._registry)
