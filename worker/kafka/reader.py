"""The only consumer without a group: it follows a topic for a person or a test and leaves no trace in Kafka."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition

from worker.errors import PartUnavailableError, TopicsError
from worker.kafka.dial import unreachable
from worker.kafka.ports import KafkaSettings
from worker.kafka.rights import Right, needing, not_allowed
from worker.kafka.security import client_options
from worker.ledger.records import RawRecord

START_DEADLINE_S = 30.0
RECORDS_MAX = 500


class Reader:
    """Reads all partitions of one topic; between partitions there is no order."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer, self._topic = consumer, topic

    async def read(self, wait_s: float) -> list[RawRecord]:
        """Return the next records, or an empty list when none came within the time. Raises PartUnavailableError."""
        try:
            with needing(Right.READ, f"topic {self._topic}"):
                found = await self._consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=RECORDS_MAX)
        except KafkaError as error:
            raise PartUnavailableError(f"Kafka does not answer: {error!r}") from error
        return [
            RawRecord(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                timestamp_ms=record.timestamp,
                key=record.key,
                value=record.value,
                headers=tuple((name.encode(), value) for name, value in record.headers),
            )
            for records in found.values()
            for record in records
        ]


@asynccontextmanager
async def open_reader(settings: KafkaSettings, topic: str, *, from_beginning: bool) -> AsyncIterator[Reader]:
    """Give a reader that stands at the topic's beginning, or at the end that it has now.

    Raises PartUnavailableError when Kafka does not answer, TopicsError when the topic does not exist.
    """
    consumer = AIOKafkaConsumer(
        **client_options(settings),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        auto_offset_reset="earliest",  # only where retention has removed what was asked for
    )
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            await consumer.start()
            await _place(consumer, topic, from_beginning=from_beginning)
    except (KafkaError, OSError, TimeoutError) as error:
        await consumer.stop()
        raise await unreachable(settings, error) from error
    except BaseException:
        await consumer.stop()
        raise
    try:
        yield Reader(consumer, topic)
    finally:
        await consumer.stop()


async def _place(consumer: AIOKafkaConsumer, topic: str, *, from_beginning: bool) -> None:
    # Asked of the whole cluster: asking for one topic by name would create it where the broker allows that.
    cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - the consumer keeps only names of it
    numbers = cluster.partitions_for_topic(topic)
    if not numbers:
        await _refuse_hidden(consumer, topic)
        raise TopicsError(f"topic {topic} does not exist: run `ledger-worker topics apply`")
    partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
    consumer.assign(partitions)
    find = consumer.beginning_offsets if from_beginning else consumer.end_offsets
    for partition, offset in (await find(partitions)).items():
        consumer.seek(partition, offset)


async def _refuse_hidden(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Raise RightMissingError where the topic is not shown because we may not see it."""
    client = consumer._client  # noqa: SLF001 - as above
    answer = await client.send(client.get_random_node(), MetadataRequest([topic], allow_auto_topic_creation=False))
    if any(for_code(code) is TopicAuthorizationFailedError for code, *_ in answer.topics):
        raise not_allowed(Right.READ, f"topic {topic}")
