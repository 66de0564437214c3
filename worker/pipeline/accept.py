"""Second stage: a batch of raw records becomes rows, in one database transaction, before any offset is committed."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from schemas.commands import ADJUSTMENTS, FREEZES, ORDERS
from worker import clock
from worker.errors import DataRefusedError
from worker.ledger.commands import Malformed, Refusal
from worker.ledger.positions import Position, TopicPartition
from worker.ledger.records import RawRecord
from worker.observe.logs import ids, is_detailed
from worker.observe.metrics import Metrics
from worker.pipeline.check import TopicTypes, check
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.inbox import Judged, Options, store_batch
from worker.store.offsets import read_positions
from worker.whale.operations import REGISTRY


def topic_types(settings: Settings) -> TopicTypes:
    """Say which command types belong on which topic."""
    return dict(zip(settings.command_topics, (ADJUSTMENTS, FREEZES, ORDERS), strict=True))


def accept_options(settings: Settings) -> Options:
    """Say what the settings, and the registry of operations, mean for accepting."""
    urgent = frozenset(name for name, operation in REGISTRY.items() if operation.urgent)
    return Options(urgent, settings.refusals_in_row_max, settings.accepted_notice)


class Accept:
    """Intake's port to the database: what `worker.kafka.ports.Accept` asks for."""

    def __init__(
        self,
        engine: AsyncEngine,
        topics: TopicTypes,
        options: Options,
        metrics: Metrics,
        log: FilteringBoundLogger,
        woken: Callable[[], None],
        traced: Callable[[Sequence[Judged], float], None] | None = None,
    ) -> None:
        self._engine, self._topics, self._options = engine, topics, options
        self._metrics, self._log, self._woken = metrics, log, woken
        self._traced, self._began_s = traced, 0.0

    async def positions(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """Read how far these partitions are stored."""
        async with transaction(self._engine) as connection:
            return await read_positions(connection, partitions)

    async def accept(
        self, records: Sequence[RawRecord], read_from: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """Judge and store a batch; see the port for what it promises."""
        if self._traced is not None:
            self._began_s = clock.boot_s()
        with self._metrics.measured("accept") as one:
            judged = [(record, check(record, self._topics)) for record in records]
            stored = await self._store(judged, dict(read_from))
            one.count = len(records)
        self._woken()
        return stored

    async def _store(self, batch: Sequence[Judged], read_from: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Store a batch; where the database refuses it for its data, halve it until the culprit stands alone."""
        try:
            async with transaction(self._engine) as connection:
                stored = await store_batch(connection, batch, read_from, self._options)
        except DataRefusedError as error:
            if len(batch) > 1:
                return await self._store_halves(batch, read_from)
            record, judged = batch[0]
            if isinstance(judged, Malformed) and judged.reason == "QUARANTINED":
                raise
            self._log.error("accept.quarantined", topic=record.topic, partition=record.partition, offset=record.offset)
            return await self._store([(record, Malformed("QUARANTINED", str(error)))], read_from)
        kept = [one for one in batch if one[0].offset < stored[one[0].topic, one[0].partition]]
        self._count(kept)
        if self._traced is not None:
            self._traced(kept, self._began_s)
        return stored

    def _count(self, kept: Sequence[Judged]) -> None:
        for topic, count in Counter(record.topic for record, _ in kept).items():
            self._metrics.records_read.labels(topic).inc(count)
        for _, judged in kept:
            if isinstance(judged, Refusal):
                self._metrics.commands_refused.labels(judged.code).inc()
            elif isinstance(judged, Malformed):
                self._metrics.dead_letters.labels(judged.reason).inc()
        if is_detailed():
            for record, judged in kept:
                if not isinstance(judged, Malformed):
                    self._log.debug(
                        "accept.stored",
                        **ids(judged),
                        found=type(judged).__name__,
                        topic=record.topic,
                        partition=record.partition,
                        offset=record.offset,
                    )

    async def _store_halves(
        self, batch: Sequence[Judged], read_from: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        stored = dict(read_from)
        middle = len(batch) // 2
        stopped: set[TopicPartition] = set()
        for half_or_more in (batch[:middle], batch[middle:]):
            half = [one for one in half_or_more if (one[0].topic, one[0].partition) not in stopped]
            if not half:
                break
            places = {(record.topic, record.partition) for record, _ in half}
            done = await self._store(half, {place: stored[place] for place in places})
            ends = {place: max(r.offset for r, _ in half if (r.topic, r.partition) == place) + 1 for place in places}
            stored |= done
            stopped |= {place for place in places if done[place] < ends[place]}
        return stored
