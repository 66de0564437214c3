"""Intake: one FastStream batch subscriber over the command topics, whose polls are placed by Postgres.

A poll takes what Kafka has, up to a bound, and never waits for a lane. The batch goes to the port in one piece; its
offsets are committed afterwards and only for lag tools. Whatever goes wrong, every partition is sought back to what
the store holds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as Tp
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from typing_extensions import override

from worker.clock import boot_s, jitter
from worker.errors import LostPlaceError, PartUnavailableError, TopicsError
from worker.kafka.ports import Accept, KafkaSettings
from worker.kafka.positions import Places, read_past
from worker.kafka.security import client_options
from worker.kafka.tolerant import DAMAGES
from worker.ledger.positions import Reason, TopicPartition
from worker.ledger.records import RawRecord

log = structlog.get_logger(__name__)

Poll = Callable[["IntakeConsumer"], Awaitable[dict[Tp, list[RawRecord]]]]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how much, in seconds and counts; tests shorten it."""

    records_max: int = 500
    poll_wait_ms: int = 500
    poll_deadline_s: float = 60.0  # longer than a rebalance may take: getmany waits for an assignment
    recheck_s: float = 3.0  # how soon `adopt`, `resume` and a pause of one partition take effect
    stall_s: float = 30.0  # records there and none read: the fetch has died
    accept_deadline_s: float = 120.0  # the store has its own, shorter ones
    start_deadline_s: float = 60.0
    stop_deadline_s: float = 10.0
    back_off_min_s: float = 0.1
    back_off_max_s: float = 5.0


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


async def _parse(message: tuple[RawRecord, ...]) -> KafkaMessage:
    return KafkaMessage(body=b"", raw_message=message, consumer=_NoAck(), message_id="", correlation_id="")


async def _decode(message: KafkaMessage) -> object:
    return message.raw_message


class _NoAck:
    """Stands where FastStream keeps a consumer for `ack`, which commits everything fetched: it must not be called."""

    async def commit(self) -> NoReturn:
        raise NotImplementedError("offsets are committed by intake, partition by partition")

    def seek(self, partition: Tp, offset: int) -> NoReturn:
        raise NotImplementedError("positions are moved by intake")


class Session:
    """One connection's life: from joining the group until it is stopped or has to be opened anew."""

    def __init__(self, settings: KafkaSettings, port: Accept, pace: Pace) -> None:
        self._port = port
        self._pace = pace
        self._recheck_at_s = 0.0
        self._refusals_in_row = 0
        self._unseen: dict[str, Exception] = {}
        self.places: Places | None = None
        self.missing: frozenset[str] = frozenset()
        self.connected = False
        self.last_poll_s = boot_s()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.broker = IntakeBroker(consumer_options(settings), self._poll, pace.stop_deadline_s)
        self.subscriber = self.broker.subscriber(
            settings.topic_adjustments,
            settings.topic_freezes,
            settings.topic_orders,
            group_id=settings.kafka_group_id,
            batch=True,
            max_records=pace.records_max,
            batch_timeout_ms=pace.poll_wait_ms,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="none",
            isolation_level="read_committed",
            parser=_parse,
            decoder=_decode,
            no_reply=True,
        )
        self.subscriber(self._take)

    def _end(self, error: BaseException) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

    async def _poll(self, consumer: IntakeConsumer) -> dict[Tp, list[RawRecord]]:
        """Return the next records that may be stored. Ends the session instead of raising."""
        try:
            if self.places is None:
                self.places = Places(consumer, self._port)
            while True:
                self.last_poll_s = boot_s()
                async with asyncio.timeout(self._pace.poll_deadline_s):
                    found = await self._poll_once(consumer, self.places)
                if found:
                    return found
        except ConsumerStoppedError:
            raise
        except Exception as error:
            self._end(error)
            raise ConsumerStoppedError from error  # FastStream's loop ends; Intake opens another session

    async def _poll_once(self, consumer: IntakeConsumer, places: Places) -> dict[Tp, list[RawRecord]]:
        await self._renew(places)
        try:
            fetched = await consumer.fetch(self._pace.poll_wait_ms, self._pace.records_max)
        except (UnicodeDecodeError, CorruptRecordException, *DAMAGES) as error:
            log.warning("intake.read_past", error=str(error))
            return await self._read_past(consumer, places)
        except OffsetOutOfRangeError as error:
            places.rewind()
            await self._judge(places, [tp for tp in error.args[0] if tp in places.assigned])
            return {}
        except NoOffsetForPartitionError:  # asked between an assignment and its placing
            places.rewind()
            return {}
        except KafkaError as error:
            # A poll that raises may have dropped what it had drained of other partitions before.
            places.rewind()
            await self._back_off("intake.poll_refused", error)
            return {}
        return places.admit({tp: [_raw(record) for record in records] for tp, records in fetched.items()})

    async def _read_past(self, consumer: IntakeConsumer, places: Places) -> dict[Tp, list[RawRecord]]:
        places.rewind()
        if not places.is_current():
            return {}
        try:
            found = await read_past(places, self._pace.records_max)
        except KafkaError as error:
            await self._back_off("intake.poll_refused", error)
            return {}
        admitted = places.admit({tp: piece.records for tp, piece in found.items()})
        for tp, piece in found.items():
            if places.is_current() and tp in places.placed:
                consumer.seek(tp, piece.next_offset)
        return admitted

    async def _renew(self, places: Places) -> None:
        """Place what is new, and look again at everything every few seconds."""
        new = places.take_assignment()
        if new:
            log.info("intake.assigned", partitions=len(places.assigned))
        if new or boot_s() >= self._recheck_at_s:
            self._note_missing(places.find_missing())
            if await self._judge(places, places.assigned):
                await self._raise_if_stalled(places)
            self._recheck_at_s = boot_s() + self._pace.recheck_s
        elif places.unplaced and not self._unseen:
            await self._judge(places, places.unplaced)

    def _note_missing(self, missing: frozenset[str]) -> None:
        for topic in sorted(missing - self.missing):
            log.error("intake.topic_missing", topic=topic, do="run `ledger-worker topics apply`")
        self.missing = missing

    async def _judge(self, places: Places, partitions: Collection[Tp]) -> bool:
        try:
            self._unseen = await places.judge(partitions)
        except Exception as error:  # noqa: BLE001 - whatever the port raises means: the store cannot say it now
            await self._back_off("intake.positions_unavailable", error)
            return False
        self.connected = not self._unseen or len(self._unseen) < len({tp.topic for tp in partitions})
        for topic, cause in self._unseen.items():
            log.warning("intake.topic_unavailable", topic=topic, error=repr(cause))
        if not self.connected:
            await self._back_off("intake.kafka_unavailable", next(iter(self._unseen.values())))
        return not self._unseen

    async def _raise_if_stalled(self, places: Places) -> None:
        stalled = await places.stalled(self._pace.stall_s)
        if stalled:
            named = ", ".join(f"{tp.topic}[{tp.partition}]" for tp in stalled)
            raise PartUnavailableError(f"Kafka has records in {named} but none arrive: the fetch has died")

    async def _take(self, records: tuple[RawRecord, ...]) -> None:
        """FastStream's handler: store the batch, then commit. Never raises, for FastStream would swallow it."""
        try:
            assert self.places is not None  # noqa: S101 - records come from a poll, which made it
            await self._store(self.places, records)
        except Exception as error:  # noqa: BLE001 - reported by Intake.run
            self._end(error)

    async def _store(self, places: Places, records: tuple[RawRecord, ...]) -> None:
        ends = {(r.topic, r.partition): r.offset + 1 for r in records}
        read_from = places.read_from(ends)
        try:
            async with asyncio.timeout(self._pace.accept_deadline_s):
                stored = await self._port.accept(records, read_from)
        except LostPlaceError as error:
            log.warning("intake.place_lost", partitions=sorted(error.partitions))
            places.rewind()
            places.forget(ends)
        except Exception as error:  # noqa: BLE001 - the port's contract: nothing of the batch counts as stored
            places.rewind()
            await self._back_off("intake.accept_unavailable", error)
        else:
            self._refusals_in_row = 0
            places.advance(stored, ends)
            await self._commit(places, stored)

    async def _commit(self, places: Places, stored: Mapping[TopicPartition, int]) -> None:
        """Tell the group how far the store is. Not needed for correctness: a refusal is noted and forgotten."""
        offsets = {Tp(*key): offset for key, offset in stored.items() if Tp(*key) in places.assigned}
        consumer = self.subscriber.consumer
        if consumer is None or not offsets:
            return
        try:
            async with asyncio.timeout(self._pace.stop_deadline_s):
                await consumer.commit(offsets)
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            log.warning("intake.commit_refused", error=repr(error))

    async def _back_off(self, event: str, error: BaseException) -> None:
        ceiling = min(self._pace.back_off_max_s, self._pace.back_off_min_s * 2 ** min(self._refusals_in_row, 10))
        self._refusals_in_row += 1
        log.warning(event, error=repr(error), wait_s_max=ceiling)
        await asyncio.sleep(jitter(ceiling / 2, ceiling))


def _raw(record: ConsumerRecord) -> RawRecord:
    headers = tuple((name.encode(), value) for name, value in record.headers)
    return RawRecord(record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers)


class Intake:
    """Reads the command topics into the port until it is stopped. Kafka going away ends nothing: it reconnects."""

    def __init__(self, settings: KafkaSettings, port: Accept, pace: Pace | None = None) -> None:
        self._settings = settings
        self._port = port
        self._pace = pace or Pace()
        self._session: Session | None = None
        self._stopping = asyncio.Event()
        self._started_s = boot_s()

    @property
    def connected(self) -> bool:
        """Whether Kafka answered when last asked, a few seconds ago at most."""
        return self._session is not None and self._session.connected

    @property
    def last_poll_s(self) -> float:
        """When the poll loop last turned, on the boot clock; it turns at least once a minute even without Kafka."""
        return self._started_s if self._session is None else self._session.last_poll_s

    def refusals(self) -> Mapping[TopicPartition, Reason]:
        """Return the assigned partitions that are not read, and why."""
        places = None if self._session is None else self._session.places
        return {} if places is None else dict(places.refused)

    def missing_topics(self) -> frozenset[str]:
        """Return the command topics that Kafka does not show: nothing of them is read."""
        return frozenset() if self._session is None else self._session.missing

    def lags(self) -> Mapping[TopicPartition, int]:
        """Return for each assigned partition how many offsets lie beyond what is stored, a few seconds old."""
        places = None if self._session is None else self._session.places
        return {} if places is None else dict(places.lags)

    def stop(self) -> None:
        """Ask `run` to store the batch in hand, commit, leave the group and return. May be called twice."""
        self._stopping.set()

    async def run(self) -> None:
        """Read until `stop`. Raises only what is a fault of this program or of its settings."""
        refusals_in_row = 0
        while not self._stopping.is_set():
            began_s = boot_s()
            try:
                await self._run_session()
            except (KafkaError, OSError, TimeoutError, PartUnavailableError, TopicsError) as error:
                log.warning("intake.session_ended", error=str(error) or repr(error))
                lasted = boot_s() - began_s > self._pace.start_deadline_s
                refusals_in_row = 0 if lasted else refusals_in_row + 1
                await self._wait(min(self._pace.back_off_max_s, self._pace.back_off_min_s * 2**refusals_in_row))

    async def _run_session(self) -> None:
        self._session = session = Session(self._settings, self._port, self._pace)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            async with asyncio.timeout(self._pace.start_deadline_s):
                await session.broker.start()
            session.connected = True
            await asyncio.wait((stopping, session.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            session.connected = False
            await self._close(session)
        if session.ended.done():
            session.ended.result()

    async def _close(self, session: Session) -> None:
        try:
            async with asyncio.timeout(2 * self._pace.stop_deadline_s):
                await session.broker.stop()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("intake.stop_unclean", error=repr(error))

    async def _wait(self, ceiling_s: float) -> None:
        try:
            async with asyncio.timeout(jitter(ceiling_s / 2, ceiling_s)):
                await self._stopping.wait()
        except TimeoutError:
            return
