"""Intake: one FastStream batch subscriber over the command topics, whose polls are placed by Postgres.

A poll takes what Kafka has, up to a bound, and never waits for a lane. The batch goes to the port in one piece; its
offsets are committed afterwards, beside the next poll, and only for lag tools. Whatever goes wrong, every partition is
sought back to what the store holds.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as Tp
from faststream import AckPolicy

from worker.clock import boot_s, jitter
from worker.errors import LostPlaceError, PartUnavailableError, SettingsError, TopicsError
from worker.kafka.consumer import IntakeBroker, IntakeConsumer, consumer_options, decode, parse
from worker.kafka.dial import why_unreachable
from worker.kafka.ports import Accept, KafkaSettings
from worker.kafka.positions import Places, read_past
from worker.kafka.rights import Right, not_allowed
from worker.kafka.security import client_options
from worker.kafka.tolerant import DAMAGES
from worker.ledger.positions import Reason, ReasonKind, TopicPartition
from worker.ledger.records import RawRecord

log = structlog.get_logger(__name__)


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


class Session:
    """One connection's life: from joining the group until it is stopped or has to be opened anew."""

    def __init__(self, settings: KafkaSettings, port: Accept, pace: Pace, is_full: Callable[[], bool]) -> None:
        self._settings = settings
        self._port = port
        self._pace = pace
        self._is_full = is_full
        self._recheck_at_s = 0.0
        self._refusals_in_row = 0
        self._unseen: dict[str, Exception] = {}
        self._to_commit: dict[Tp, int] = {}
        self._committing: asyncio.Task[None] | None = None
        self.places: Places | None = None
        self.missing: frozenset[str] = frozenset()
        self.hidden: frozenset[str] = frozenset()
        self.connected = False
        self.away = ""
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
            parser=parse,
            decoder=decode,
            no_reply=True,
        )
        self.subscriber(self._take)

    def leave(self) -> None:
        """End in order, so that another session begins at once."""
        if not self.ended.done():
            self.ended.set_result(None)

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
        places.hold_back(full=self._is_full())
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
        except TopicAuthorizationFailedError as error:
            places.rewind()
            hidden = [tp for tp in places.assigned if tp.topic in error.args]
            for tp in hidden:
                told = str(not_allowed(Right.READ, f"topic {tp.topic}"))
                places.refuse(tp, Reason(ReasonKind.NOT_ALLOWED, told))
            if not hidden:
                await self._back_off("intake.poll_refused", error)
            return {}
        except GroupAuthorizationFailedError:
            raise  # the client has given up the group; another session joins it when that is allowed
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
            self._note_missing(places.find_missing(), places.hidden)
            if await self._judge(places, places.assigned):
                await self._raise_if_stalled(places)
            self._recheck_at_s = boot_s() + self._pace.recheck_s
        elif places.unplaced and not self._unseen:
            await self._judge(places, places.unplaced)

    def _note_missing(self, unseen: frozenset[str], hidden: frozenset[str]) -> None:
        missing = unseen - hidden
        for topic in sorted(missing - self.missing):
            log.error("intake.topic_missing", topic=topic, do="run `ledger-worker topics apply`")
        for topic in sorted(hidden - self.hidden):
            log.error("intake.topic_hidden", why=str(not_allowed(Right.READ, f"topic {topic}")))
        self.missing, self.hidden = missing, hidden

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
            self.away = await why_unreachable(self._settings) or ""
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
            self._to_commit |= {Tp(*key): offset for key, offset in stored.items()}
            if self._committing is not None and self._committing.done():
                self._committing.result()  # what it does not expect ends the session
                self._committing = None
            self._committing = self._committing or asyncio.ensure_future(self._commit(places))

    async def _commit(self, places: Places) -> None:
        """Tell the group how far the store is, while the next batch is read; a refusal is noted and forgotten."""
        consumer = self.subscriber.consumer
        while consumer is not None and self._to_commit:
            stored, self._to_commit = self._to_commit, {}
            offsets = {tp: offset for tp, offset in stored.items() if tp in places.assigned}
            if not offsets:
                continue
            try:
                async with asyncio.timeout(self._pace.stop_deadline_s):
                    await consumer.commit(offsets)
            except (KafkaError, IllegalStateError, TimeoutError) as error:
                log.warning("intake.commit_refused", error=repr(error))

    async def close(self) -> None:
        """Commit what is stored and leave the group."""
        if self._committing is not None:
            await self._committing
        await self.broker.stop()

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

    def __init__(
        self,
        settings: KafkaSettings,
        port: Accept,
        pace: Pace | None = None,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._port = port
        self._pace = pace or Pace()
        self._is_full = is_full
        self._session: Session | None = None
        self._away = ""
        self._stopping = asyncio.Event()
        self._started_s = boot_s()

    @property
    def connected(self) -> bool:
        """Whether Kafka answered when last asked, a few seconds ago at most."""
        return self._session is not None and self._session.connected

    def renew(self, settings: KafkaSettings) -> None:
        """Connect anew with these settings' secrets and certificates; what is in hand is stored first. Raises SettingsError."""
        client_options(settings)
        self._settings = settings
        if self._session is not None:
            self._session.leave()

    @property
    def away(self) -> str:
        """Why Kafka is not read while it is not `connected`."""
        session = self._session
        told = "" if session is None else session.away
        return told or self._away or f"Kafka at {self._settings.kafka_bootstrap_servers} does not answer"

    @property
    def full(self) -> bool:
        """Whether nothing is read because too much waits already."""
        places = None if self._session is None else self._session.places
        return places is not None and places.held_back

    @property
    def last_poll_s(self) -> float:
        """When the poll loop last turned, on the boot clock; it turns at least once a minute even without Kafka."""
        return self._started_s if self._session is None else self._session.last_poll_s

    def refusals(self) -> Mapping[TopicPartition, Reason]:
        """Return the assigned partitions that are not read, and why."""
        places = None if self._session is None else self._session.places
        return {} if places is None else dict(places.refused)

    def missing_topics(self) -> frozenset[str]:
        """Return the command topics that do not exist: nothing of them is read."""
        return frozenset() if self._session is None else self._session.missing

    def hidden_topics(self) -> list[str]:
        """Return a sentence for each command topic that this user may not see: nothing of it is read."""
        hidden = frozenset() if self._session is None else self._session.hidden
        return [str(not_allowed(Right.READ, f"topic {topic}")) for topic in sorted(hidden)]

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
            except (KafkaError, OSError, TimeoutError, PartUnavailableError, TopicsError, SettingsError) as error:
                self._away = await self._why(error)
                log.warning("intake.session_ended", error=self._away)
                lasted = boot_s() - began_s > self._pace.start_deadline_s
                refusals_in_row = 0 if lasted else refusals_in_row + 1
                await self._wait(min(self._pace.back_off_max_s, self._pace.back_off_min_s * 2**refusals_in_row))

    async def _why(self, error: Exception) -> str:
        """Say why a session ended; SettingsError is a file that was read at the start and cannot be read now."""
        if isinstance(error, GroupAuthorizationFailedError):
            return str(not_allowed(Right.READ, f"group {self._settings.kafka_group_id}"))
        if isinstance(error, PartUnavailableError | TopicsError | SettingsError):
            return str(error)
        return await why_unreachable(self._settings) or str(error) or repr(error)

    async def _run_session(self) -> None:
        self._session = session = Session(self._settings, self._port, self._pace, self._is_full)
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
                await session.close()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("intake.stop_unclean", error=repr(error))

    async def _wait(self, ceiling_s: float) -> None:
        try:
            async with asyncio.timeout(jitter(ceiling_s / 2, ceiling_s)):
                await self._stopping.wait()
        except TimeoutError:
            return
