"""Intake's consumer, built with our options under FastStream's broker, which keeps the loop and the shutdown."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as Tp
from faststream.kafka import KafkaBroker, KafkaMessage
from typing_extensions import override

from worker.kafka.ports import KafkaSettings
from worker.kafka.security import client_options
from worker.ledger.records import RawRecord

Poll = Callable[["IntakeConsumer"], Awaitable[dict[Tp, list[RawRecord]]]]


def consumer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return what intake's consumer is built with: every option whose default loses, doubles or skips is set."""
    return client_options(settings) | {
        "group_id": settings.kafka_group_id,
        "auto_offset_reset": "none",  # Postgres says where to read; neither end of the log is ever guessed
        "enable_auto_commit": False,  # it commits what was fetched, stored or not
        "isolation_level": "read_committed",  # an aborted command was never sent
        "check_crcs": True,
        # Every rebalance stops all (aiokafka has no cooperative one) and no state is kept per partition, so sticking
        # to a member gains nothing; round robin spreads the three topics evenly.
        "partition_assignment_strategy": (RoundRobinPartitionAssignor,),
        "session_timeout_ms": 10_000,  # a killed worker's partitions are read by another after this
        "heartbeat_interval_ms": 3_000,
        "rebalance_timeout_ms": 30_000,  # how long the group waits for a member that is storing a batch
        "max_poll_interval_ms": 300_000,  # above the accept deadline, else a slow database empties the group
        "max_partition_fetch_bytes": 1_048_576,
        "fetch_max_bytes": 8_388_608,  # bounds what is buffered, per broker
    }


class IntakeConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer whose polls go through intake; `fetch` is the client library's own poll."""

    def __init__(self, poll: Poll, options: Mapping[str, Any]) -> None:
        super().__init__(**options)
        self._poll = poll

    @override
    async def getmany(self, *partitions: Tp, timeout_ms: int = 0, max_records: int | None = None) -> Any:
        """Return records that may be stored; waits until there are some."""
        return await self._poll(self)

    async def fetch(self, timeout_ms: int, records_max: int) -> dict[Tp, list[ConsumerRecord]]:
        """Poll Kafka once."""
        fetched: dict[Tp, list[ConsumerRecord]] = await super().getmany(timeout_ms=timeout_ms, max_records=records_max)
        return fetched


class IntakeBroker(KafkaBroker):
    """FastStream's broker, building our consumer and nothing else: no producer, no admin client, no topics."""

    def __init__(self, options: Mapping[str, Any], poll: Poll, graceful_timeout_s: float) -> None:
        super().__init__(
            options["bootstrap_servers"],
            consumer_only=True,
            allow_auto_create_topics=False,
            apply_types=False,
            graceful_timeout=graceful_timeout_s,
            logger=None,
        )
        self._builder = partial(_build, dict(options), poll)

    @override
    async def _connect(self) -> Callable[..., AIOKafkaConsumer]:
        await super()._connect()
        self.config.broker_config.builder = self._builder
        return self._builder


def _build(options: dict[str, Any], poll: Poll, **_ignored: object) -> IntakeConsumer:
    # FastStream's own arguments are left out: what this consumer does is said in one place, consumer_options.
    return IntakeConsumer(poll, options)


async def parse(message: tuple[RawRecord, ...]) -> KafkaMessage:
    """Give FastStream a batch as it is."""
    return KafkaMessage(body=b"", raw_message=message, consumer=_NoAck(), message_id="", correlation_id="")


async def decode(message: KafkaMessage) -> object:
    """Give the handler the batch that `parse` was given."""
    return message.raw_message


class _NoAck:
    """Stands where FastStream keeps a consumer for `ack`, which commits everything fetched: it must not be called."""

    async def commit(self) -> NoReturn:
        raise NotImplementedError("offsets are committed by intake, partition by partition")

    def seek(self, partition: Tp, offset: int) -> NoReturn:
        raise NotImplementedError("positions are moved by intake")
