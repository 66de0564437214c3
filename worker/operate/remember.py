"""Reads what Kafka remembers and the database may not: records, outcomes and dead letters, up to their ends of now."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from heapq import merge
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.dead_letters import ORIGINAL_OFFSET, ORIGINAL_PARTITION, ORIGINAL_TOPIC
from worker.errors import RefusedByGuardError
from worker.kafka.past import Past
from worker.kafka.topics import open_topics
from worker.ledger.heard import Heard, hear
from worker.ledger.positions import Position, TopicPartition
from worker.ledger.records import RawRecord
from worker.ledger.retention import Aged
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.offsets import read_positions
from worker.store.pruning import read_pruned
from worker.store.recall import Place
from worker.store.recalled import known_events, last_published, stored_offsets

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What Kafka has. `records` are unknown to the database, those of one partition in their sequence.

    `earliest_ms` is, by record, the earliest instant at which a call can have been made for it: its timestamp, or that
    of a later record of its partition where that is lower, in milliseconds since 1970.
    """

    positions: Mapping[TopicPartition, Position]
    ends: Mapping[TopicPartition, int]
    lasts: Mapping[TopicPartition, RawRecord]
    records: list[RawRecord] = field(default_factory=list)
    earliest_ms: dict[Place, int] = field(default_factory=dict)
    heard: dict[UUID, Heard] = field(default_factory=dict)
    letters: dict[Place, RawRecord] = field(default_factory=dict)
    audit: list[RawRecord] = field(default_factory=list)


async def check_stopped(settings: Settings, past: Past) -> None:
    """Raise RefusedByGuardError while an intake runs, for what it stores meanwhile would be overlooked."""
    members = await past.members()
    if members:
        raise RefusedByGuardError(
            f"{members} workers still read as group {settings.kafka_group_id}; stop every worker, on every machine, "
            "also one that still reaches the old database; one that was killed leaves the group after 10 s"
        )


async def remember(engine: AsyncEngine, settings: Settings, past: Past, say: Say, *, whole: bool) -> Remembered:
    """Read it all; `whole` looks for unknown records below the stored offsets too, from each log's start.

    Raises RefusedByGuardError where a stored place does not hold: `topics adopt` comes first.
    """
    async with transaction(engine) as connection:
        stored = await read_positions(connection)
        published = await last_published(connection)
    await check_places(settings, stored, "`ledger-worker recover` afterwards")
    written = [settings.topic_outcomes, settings.topic_dead_letters, settings.topic_audit]
    ends = await past.ends([*settings.command_topics, *written])
    ours = {place: span for place, span in ends.items() if place[0] in settings.command_topics}
    lasts: dict[TopicPartition, RawRecord] = {}
    remembered = Remembered(stored, {place: end for place, (_, end) in ours.items()}, lasts)
    partitions: list[list[RawRecord]] = []
    for place, (log_start, end) in sorted(ours.items()):
        begin = stored[place].next_offset if place in stored else log_start
        start = log_start if whole else max(begin, log_start)
        records = await past.read(place, start, end) if start < end else []
        known = await _known(engine, place, stored, records, begin) if whole and place in stored else set()
        if records and records[-1].offset >= begin:
            lasts[place] = records[-1]
        partitions.append([record for record in records if record.offset not in known])
    # between partitions nobody knows any more what was accepted first; their clocks say it best
    remembered.records.extend(merge(*partitions, key=lambda record: record.timestamp_ms))
    for records in partitions:
        date(remembered.earliest_ms, records)
    say(f"read {len(remembered.records)} records of the command topics that the database does not know")
    await _hear_outcomes(past, settings, ends, published, remembered)
    await _leave_out_pruned(engine, remembered.heard)
    say(f"read {len(remembered.heard)} outcomes at the end of {settings.topic_outcomes}")
    await _find_letters(past, settings, ends, remembered)
    for place, (log_start, end) in sorted(ends.items()):
        if place[0] == settings.topic_audit:
            remembered.audit.extend(await past.read(place, log_start, end))
    return remembered


async def check_places(settings: Settings, stored: Mapping[TopicPartition, Position], then: str) -> None:
    """Raise RefusedByGuardError where a stored place of a command topic does not hold; `then` says what comes after."""
    # that a partition was stopped must not hide that its place no longer holds
    ours = {p: replace(at, stopped_reason=None) for p, at in stored.items() if p[0] in settings.command_topics}
    if not ours:
        return
    async with open_topics(settings) as topics:
        reasons = list((await topics.inspect(ours)).values())
    if reasons:
        raise RefusedByGuardError(f"{reasons[0].sentence}; that comes first, {then}")


async def _known(
    engine: AsyncEngine,
    place: TopicPartition,
    stored: Mapping[TopicPartition, Position],
    records: Collection[RawRecord],
    begin: int,
) -> set[int]:
    async with transaction(engine) as connection:
        known = await stored_offsets(connection, place[0], stored[place].epoch, place[1])
    return {record.offset for record in records if record.offset < begin and record.offset in known}


def date(earliest_ms: dict[Place, int], records: Collection[RawRecord]) -> None:
    """Note from when on each record can have been sent; no clock that ran ahead counts where a later record's is lower."""
    lowest: int | None = None
    for record in reversed(list(records)):
        lowest = record.timestamp_ms if lowest is None else min(lowest, record.timestamp_ms)
        earliest_ms[record.topic, record.partition, record.offset] = lowest


async def _hear_outcomes(
    past: Past,
    settings: Settings,
    ends: Mapping[TopicPartition, tuple[int, int]],
    published: Mapping[int, tuple[int, UUID]],
    remembered: Remembered,
) -> None:
    """Read each partition behind what the database knows to be published there, if it is there; else all of it."""
    for place, (log_start, end) in sorted(ends.items()):
        if place[0] != settings.topic_outcomes:
            continue
        start = log_start
        offset, event_id = published.get(place[1], (-1, None))
        if log_start <= offset < end:
            there = await past.read(place, offset, offset + 1)
            if there and (last := hear(there[0])) is not None and last.event_id == event_id:
                start = offset + 1
        for record in await past.read(place, start, end):
            told = hear(record)
            if told is not None:
                remembered.heard.setdefault(told.event_id, told)


async def _leave_out_pruned(engine: AsyncEngine, heard: dict[UUID, Heard]) -> None:
    """Leave out what the database lacks because it was pruned there: that is not forgotten."""
    async with transaction(engine) as connection:
        pruned = (await read_pruned(connection)).get(Aged.OUTCOMES)
        old = [key for key, one in heard.items() if pruned is not None and one.recorded_at < pruned.before_at]
        known = await known_events(connection, old)
    for key in set(old) - known:
        del heard[key]


async def _find_letters(
    past: Past, settings: Settings, ends: Mapping[TopicPartition, tuple[int, int]], remembered: Remembered
) -> None:
    """Find which of the records are dead letters already, by the place that each dead letter names in its last headers."""
    if not remembered.records:
        return
    wanted = set(remembered.earliest_ms)
    for place, (log_start, end) in sorted(ends.items()):
        if place[0] != settings.topic_dead_letters:
            continue
        for letter in await past.read(place, log_start, end):
            named = dict(letter.headers)
            try:
                topic = (named[ORIGINAL_TOPIC.encode()] or b"").decode()
                numbers = (int(named[name.encode()] or b"") for name in (ORIGINAL_PARTITION, ORIGINAL_OFFSET))
                at: Place = (topic, *numbers)  # type: ignore[assignment]
            except (KeyError, ValueError):
                continue  # not one of ours
            if at in wanted:
                remembered.letters.setdefault(at, letter)
