"""A double of the Accept port: what Postgres promises about rows and compare-and-set, in memory."""

from asyncio import TaskGroup, sleep, timeout
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from worker.errors import LostPlaceError
from worker.kafka.broker import Intake
from worker.ledger.positions import Position, TopicPartition
from worker.ledger.records import RawRecord


class Store:
    def __init__(self) -> None:
        self.rows: dict[TopicPartition, Position] = {}
        self.records: list[RawRecord] = []
        self.lost_places = 0
        self.refuse_next = 0  # so many accepts raise and store nothing
        self.crash_next = 0  # so many accepts store and then raise, as if the answer were lost
        self.keep_at_most: int | None = None

    async def positions(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        return {key: self.rows[key] for key in partitions if key in self.rows}

    async def accept(
        self, records: Sequence[RawRecord], read_from: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        await sleep(0)
        if self.refuse_next:
            self.refuse_next -= 1
            raise OSError("the database is away")
        keys = {(r.topic, r.partition) for r in records}
        moved = {key for key in keys if key in self.rows and self.rows[key].next_offset != read_from.get(key)}
        if moved:
            self.lost_places += 1
            raise LostPlaceError(moved)
        for record in records:
            key = record.topic, record.partition
            epoch = self.rows[key].epoch if key in self.rows else 0
            self.rows[key] = Position(record.offset + 1, record.offset, record.digest(), epoch)
        self.records.extend(records)
        if self.crash_next:
            self.crash_next -= 1
            raise OSError("the connection broke after the commit")
        return {key: self.rows[key].next_offset for key in keys}

    def places(self) -> list[tuple[str, int, int]]:
        return sorted((r.topic, r.partition, r.offset) for r in self.records)

    def values(self) -> list[bytes | None]:
        return [r.value for r in self.records]


async def until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Return once the condition holds; a deadline passed is a TimeoutError."""
    async with timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await sleep(0.01)


@asynccontextmanager
async def running(*intakes: Intake) -> AsyncIterator[None]:
    """Run them as the worker does: all in one group, stopped at the end."""
    async with TaskGroup() as group:
        for intake in intakes:
            group.create_task(intake.run())
        try:
            yield
        finally:
            for intake in intakes:
                intake.stop()
