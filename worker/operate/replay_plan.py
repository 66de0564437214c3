"""Reads a range of a command topic again and says what each record would be today; only the plan is stored.

Nothing is kept of a record but its share of the sums, so a range may be of any length.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.commands import ADJUSTMENTS, FREEZES, ORDERS
from schemas.times import written
from worker import clock
from worker.errors import NothingMatchedError, TopicsError
from worker.kafka.past import Past, open_past
from worker.ledger.commands import Command, Malformed, Refusal
from worker.ledger.positions import Position, TopicPartition
from worker.ledger.records import RawRecord
from worker.ledger.replays import Class, Hours, KnownId, Sums, classify, overlap
from worker.operate.remember import check_places
from worker.pipeline.check import TopicTypes, check
from worker.settings import Settings
from worker.store.adoptions import read_now
from worker.store.engine import transaction
from worker.store.offsets import read_positions
from worker.store.replays import Plan, save_plan
from worker.store.standing import read_ids, read_records, read_skipped

Bound = int | datetime
"""An offset, or an instant by the records' own timestamps."""
Advance = Callable[[int, int], None]
"""Told how many offsets were passed, of how many."""

CHUNK = 500
SEEN_MAX = 50_000
"""Ids of skipped records that are remembered, so that one that comes twice is counted once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read again: `start` and `end` are of each partition, `end` itself is left out."""

    topic: str
    partition: int | None = None
    start: Bound | None = None
    end: Bound | None = None
    account_no: str | None = None
    command_type: str | None = None
    ids: frozenset[UUID] | None = None

    def filters(self) -> dict[str, Any]:
        """Return them for people and for the run; the ids are kept apart."""
        return {
            "partition": self.partition,
            "from": written(self.start) if isinstance(self.start, datetime) else self.start,
            "to": written(self.end) if isinstance(self.end, datetime) else self.end,
            "account": self.account_no,
            "type": self.command_type,
            "ids": None if self.ids is None else len(self.ids),
        }


@dataclass(frozen=True, slots=True)
class Filters:
    """Which records of a range are meant; one whose identity cannot be read is meant only where nothing is filtered."""

    account_no: str | None
    command_type: str | None
    ids: frozenset[UUID] | None

    def mean(self, judged: Command | Refusal | Malformed) -> bool:
        """Whether this record is meant."""
        if self.account_no is None and self.command_type is None and self.ids is None:
            return True
        if isinstance(judged, Malformed):
            return False
        return (
            self.account_no in (None, judged.account_no)
            and self.command_type in (None, judged.command_type)
            and (self.ids is None or judged.command_id in self.ids)
        )


def filters_of(plan: Plan) -> Filters:
    """Return the filters that a plan was made with."""
    return Filters(plan.filters.get("account"), plan.filters.get("type"), plan.ids)


def types_of(settings: Settings) -> TopicTypes:
    """Return the command types that belong on each command topic."""
    return dict(zip(settings.command_topics, (ADJUSTMENTS, FREEZES, ORDERS), strict=True))


@dataclass(slots=True)
class Range:
    """The part of one partition that a plan covers, and what was found at its ends."""

    place: TopicPartition
    epoch: int
    next_offset: int
    start: int
    end: int
    skipped: list[tuple[int, int]]
    ends: list[tuple[int, str]] = field(default_factory=list)

    def see(self, record: RawRecord) -> None:
        """Keep the first and the last record in mind, to tell a topic that was made again."""
        self.ends = [*self.ends[:1], (record.offset, record.digest().hex())]

    def row(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {
            "partition": self.place[1],
            "epoch": self.epoch,
            "from_offset": self.start,
            "to_offset": self.end,
            "skipped": self.skipped,
            "ends": self.ends,
        }


async def plan_replay(engine: AsyncEngine, settings: Settings, wanted: Wanted, advance: Advance) -> Plan:
    """Read the range, say what it holds, and store that as a plan.

    Raises RefusedByGuardError where the topic is not the one that was read, NothingMatchedError where no record matches.
    """
    async with transaction(engine) as connection:
        positions = {p: at for p, at in (await read_positions(connection)).items() if p[0] == wanted.topic}
        skipped = await read_skipped(connection, wanted.topic)
        hours = Hours(await read_now(connection), settings.expires_ahead_min_s)
    await check_places(settings, positions, "`ledger-worker replay plan` afterwards")
    filters = Filters(wanted.account_no, wanted.command_type, wanted.ids)
    planning = _Planning(engine, types_of(settings), filters, hours)
    async with open_past(settings) as past:
        ranges = await _ranges(past, wanted, positions, skipped)
        total, passed = sum(one.end - one.start for one in ranges), 0
        for one in ranges:
            async for chunk in chunks(past, one.place, one.start, one.end):
                await planning.look(one, chunk)
                advance(passed + chunk[-1].offset + 1 - one.start, total)
            passed += one.end - one.start
    sums = planning.sums
    if not sums.records:
        raise NothingMatchedError(f"no record of that range of {wanted.topic} matches")
    plan = Plan(
        clock.new_id(),
        settings.actor,
        wanted.topic,
        wanted.filters(),
        wanted.ids,
        [one.row() for one in ranges],
        sums.shown(),
        sums.records,
        sums.to_feed,
        sums.by_class[Class.FORGOTTEN].count,
    )
    async with transaction(engine) as connection:
        await save_plan(connection, plan)
    return plan


async def chunks(past: Past, place: TopicPartition, start: int, end: int) -> AsyncIterator[list[RawRecord]]:
    """Read a partition a few hundred records at a time; none of them is empty."""
    async for records in past.stream(place, start, end):
        for at in range(0, len(records), CHUNK):
            yield records[at : at + CHUNK]


async def _ranges(
    past: Past,
    wanted: Wanted,
    positions: Mapping[TopicPartition, Position],
    skipped: Mapping[tuple[int, int], list[tuple[int, int]]],
) -> list[Range]:
    spans = await past.ends([wanted.topic])
    if not spans:
        raise TopicsError(f"topic {wanted.topic} does not exist: run `ledger-worker topics apply`")
    chosen = [place for place in sorted(spans) if wanted.partition in (None, place[1])]
    if not chosen:
        raise NothingMatchedError(f"{wanted.topic} has no partition {wanted.partition}")
    starts = await _bounds(past, chosen, wanted.start)
    ends = await _bounds(past, chosen, wanted.end)
    ranges = []
    for place in chosen:
        log_start, log_end = spans[place]
        start = max(log_start, starts.get(place, log_start)) if wanted.start is None or place in starts else log_end
        end = min(log_end, ends.get(place, log_end))
        position = positions.get(place, Position(log_start, epoch=1))
        if start < end:
            held = overlap(skipped.get((place[1], position.epoch), []), start, end)
            ranges.append(Range(place, position.epoch, position.next_offset, start, end, held))
    return ranges


async def _bounds(past: Past, places: Sequence[TopicPartition], bound: Bound | None) -> dict[TopicPartition, int]:
    """Return the offset of a bound in each partition; without one where no record is as young."""
    if bound is None:
        return {}
    if isinstance(bound, int):
        return dict.fromkeys(places, bound)
    return {place: at for place, at in (await past.offsets_at(places, bound)).items() if at is not None}


class _Planning:
    """Sums up a range, chunk by chunk."""

    def __init__(self, engine: AsyncEngine, types: TopicTypes, filters: Filters, hours: Hours) -> None:
        self._engine, self._types, self._filters, self._hours = engine, types, filters, hours
        self._seen: dict[UUID, KnownId] = {}
        self.sums = Sums()

    async def look(self, one: Range, chunk: Sequence[RawRecord]) -> None:
        one.see(chunk[0])
        one.see(chunk[-1])
        judged = [(record, check(record, self._types)) for record in chunk]
        meant = [(record, found) for record, found in judged if self._filters.mean(found)]
        async with transaction(self._engine) as connection:
            stored = await read_records(connection, one.place, one.epoch, [record.offset for record, _ in meant])
            ids = {j.command_id for _, j in meant if not isinstance(j, Malformed)}
            known = {id_: self._seen[id_] for id_ in ids & self._seen.keys()} | await read_ids(connection, ids)
        for _, found, class_, fed in classified(meant, one, stored, known, self._hours):
            self.sums.add(class_, found, fed=fed)
            if fed and not isinstance(found, Malformed) and len(self._seen) < SEEN_MAX:
                self._seen.setdefault(found.command_id, KnownId(found.account_no, found.content_hash, ended=False))


def classified(
    judged: Sequence[tuple[RawRecord, Command | Refusal | Malformed]],
    one: Range,
    stored: Mapping[int, Any],
    known: Mapping[UUID, KnownId],
    hours: Hours,
) -> Iterator[tuple[RawRecord, Command | Refusal | Malformed, Class, bool]]:
    """Say of each record what it would be today; one that comes a second time is in flight by then."""
    ids = dict(known)
    for record, found in judged:
        class_, fed = classify(
            found,
            is_read=record.offset < one.next_offset,
            is_skipped=any(a <= record.offset < b for a, b in one.skipped),
            record=stored.get(record.offset),
            known=None if isinstance(found, Malformed) else ids.get(found.command_id),
            hours=hours,
        )
        if fed and not isinstance(found, Malformed):
            ids.setdefault(found.command_id, KnownId(found.account_no, found.content_hash, ended=False))
        yield record, found, class_, fed
