"""What Kafka remembers, read to compare it with what the database does: offsets of the group, and logs without a group.

Everything is read past aiokafka's own reader, which stops at a header name that is not UTF-8.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as refused
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition as Tp

from worker.clock import boot_s
from worker.errors import PartUnavailableError, RefusedByGuardError
from worker.kafka.dial import unreachable
from worker.kafka.ports import KafkaSettings
from worker.kafka.rights import Right, needing, not_allowed
from worker.kafka.security import client_options
from worker.kafka.tolerant import read_slice
from worker.ledger.positions import TopicPartition
from worker.ledger.records import RawRecord

FETCH_BYTES_MAX = 8_388_608
COORDINATOR_DEADLINE_S = 30.0
COORDINATOR_PAUSE_S = 0.2
NO_GROUP = ("Dead", "Empty")


class Past:
    """One connection's view; see `open_past`. Every method may raise PartUnavailableError through it."""

    def __init__(self, admin: AIOKafkaAdminClient, reader: AIOKafkaConsumer, group_id: str) -> None:
        self._admin, self._reader, self._group_id = admin, reader, group_id

    async def committed(self) -> dict[TopicPartition, int]:
        """Return the group's offsets, which intake commits only after the database has stored what lies before them."""
        with needing(Right.DESCRIBE, f"group {self._group_id}"):
            coordinator = await self._find_coordinator()
            found = await self._admin.list_consumer_group_offsets(self._group_id, coordinator)
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}

    async def members(self) -> int:
        """Count the members of the group: running intakes, and for ten seconds those that were killed."""
        with needing(Right.DESCRIBE, f"group {self._group_id}"):
            responses = await self._admin.describe_consumer_groups([self._group_id], await self._find_coordinator())
            groups = [group for response in responses for group in response.groups]
            for code, *_ in groups:
                if refused.for_code(code) is refused.GroupAuthorizationFailedError:
                    raise refused.GroupAuthorizationFailedError(self._group_id)
        return sum(len(members) for _, _, state, _, _, members, *_ in groups if state not in NO_GROUP)

    async def _find_coordinator(self) -> int:
        """Return the group's coordinator; a cluster that has just started appoints it when first asked."""
        give_up_at_s = boot_s() + COORDINATOR_DEADLINE_S
        while True:
            try:
                return int(await self._admin.find_coordinator(self._group_id))
            except (refused.GroupCoordinatorNotAvailableError, refused.GroupLoadInProgressError):
                if boot_s() > give_up_at_s:
                    raise
                await asyncio.sleep(COORDINATOR_PAUSE_S)

    async def ends(self, topics: Collection[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Return (log start, log end) of every partition; a topic that does not exist is left out."""
        described = existing(await self._admin.describe_topics(list(topics)))
        tps = [Tp(name, p["partition"]) for name, partitions in described.items() for p in partitions]
        starts, ends = await asyncio.gather(self._reader.beginning_offsets(tps), self._reader.end_offsets(tps))
        return {(tp.topic, tp.partition): (starts[tp], ends[tp]) for tp in tps}

    async def offsets_at(self, places: Collection[TopicPartition], at: datetime) -> dict[TopicPartition, int | None]:
        """Return per partition the first offset whose timestamp is not before `at`; None where none is."""
        at_ms = max(0, int(at.timestamp() * 1000))  # before 1970 aiokafka refuses, and no record lies there
        found = await self._reader.offsets_for_times({Tp(*place): at_ms for place in places})
        return {(tp.topic, tp.partition): None if seen is None else seen.offset for tp, seen in found.items()}

    async def read(self, place: TopicPartition, start: int, end: int) -> list[RawRecord]:
        """Read a partition from `start` up to `end`, both within its log; all of it is kept in memory."""
        return [record async for records in self.stream(place, start, end) for record in records]

    async def read_one(self, place: TopicPartition, offset: int) -> RawRecord | None:
        """Read the record at an offset within the log; None where there is none, as of an aborted Kafka transaction."""
        found = [record async for records in self.stream(place, offset, offset + 1) for record in records]
        return found[0] if found else None

    async def stream(self, place: TopicPartition, start: int, end: int) -> AsyncIterator[list[RawRecord]]:
        """Read likewise, a fetch at a time. RefusedByGuardError where the log has lost what is asked for."""
        topic, partition = place
        at = start
        while at < end:
            try:
                with needing(Right.READ, f"topic {topic}"):
                    seen = await read_slice(self._reader._client, topic, partition, at, FETCH_BYTES_MAX)  # noqa: SLF001
            except refused.OffsetOutOfRangeError as error:
                raise RefusedByGuardError(f"{topic}[{partition}] no longer has offset {at}; begin again") from error
            if seen.next_offset <= at:
                raise PartUnavailableError(
                    f"{topic}[{partition}] gives nothing at offset {at}, though it ends at {end}"
                )
            yield [record for record in seen.records if record.offset < end]
            at = seen.next_offset


def existing(described: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the partitions per topic of those that exist; an error where the broker refuses to say whether one does.

    RightMissingError where we may not know, KafkaError where it cannot say now.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for topic in described:
        error = refused.for_code(topic["error_code"])
        if error is refused.NoError:
            found[topic["topic"]] = topic["partitions"]
        elif error is refused.TopicAuthorizationFailedError:
            raise not_allowed(Right.DESCRIBE, f"topic {topic['topic']}")
        elif error is not refused.UnknownTopicOrPartitionError:
            raise error(topic["topic"])
    return found


@asynccontextmanager
async def open_past(settings: KafkaSettings) -> AsyncIterator[Past]:
    """Connect for the time of the block. PartUnavailableError says why it does not, RightMissingError what is not allowed."""
    options: dict[str, Any] = client_options(settings)
    admin = AIOKafkaAdminClient(**options)
    reader = AIOKafkaConsumer(
        **options, group_id=None, enable_auto_commit=False, auto_offset_reset="none", isolation_level="read_committed"
    )
    try:
        try:
            await admin.start()
            await reader.start()
            yield Past(admin, reader, settings.kafka_group_id)
        except (refused.KafkaError, OSError, TimeoutError) as error:
            raise await unreachable(settings, error) from error
    finally:
        await reader.stop()
        await admin.close()
