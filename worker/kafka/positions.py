"""Where reading goes on after an assignment: Postgres says it, the log must bear it out, else the partition waits.

aiokafka swallows what a rebalance listener raises and starts fetching at the group's own offsets meanwhile. So there is
no listener: before and after every poll the assignment is compared with the one that was placed, and records of
partitions that are not placed are dropped (they are read again from the right place).
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, IllegalStateError, KafkaError
from aiokafka.structs import TopicPartition as Tp

from worker.clock import boot_s
from worker.kafka.ports import Accept
from worker.kafka.tolerant import Slice, read_slice
from worker.ledger.positions import Position, Reason, ReasonKind, TopicPartition, judge_position, last_is_kept
from worker.ledger.records import RawRecord

LOOK_BYTES_MAX = 1_048_576
LOOK_DEADLINE_S = 5.0
LOOKS_AT_ONCE = 8

Sight = tuple[Tp, Position | None, int, int, bytes | None]
"""A partition, what is stored of it, where its log begins and ends, and the digest of the last record that is stored."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Place:
    """A partition that is being read. `next_offset` is what the store holds; `moved_s` when reading last moved on."""

    next_offset: int
    read_up_to: int
    moved_s: float


class Places:
    """The partitions of one consumer: placed, refused with a reason, or not yet looked at."""

    def __init__(self, consumer: AIOKafkaConsumer, port: Accept) -> None:
        self._consumer = consumer
        self._port = port
        self._assignment: object = None
        self._placed: dict[Tp, Place] = {}
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)
        self.held_back = False
        self.refused: dict[TopicPartition, Reason] = {}
        self.lags: dict[TopicPartition, int] = {}

    @property
    def assigned(self) -> frozenset[Tp]:
        """The partitions that this consumer holds now."""
        return frozenset(self._consumer.assignment())

    @property
    def placed(self) -> tuple[Tp, ...]:
        """The partitions that are being read."""
        return tuple(self._placed)

    def is_current(self) -> bool:
        """Tell whether the assignment is still the one that was placed."""
        return self._assignment is not None and self._assignment is self._present()

    def _present(self) -> object:
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 - the only mark that tells two
        assignment = None if subscription is None else subscription.assignment  # assignments of one partition apart
        return assignment if assignment is not None and assignment.active else None

    def take_assignment(self) -> bool:
        """Forget all places if the assignment is another; every partition is paused until it is placed."""
        present = self._present()
        if present is None or present is self._assignment:
            return False
        self._assignment = present
        self._placed.clear()
        self.refused.clear()
        self.lags.clear()
        for tp in self.assigned:
            self._consumer.pause(tp)
            # Any position will do while it is paused; without one the client asks for the group's own, and where there
            # is none every poll of every partition raises.
            self._consumer.seek(tp, 0)
        return True

    def find_missing(self) -> frozenset[str]:
        """Return the subscribed topics that the cluster does not show, and ask it again: the client would wait long."""
        missing = frozenset(t for t in self._consumer.subscription() if not self._consumer.partitions_for_topic(t))
        if missing:
            self._consumer._client.force_metadata_update()  # noqa: SLF001
        return missing

    @property
    def hidden(self) -> frozenset[str]:
        """The subscribed topics that this user may not see."""
        return frozenset(self._consumer._client.cluster.unauthorized_topics & self._consumer.subscription())  # noqa: SLF001

    @property
    def unplaced(self) -> frozenset[Tp]:
        """Assigned partitions that were neither placed nor refused."""
        return frozenset(tp for tp in self.assigned if tp not in self._placed and tuple(tp) not in self.refused)

    async def judge(self, partitions: Collection[Tp]) -> dict[str, Exception]:
        """Look at each partition's stored position and log; place it, leave it placed, or refuse it.

        Returns by topic what kept it from being looked at: one topic that does not answer holds up no other. Raises
        what the port raises; then nothing has changed.
        """
        if not partitions:
            return {}
        assignment = self._assignment
        stored = await self._port.positions([(tp.topic, tp.partition) for tp in partitions])
        topics = sorted({tp.topic for tp in partitions})
        sights = await asyncio.gather(
            *(self._see([tp for tp in partitions if tp.topic == name], stored) for name in topics),
            return_exceptions=True,
        )
        # all are seen before one is read: what is asked of Kafka waits behind the client's fetch, half a second where
        # there is nothing, and so do the records of whatever is placed later
        unseen: dict[str, Exception] = {}
        for name, seen in zip(topics, sights, strict=True):
            if isinstance(seen, KafkaError | TimeoutError):
                unseen[name] = seen
            elif isinstance(seen, BaseException):
                raise seen
            elif assignment is self._present():
                for one in seen:
                    self._decide(*one)
        return unseen

    async def _see(self, partitions: Collection[Tp], stored: Mapping[TopicPartition, Position]) -> list[Sight]:
        """Look at the partitions of one topic. Raises KafkaError and TimeoutError."""
        async with asyncio.timeout(LOOK_DEADLINE_S):
            starts, ends = await asyncio.gather(
                self._consumer.beginning_offsets(partitions), self._consumer.end_offsets(partitions)
            )
            found = [(tp, stored.get((tp.topic, tp.partition)), starts[tp], ends[tp]) for tp in sorted(partitions)]
            digests = await asyncio.gather(*(self._digest(*one) for one in found))
        return [(*one, digest) for one, digest in zip(found, digests, strict=True)]

    async def _digest(self, tp: Tp, position: Position | None, start: int, end: int) -> bytes | None:
        if position is None or position.last_offset is None or not last_is_kept(position, start, end):
            return None
        if tp in self._placed:
            return position.last_digest  # compared when it was placed; the log is append-only since
        async with self._looking:
            seen = await self.look(tp, position.last_offset)
        return next((r.digest() for r in seen.records if r.offset == position.last_offset), None)

    async def look(self, tp: Tp, offset: int) -> Slice:
        """Read what lies at `offset` past aiokafka's own reader. Raises KafkaError."""
        return await read_slice(self._consumer._client, tp.topic, tp.partition, offset, LOOK_BYTES_MAX)  # noqa: SLF001

    def _decide(self, tp: Tp, position: Position | None, start: int, end: int, digest: bytes | None) -> None:
        reason = judge_position(position, start, end, digest, f"{tp.topic}[{tp.partition}]")
        if reason is not None:
            self.refuse(tp, reason)
            return
        place = self._placed.get(tp)
        wanted = start if position is None else position.next_offset
        if place is None or (position is not None and place.next_offset != wanted):
            self._put(tp, wanted)
        self.lags[tp.topic, tp.partition] = max(0, end - wanted)

    def _put(self, tp: Tp, offset: int) -> None:
        self._consumer.seek(tp, offset)
        self._consumer.resume(tp)
        self._placed[tp] = Place(offset, offset, boot_s())
        self.refused.pop((tp.topic, tp.partition), None)
        log.debug("intake.placed", topic=tp.topic, partition=tp.partition, offset=offset)

    def refuse(self, tp: Tp, reason: Reason) -> None:
        """Stop reading a partition; the others go on."""
        if self.refused.get((tp.topic, tp.partition)) != reason:
            log.error(
                "intake.refused", topic=tp.topic, partition=tp.partition, kind=reason.kind, reason=reason.sentence
            )
        self.refused[tp.topic, tp.partition] = reason
        self._placed.pop(tp, None)
        if tp in self.assigned:
            self._consumer.pause(tp)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop reading these until they were judged again."""
        for key in partitions:
            tp = Tp(*key)
            self._placed.pop(tp, None)
            self.refused.pop(key, None)
            if tp in self.assigned:
                self._consumer.pause(tp)

    def rewind(self, partitions: Iterable[Tp] | None = None) -> None:
        """Seek back to what is stored, so that nothing which was fetched and not stored is lost."""
        for tp in self.placed if partitions is None else partitions:
            place = self._placed.get(tp)
            if place is None:
                continue
            try:
                self._consumer.seek(tp, place.next_offset)
            except IllegalStateError:  # no longer ours: its new owner places it
                self._placed.pop(tp, None)

    def admit(self, fetched: Mapping[Tp, Collection[RawRecord]]) -> dict[Tp, list[RawRecord]]:
        """Return the records that may be stored: of placed partitions, under the assignment that was placed."""
        if not self.is_current():
            return {}
        admitted = {tp: list(records) for tp, records in fetched.items() if records and tp in self._placed}
        for tp in admitted:
            self._placed[tp].moved_s = boot_s()
        return admitted

    def read_from(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the stored next offset of each that is placed."""
        return {key: self._placed[Tp(*key)].next_offset for key in partitions if Tp(*key) in self._placed}

    def advance(self, stored: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
        """Take over what the store now holds; where it stored less than the batch, judge and read again."""
        for key, offset in stored.items():
            place = self._placed.get(Tp(*key))
            if place is not None:
                place.next_offset, place.moved_s = offset, boot_s()
        self.forget(key for key, offset in stored.items() if offset != ends[key])

    def hold_back(self, *, full: bool) -> None:
        """Read nothing while the queue is full; the polls go on, and with them the membership of the group."""
        mine = [tp for tp in self._placed if tp in self.assigned]
        if full:
            self._consumer.pause(*mine)
            for tp in mine:
                self._placed[tp].moved_s = boot_s()  # nobody shall take it for a fetch that died
        elif self.held_back:
            self._consumer.resume(*mine)
        if full != self.held_back:
            log.warning("intake.full" if full else "intake.goes_on")
        self.held_back = full

    async def stalled(self, stall_s: float) -> list[Tp]:
        """Return placed partitions that have records to read and have not moved for `stall_s`."""
        found: list[Tp] = []
        for tp, place in list(self._placed.items()):
            async with asyncio.timeout(stall_s):
                at = await self._consumer.position(tp)
            behind = self.lags.get((tp.topic, tp.partition), 0) + place.next_offset > at
            if at != place.read_up_to or not behind:
                place.read_up_to, place.moved_s = at, boot_s()
            elif boot_s() - place.moved_s > stall_s:
                found.append(tp)
        return found


async def read_past(places: Places, records_max: int) -> dict[Tp, Slice]:
    """Read on at every placed partition past aiokafka's reader; refuse those whose batch is damaged. Raises KafkaError."""
    found: dict[Tp, Slice] = {}
    for key, offset in places.read_from((tp.topic, tp.partition) for tp in places.placed).items():
        tp = Tp(*key)
        try:
            seen = await places.look(tp, offset)
        except (CorruptRecordException, ValueError) as error:
            told = f"the records of {tp.topic}[{tp.partition}] at offset {offset} cannot be read: {error}"
            places.refuse(tp, Reason(ReasonKind.UNREADABLE, told))
            continue
        kept = seen.records[:records_max]
        records_max -= len(kept)
        whole = len(kept) == len(seen.records)
        found[tp] = Slice(kept, seen.next_offset if whole else kept[-1].offset + 1 if kept else offset)
        if records_max == 0:
            break
    return found
