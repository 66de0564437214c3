"""Last stage: what was recorded is sent to Kafka, an account's outcomes one after the other, and marked afterwards.

A crash between the broker's acknowledgement and the mark sends the same bytes again under the same event_id.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker.errors import PartUnavailableError
from worker.kafka.producer import Message, Permanent, Producer, Sent, Unavailable
from worker.observe.metrics import Metrics
from worker.store.engine import transaction
from worker.store.outbox import (
    Acknowledged,
    Waiting,
    hold_shards,
    leave_shards,
    mark_published,
    read_waiting,
    set_aside,
)

READ_MAX = 1000
ROUNDS_MAX = 10
SHARD_LEASE_S = 10.0


class Publish:
    """One relay; `owner` names it among those that share the outbox."""

    def __init__(
        self,
        engine: AsyncEngine,
        producer: Producer,
        topics: Mapping[str, str],
        owner: UUID,
        metrics: Metrics,
        log: FilteringBoundLogger,
        traced: Callable[[Sequence[Waiting], Sequence[Acknowledged]], None] | None = None,
    ) -> None:
        self._engine, self._producer, self._topics, self._owner = engine, producer, topics, owner
        self._metrics, self._log, self._traced = metrics, log, traced
        self._shards: list[int] = []
        self.has_more = False  # whether the last call left rows that it knows of, or could not know

    async def hold(self) -> None:
        """Renew the lease of this relay's shards; call it well within `SHARD_LEASE_S`."""
        async with transaction(self._engine) as connection:
            self._shards = await hold_shards(connection, self._owner, SHARD_LEASE_S)

    async def leave(self) -> None:
        """Give the shards up."""
        async with transaction(self._engine) as connection:
            await leave_shards(connection, self._owner)

    async def close(self) -> None:
        """Close the producer."""
        await self._producer.close()

    async def publish(self) -> int:
        """Send what waits, once over; returns how many rows the broker has taken.

        Raises PartUnavailableError when Kafka or Postgres is away; nothing is lost, and what was sent may be sent again.
        """
        with self._metrics.measured("publish") as one:
            one.count = await self._publish()
        return one.count

    async def _publish(self) -> int:
        async with transaction(self._engine, alone=True) as connection:
            waiting = await read_waiting(connection, self._shards, READ_MAX) if self._shards else []
        self.has_more = False
        if not waiting:
            return 0
        acknowledged, away = await self._send(waiting)
        self.has_more = len(waiting) == READ_MAX or len(acknowledged) < len(waiting)
        if acknowledged:
            async with transaction(self._engine) as connection:
                await mark_published(connection, acknowledged)
            for kind, count in Counter(row.kind for row in acknowledged).items():
                self._metrics.outcomes_published.labels(self._topics[kind]).inc(count)
            if self._traced is not None:
                self._traced(waiting, acknowledged)
        if away is not None:
            raise PartUnavailableError(away)
        return len(acknowledged)

    async def _send(self, waiting: Sequence[Waiting]) -> tuple[list[Acknowledged], str | None]:
        """Send in rounds, in each at most one row of an account: the next goes only when the last was acknowledged."""
        queues: dict[str, deque[Waiting]] = defaultdict(deque)
        for row in waiting:
            queues[row.ordered_by or str(row.ref_id)].append(row)
        acknowledged: list[Acknowledged] = []
        for _ in range(ROUNDS_MAX):
            heads = [queue[0] for queue in queues.values()]
            if not heads:
                break
            results = await self._producer.send([self._message(row) for row in heads])
            away = None
            for row, result in zip(heads, results, strict=True):
                name = row.ordered_by or str(row.ref_id)
                match result:
                    case Sent():
                        acknowledged.append(
                            Acknowledged(row.outbox_id, row.kind, row.ref_id, result.partition, result.offset)
                        )
                        queues[name].popleft()
                    case Permanent(of_topic=True):
                        away = result.message
                    case Permanent():
                        await self._set_aside(row, result.message)
                        queues[name].clear()
                    case Unavailable():
                        away = result.message
                if not queues[name]:
                    del queues[name]
            if away is not None:
                return acknowledged, away
        return acknowledged, None

    def _message(self, row: Waiting) -> Message:
        # the outcome's own time of recording, so that publishing again gives the same record
        return Message(self._topics[row.kind], row.key, row.value, row.headers, row.timestamp_ms)

    async def _set_aside(self, row: Waiting, reason: str) -> None:
        async with transaction(self._engine) as connection:
            await set_aside(connection, row.outbox_id, reason)
        self._log.error(
            "publish.set_aside", kind=row.kind, ref_id=str(row.ref_id), account_no=row.ordered_by, why=reason
        )
