"""Commands as Kafka batches that are made in advance, so that making them takes no processor from what is measured."""

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from benchmarks.commands import Given

COMMANDS_TOPIC = "ledger.commands.adjustments.v1"
BATCH_BYTES = 262_144
BATCH_COUNT = 500


class Feed:
    """A producer that sends a great many commands at once, each account's in their sequence."""

    def __init__(self, bootstrap: str, topic: str = COMMANDS_TOPIC) -> None:
        self._topic = topic
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, enable_idempotence=True, max_batch_size=BATCH_BYTES
        )

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def batches(self, given: Iterable[Given]) -> list[tuple[int, BatchBuilder]]:
        """Make (partition, batch) of the commands, by the partitioner that producers use unless told otherwise."""
        places, partition_of = sorted(await self._producer.partitions_for(self._topic)), DefaultPartitioner()
        closed: list[tuple[int, BatchBuilder]] = []
        open_: dict[int, BatchBuilder] = {}
        for one in given:
            key = one.account_no.encode()
            place = partition_of(key, places, places)
            batch = open_.get(place)
            if batch is None or batch.record_count() == BATCH_COUNT:
                batch = open_[place] = self._producer.create_batch()
                closed.append((place, batch))
            if batch.append(key=key, value=one.value, timestamp=None) is None:
                raise ValueError(f"{BATCH_COUNT} commands are more than {BATCH_BYTES} bytes")
        return closed

    async def send(self, batches: Iterable[tuple[int, BatchBuilder]]) -> None:
        """Send them and wait until Kafka has them."""
        sent = [await self._producer.send_batch(batch, self._topic, partition=place) for place, batch in batches]
        for one in sent:
            await one
