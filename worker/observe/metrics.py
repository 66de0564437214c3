"""Every metric, declared once: its unit, its meaning, what its labels may be, and the alert that looks at it.

`docs/metrics.md` is made from these declarations, and `/metrics` shows exactly them. Counters and histograms are moved
by whoever sees the fact. The gauges over Postgres are set by `worker.app.gauges`, so that every worker shows the same
number: take the `max` of them, not the sum.
"""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from worker import clock
from worker.errors import PartUnavailableError
from worker.observe.declarations import Declarations

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
CALL_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
STAGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
FLUSH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LATENESS_BUCKETS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

# what bounds a label: nothing that an account or a stranger names
COMMAND_TYPES = "the ten command types"
TOPICS = "the topics of the settings"
STAGES = "accept, claim, finish, publish"


class Round:
    """What a stage does in one go; `count` is how much of it there was, none where it found nothing to do."""

    count = 0


class Metrics(Declarations):
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._declare_stages()
        self._declare_intake()
        self._declare_lanes()
        self._declare_calls()
        self._declare_doubts()
        self._declare_timers()
        self._declare_relay()
        self._declare_process()
        self._declare_invariants()

    @contextmanager
    def measured(self, stage: str) -> Iterator[Round]:
        """Measure one round of a stage: how long, how much, and whether a part was away. Idle rounds do not count."""
        began_s, one = clock.boot_s(), Round()
        try:
            yield one
        except PartUnavailableError:
            self.unavailable.labels(stage).inc()
            raise
        if one.count:
            self.stage_duration_s.labels(stage).observe(clock.boot_s() - began_s)
            self.flush_commands.labels(stage).observe(one.count)

    def _declare_stages(self) -> None:
        self.stage_duration_s = self._histograms(
            "ledger_stage_duration_seconds",
            "seconds",
            "Time of one round of a stage that found something to do, its commit included",
            STAGE_BUCKETS_S,
            stage=STAGES,
        )
        self.flush_commands = self._histograms(
            "ledger_flush_commands",
            "records, lanes, turns or rows",
            "How many one round of a stage took together; `_sum` is the stage's traffic",
            FLUSH_BUCKETS,
            stage=STAGES,
        )
        self.unavailable = self._counters(
            "ledger_unavailable_rounds",
            "rounds",
            "Rounds that ended because Kafka or Postgres was away",
            "LedgerPartAway",
            stage=f"{STAGES}, and the engines that go round: wake, due, sweep, watch, relay, gauges, invariants, stopped",
        )
        self.commands_finished = self._counters(
            "ledger_commands_finished",
            "commands",
            "Commands that came to a verdict or were parked, counted when it was committed",
            command_type=COMMAND_TYPES,
            outcome="succeed, reject, park",
        )
        self.command_s = self._counters(
            "ledger_command_seconds",
            "seconds",
            "From acceptance to that verdict, added up; by `ledger_commands_finished_total` it is the mean",
            command_type=COMMAND_TYPES,
        )

    def _declare_intake(self) -> None:
        self.records_read = self._counters(
            "ledger_records_read", "records", "Records accepted into Postgres", topic="the three command topics"
        )
        self.commands_refused = self._counters(
            "ledger_commands_refused", "commands", "Commands refused by validation", code="the codes of docs/codes.md"
        )
        self.dead_letters = self._counters(
            "ledger_dead_letters",
            "records",
            "Records whose identity could not be read, or which the database refused",
            "LedgerDeadLetters",
            reason="MALFORMED, TOO_LARGE, QUARANTINED",
        )
        self.intake_lag_records = self._gauges(
            "ledger_intake_lag_records",
            "records",
            "Records of a partition of this worker that are not yet accepted",
            "LedgerIntakeBehind",
            topic="the three command topics",
            partition="their partitions",
        )
        self.intake_connected = self._gauge(
            "ledger_intake_connected", "1 or 0", "Whether Kafka answers this worker's intake; 0 without that role"
        )
        self.intake_full = self._gauge(
            "ledger_intake_full",
            "1 or 0",
            "Whether this worker reads no more, because LEDGER_QUEUE_DEPTH_MAX commands wait",
        )
        self.intake_refused = self._gauge(
            "ledger_intake_refused_partitions",
            "partitions",
            "Partitions of this worker that are not read; `/readyz` says why",
            "LedgerIntakeStopped",
        )
        self.intake_stopped = self._gauge(
            "ledger_intake_stopped_partitions",
            "partitions",
            "Partitions whose intake stopped for bad records or by a person, until `resume`",
            "LedgerIntakeStopped",
        )

    def _declare_lanes(self) -> None:
        self.lanes = self._gauges("ledger_lanes", "lanes", "Lanes by state", state="idle, ready, leased, held")
        self.commands_queued = self._gauge(
            "ledger_commands_queued", "commands", "Commands that wait in lanes, those under way and in doubt among them"
        )
        self.oldest_ready_lane_s = self._gauge(
            "ledger_oldest_ready_lane_seconds",
            "seconds",
            "How long the lane that waits longest has been ready without a claim",
            "LedgerLanesWait",
        )
        self.limiter_wait_s = self._counters(
            "ledger_limiter_wait_seconds",
            "seconds",
            "Time in which no call of a class could begin here, for want of a slot or of the fleet's rate",
            **{"class": "urgent (looks, expiries, withdrawals), others"},
        )
        self.paused = self._gauges(
            "ledger_paused",
            "1",
            "1 while calls of an operation, or of all, are paused",
            "LedgerPaused",
            operation=f"{COMMAND_TYPES}, all",
        )
        self.accounts_held = self._gauge("ledger_accounts_held", "accounts", "Accounts that a person holds")
        self.answers_unrecorded = self._gauge(
            "ledger_answers_unrecorded", "turns", "Turns that ended and are not yet committed", "LedgerPartAway"
        )
        self.fences_lost = self._counter(
            "ledger_fences_lost", "writes", "Writes refused because another worker owns the lane"
        )

    def _declare_calls(self) -> None:
        self.call_duration_s = self._histograms(
            "ledger_call_duration_seconds",
            "seconds",
            "Time of one call to the brokerage, or of one look; `_count` is the number of them",
            CALL_BUCKETS_S,
            "LedgerBrokerageUnsure",
            operation=f"{COMMAND_TYPES}; an expiry by a timer is a temp.expire",
            verdict="Confirmed, Refused, InDoubt, NotSent; of a look Seen, Absent, Ended, Unreadable",
        )
        self.calls_in_flight = self._gauge("ledger_calls_in_flight", "calls", "Calls under way in this process")
        self.calls_in_flight_max = self._gauge(
            "ledger_calls_in_flight_max", "calls", "As many may be under way here: LEDGER_WHALE_IN_FLIGHT_MAX"
        )

    def _declare_doubts(self) -> None:
        self.commands_in_doubt = self._gauges(
            "ledger_commands_in_doubt",
            "commands",
            "Commands with an attempt in doubt, not parked",
            "LedgerDoubtsGrow",
            operation=COMMAND_TYPES,
        )
        self.doubts_by_age = self._gauges(
            "ledger_doubts_by_age",
            "commands",
            "The same by the age of the doubt; each is counted once",
            age="under_1m, under_10m, under_1h, over_1h",
        )
        self.doubts_amount = self._gauges(
            "ledger_doubts_amount",
            "money, in the currency",
            "The amounts that are in doubt, parked or not; positions and orders have none",
            operation=COMMAND_TYPES,
            currency="codes of three letters, the ten that most doubts have; `other` adds up the rest",
        )
        self.oldest_doubt_s = self._gauge(
            "ledger_oldest_doubt_seconds", "seconds", "Age of the oldest doubt that is not parked", "LedgerDoubtOld"
        )
        self.commands_parked = self._gauges(
            "ledger_commands_parked",
            "commands",
            "Commands that wait for a person",
            "LedgerParked",
            operation=COMMAND_TYPES,
        )

    def _declare_timers(self) -> None:
        self.timers_armed = self._gauge("ledger_timers_armed", "timers", "Timers whose hour has not come")
        self.timers_overdue = self._gauge(
            "ledger_timers_overdue", "timers", "Timers past their hour that are not yet ended"
        )
        self.most_overdue_s = self._gauge(
            "ledger_timers_most_overdue_seconds",
            "seconds",
            "How long past its hour the latest of them is",
            "LedgerTimerOverdue",
        )
        self.lateness_s = self._histogram(
            "ledger_expiry_lateness_seconds",
            "seconds",
            "From the hour of a temporary adjustment to the answer that ended it; those fired before are left out",
            LATENESS_BUCKETS_S,
        )

    def _declare_relay(self) -> None:
        self.outcomes_published = self._counters(
            "ledger_outcomes_published", "rows", "Rows of the outbox that Kafka acknowledged", topic=TOPICS
        )
        self.outcomes_unpublished = self._gauge(
            "ledger_outcomes_unpublished", "rows", "Rows of the outbox not yet published"
        )
        self.oldest_unpublished_s = self._gauge(
            "ledger_oldest_unpublished_seconds",
            "seconds",
            "Age of the oldest row not yet published, those behind one that was set aside included",
            "LedgerRelayDead",
        )
        self.outbox_set_aside = self._gauge(
            "ledger_outbox_set_aside", "rows", "Rows that Kafka refused for good", "LedgerSetAside"
        )

    def _declare_process(self) -> None:
        self.build_info = self._gauges(
            "ledger_build_info",
            "1",
            "Which release this is",
            "LedgerWorkerDown",
            version="this release",
            python="this Python",
        )
        self.build_info.labels(version("ledger-worker"), platform.python_version()).set(1)
        self.not_ready_reasons = self._gauge(
            "ledger_not_ready_reasons", "reasons", "Reasons for which /readyz answers 503", "LedgerNotReady"
        )
        self.engine_silent_s = self._gauges(
            "ledger_engine_silent_seconds",
            "seconds",
            "Since an engine last showed progress; `/livez` answers 503 beyond its deadline",
            "LedgerEngineStuck",
            engine="poll, lanes, and the engines that go round",
        )
        self.loop_lag_s = self._gauge(
            "ledger_event_loop_lag_seconds",
            "seconds",
            "How late the event loop woke a sleeper last time",
            "LedgerEventLoopLate",
        )
        self.database_connections = self._gauge(
            "ledger_database_connections_in_use",
            "connections",
            "Connections of the pool in use at this moment",
            "LedgerDatabasePoolFull",
        )
        self.database_connections_max = self._gauge(
            "ledger_database_connections_max", "connections", "As many has the pool", "LedgerDatabasePoolFull"
        )
        self.counts_duration_s = self._gauge(
            "ledger_counts_duration_seconds", "seconds", "How long the last reading of these gauges in Postgres took"
        )

    def _declare_invariants(self) -> None:
        self.adjustments_without_timer = self._gauge(
            "ledger_invariant_adjustments_without_timer",
            "adjustments",
            "Open temporary adjustments without exactly one live timer or watch; must be 0",
            "LedgerInvariantBroken",
        )
        self.breaches = self._gauges(
            "ledger_invariant_breaches",
            "rows",
            "Rows that must not be, as `doctor` names them, read every 45 s; must be 0",
            "LedgerInvariantBroken",
            invariant="the invariants that doctor looks at",
        )
        self.contradictions = self._counters(
            "ledger_invariant_contradictions",
            "commands",
            "Evidence that contradicts a verdict already recorded; must be 0",
            "LedgerContradiction",
            operation=COMMAND_TYPES,
        )
