"""The outcomes topic from given offsets; no consumer group, nothing committed: where you are, you store with your rows."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from ledger_client.client import START_DEADLINE_S, consumer_options, partitions_of
from ledger_client.connection import Connection
from ledger_client.consume.rows import Row, row_of
from ledger_client.errors import LostError, UnavailableError

RECORDS_MAX = 1_000


class Batch:
    """Rows in the topic's own sequence, and from where to where of each partition they were read."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.read: dict[int, tuple[int, int]] = {}

    def next_offsets(self) -> dict[int, int]:
        """Return the offset at which to go on, of each partition that was read."""
        return {partition: until for partition, (_, until) in self.read.items()}


class Reading:
    """An open reading; see `open_reading`."""

    def __init__(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], at: dict[int, int]) -> None:
        self._consumer = consumer
        self._ends = {partition.partition: end for partition, end in ends.items()}
        self._at = at

    def left(self) -> int:
        """Return how many offsets lie between here and where the topic ended when it was opened; 0 means all was read."""
        return sum(max(0, end - self._at[partition]) for partition, end in self._ends.items())

    async def batch(self, wait_s: float, records_max: int = RECORDS_MAX) -> Batch:
        """Return what has come, or an empty batch after a while. Raises UnavailableError, UnreadableError."""
        try:
            found = await self._consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=records_max)
        except KafkaError as error:
            raise UnavailableError(f"Kafka does not answer: {error!r}") from error
        batch = Batch()
        for partition, records in found.items():
            number = partition.partition
            batch.rows += [row_of(record.value, number, record.offset) for record in records]
            batch.read[number] = self._at[number], records[-1].offset + 1
            self._at[number] = records[-1].offset + 1
        return batch


@asynccontextmanager
async def open_reading(
    connection: Connection, offsets: Mapping[int, int], *, pass_over_lost: bool = False
) -> AsyncIterator[Reading]:
    """Open the outcomes topic at these offsets, and partitions without one at their beginning.

    Raises UnavailableError; and LostError where the topic no longer has what lies at an offset, unless that is to be
    passed over, and where it ends before it: then it is not the topic that was read.
    """
    topic = connection.topics.outcomes
    consumer = AIOKafkaConsumer(**consumer_options(connection))
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            await consumer.start()
            partitions = await partitions_of(consumer, topic)
            consumer.assign(partitions)
            begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        at = _places(offsets, begins, ends, pass_over_lost)
        for partition in partitions:
            consumer.seek(partition, at[partition.partition])
    except (KafkaError, OSError, TimeoutError) as error:
        await consumer.stop()
        raise UnavailableError(f"Kafka at {connection.bootstrap_servers} does not answer: {error!r}") from error
    except BaseException:
        await consumer.stop()
        raise
    try:
        yield Reading(consumer, ends, at)
    finally:
        await consumer.stop()


def _places(
    offsets: Mapping[int, int], begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], lost: bool
) -> dict[int, int]:
    gone = offsets.keys() - {partition.partition for partition in begins}
    if gone:
        raise LostError(f"the topic has no partition {min(gone)} any more: it is not the topic that was read")
    return {one.partition: _place(one, offsets, begin, ends[one], lost) for one, begin in begins.items()}


def _place(partition: TopicPartition, offsets: Mapping[int, int], begin: int, end: int, pass_over_lost: bool) -> int:
    wanted = offsets.get(partition.partition)
    named = f"{partition.topic}[{partition.partition}]"
    if wanted is None:
        return begin
    if wanted > end:
        raise LostError(
            f"{named} ends at {end}, but was read up to {wanted}: it is not the topic that was read; begin anew elsewhere"
        )
    if wanted >= begin:
        return wanted
    if not pass_over_lost:
        raise LostError(
            f"{named} begins at {begin}, but was read up to {wanted}: {begin - wanted} records were removed by retention "
            "before they were read; --pass-over-lost goes on behind them, and they will be named as missing"
        )
    return begin
