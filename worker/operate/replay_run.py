"""Feeds what a plan found skipped, as intake would have stored it; a run that was interrupted goes on where it was.

How far it has come is stored in the database transaction that stores the records, so no record is fed twice or left out.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker import clock
from worker.errors import DataRefusedError, NothingMatchedError, RefusedByGuardError
from worker.kafka.past import Past, open_past
from worker.ledger.commands import Malformed
from worker.ledger.positions import TopicPartition
from worker.ledger.replays import Hours, overlap
from worker.operate.pace import Pace
from worker.operate.remember import check_places
from worker.operate.replay_plan import Advance, Range, chunks, classified, filters_of, types_of
from worker.pipeline.check import check
from worker.settings import Settings
from worker.store.adoptions import read_now
from worker.store.audit import Action, note
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.feed import feed_batch
from worker.store.forgotten import read_forgotten_feeds
from worker.store.inbox import Judged, Options
from worker.store.offsets import read_positions
from worker.store.replays import (
    FEED,
    Plan,
    Run,
    begin_run,
    move_run,
    only_run,
    read_plan,
    read_run,
)
from worker.store.standing import epoch_of, read_ids, read_records, read_skipped
from worker.whale.operations import REGISTRY

Confirm = Callable[[str], None]
"""Asked with one sentence before anything is changed; raises where the answer is no."""


@dataclass(frozen=True, slots=True)
class How:
    """Who runs a plan, why, how fast, and who is asked and told meanwhile."""

    actor: str
    reason: str
    rate: float | None
    confirm: Confirm
    advance: Advance


async def find_plan(engine: AsyncEngine, plan_id: UUID) -> Plan:
    """Read a plan that may be run. Raises NothingMatchedError, and RefusedByGuardError where the database has forgotten."""
    async with transaction(engine) as connection:
        plan = await read_plan(connection, plan_id)
    if plan is None:
        raise NothingMatchedError(f"no plan has the id {plan_id}; see `ledger-worker replay list`")
    if plan.forgotten:
        raise RefusedByGuardError(
            f"{plan.forgotten} records of plan {plan_id} were read once and the database has forgotten them; "
            "`ledger-worker recover --whole` comes first (docs/runbooks/restored-database.md), then plan again"
        )
    return plan


async def note_run(
    connection: AsyncConnection, plan: Plan, how: How, action: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Write the audit of a run's beginning, of a batch, or of its end."""
    facts = Facts()
    noted = Action(how.actor, action, how.reason, str(plan.plan_id), before, {"topic": plan.topic, **after})
    note(facts, clock.new_id(), noted, await read_now(connection))
    await facts.write(connection)


async def feed_plan(engine: AsyncEngine, settings: Settings, plan_id: UUID, how: How) -> dict[str, Any]:
    """Feed what is left to feed and return what became of it, in numbers.

    Raises NothingMatchedError where nothing is left, RefusedByGuardError where the plan no longer holds, another runs it,
    or the answer is no.
    """
    plan = await find_plan(engine, plan_id)
    async with only_run(engine, plan_id):
        async with transaction(engine) as connection:
            run = await read_run(connection, plan_id, FEED)
        if not plan.to_feed or (run is not None and run.ended_at is not None):
            raise NothingMatchedError(f"plan {plan_id} has nothing to feed{'' if run is None else ' any more'}")
        async with open_past(settings) as past:
            left = await _Holding(engine, settings, plan, run).check(past)
            already = sum(run.counts.values()) if run else 0
            how.confirm(
                f"This feeds {plan.to_feed} records of {plan.topic} that nobody has read, {already} of them done already; "
                "what is right among them will be sent to the brokerage."
            )
            feeding = _Feeding(engine, settings, plan, how)
            await feeding.begin()
            return await feeding.feed(past, left)


class _Holding:
    """Whether what the plan says of the topic is still so."""

    def __init__(self, engine: AsyncEngine, settings: Settings, plan: Plan, run: Run | None) -> None:
        self._engine, self._settings, self._plan = engine, settings, plan
        self._progress = {} if run is None else run.progress

    async def check(self, past: Past) -> list[Range]:
        """Return what is left to feed, partition by partition. Raises RefusedByGuardError where the plan does not hold."""
        topic = self._plan.topic
        async with transaction(self._engine) as connection:
            positions = {p: at for p, at in (await read_positions(connection)).items() if p[0] == topic}
            skipped = await read_skipped(connection, topic)
            fed = await read_forgotten_feeds(connection, topic)
        await check_places(self._settings, positions, "`ledger-worker replay plan` afterwards")
        spans = await past.ends([topic])
        left = []
        for row in self._plan.ranges:
            place, epoch = (topic, row["partition"]), row["epoch"]
            log_start, log_end = spans.get(place, (0, 0))
            begin = self._progress.get(str(place[1]), row["from_offset"])
            planned = overlap([(a, b) for a, b in row["skipped"]], begin, row["to_offset"])
            if self._progress and not planned:
                continue  # nothing more is read there
            position = positions.get(place)
            if planned and (position is None or position.epoch != epoch):
                self._refuse(place, "was made again since")
            if log_start > begin:
                self._refuse(place, f"no longer has offsets {begin} to {log_start - 1}")
            if log_end < row["to_offset"]:
                self._refuse(place, f"ends at offset {log_end}, before offset {row['to_offset']}: it was made again")
            now = overlap(skipped.get((place[1], epoch), []), begin, row["to_offset"])
            if now != planned:
                self._refuse(place, "has other ranges that were passed over than when it was planned")
            for first, last in fed.get(place[1], []):
                if overlap(planned, first, last + 1):
                    raise RefusedByGuardError(
                        f"{topic}[{place[1]}] offsets {first} to {last} were fed before the database was restored, which has "
                        "forgotten it: they may have been sent. Plan ranges without them, by --from and --to; what became of "
                        "those tell the outcomes and `ledger-worker reconcile`"
                    )
            await self._check_ends(past, place, row["ends"], begin)
            if position is not None and planned:
                left.append(Range(place, epoch, position.next_offset, begin, row["to_offset"], planned))
        return left

    async def _check_ends(self, past: Past, place: TopicPartition, ends: Sequence[Any], begin: int) -> None:
        for offset, digest in ends:
            there = await past.read_one(place, offset) if offset >= begin else None
            if offset >= begin and (there is None or there.digest().hex() != digest):
                self._refuse(
                    place, f"has another record at offset {offset} than when it was planned: it was made again"
                )

    def _refuse(self, place: TopicPartition, why: str) -> None:
        plan = f"plan {self._plan.plan_id} no longer holds"
        raise RefusedByGuardError(f"{plan}: {place[0]}[{place[1]}] {why}; plan again with `ledger-worker replay plan`")


class _Feeding:
    """One run under way."""

    def __init__(self, engine: AsyncEngine, settings: Settings, plan: Plan, how: How) -> None:
        self._engine, self._settings, self._plan, self._how = engine, settings, plan, how
        self._types, self._filters = types_of(settings), filters_of(plan)
        urgent = frozenset(name for name, operation in REGISTRY.items() if operation.urgent)
        self._options = Options(urgent, settings.refusals_in_row_max, settings.accepted_notice)
        self._run = Run({}, {}, None)

    async def begin(self) -> None:
        """Begin or go on, with its audit."""
        plan = self._plan
        async with transaction(self._engine) as connection:
            await begin_run(connection, plan.plan_id, FEED, self._how.actor, self._how.reason)
            self._run = await read_run(connection, plan.plan_id, FEED) or self._run
            before = {"progress": self._run.progress, **self._run.counts}
            await note_run(connection, plan, self._how, "replay.run", before, {"to_feed": plan.to_feed})

    async def feed(self, past: Past, left: Sequence[Range]) -> dict[str, Any]:
        """Feed what is left and end the run."""
        pace = Pace(self._how.rate)
        total = sum(b - a for one in left for a, b in one.skipped)
        passed = 0
        for one in left:
            for start, end in one.skipped:
                async for records in chunks(past, one.place, start, end):
                    for part in pace.parts(records):
                        fed = await self._store(one, [(record, check(record, self._types)) for record in part])
                        passed += len(part)
                        self._how.advance(passed, total)
                        await pace.after(fed)
        counts = self._run.counts
        async with transaction(self._engine) as connection:
            await move_run(connection, self._plan.plan_id, FEED, self._run, self._run, ends=True)
            await note_run(connection, self._plan, self._how, "replay.end", {"to_feed": self._plan.to_feed}, counts)
        return dict(counts)

    async def _store(self, one: Range, batch: Sequence[Judged]) -> int:
        """Store a batch; where the database refuses it for its data, halve it until the culprit stands alone."""
        try:
            return await self._store_at_once(one, batch)
        except DataRefusedError as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                return await self._store(one, batch[:middle]) + await self._store(one, batch[middle:])
            record, judged = batch[0]
            if isinstance(judged, Malformed) and judged.reason == "QUARANTINED":
                raise
            return await self._store_at_once(one, [(record, Malformed("QUARANTINED", str(error)))])

    async def _store_at_once(self, one: Range, batch: Sequence[Judged]) -> int:
        plan_id, before = self._plan.plan_id, self._run
        meant = [(record, judged) for record, judged in batch if self._is_meant(judged)]
        progress = before.progress | {str(one.place[1]): batch[-1][0].offset + 1}
        async with transaction(self._engine) as connection:
            await move_run(connection, plan_id, FEED, before, replace(before, progress=progress))
            if await epoch_of(connection, one.place) != one.epoch:
                raise RefusedByGuardError(f"{one.place[0]}[{one.place[1]}] was adopted as another topic meanwhile")
            fed = await self._unknown(connection, one, meant)
            found = await feed_batch(connection, fed, {one.place: one.epoch}, self._options)
            counts = Counter(before.counts) + Counter(found.values()) + Counter(known=len(meant) - len(fed))
            after = Run(progress, dict(counts), None)
            await move_run(connection, plan_id, FEED, replace(before, progress=progress), after)
            if fed:
                range_ = {"partition": one.place[1], "from": fed[0][0].offset, "to": fed[-1][0].offset}
                await note_run(connection, self._plan, self._how, "replay.feed", range_, dict(Counter(found.values())))
        self._run = after
        return len(fed)

    def _is_meant(self, judged: Any) -> bool:  # noqa: ANN401 - of the three kinds, and of those quarantined here
        return self._filters.mean(judged) or (isinstance(judged, Malformed) and judged.reason == "QUARANTINED")

    async def _unknown(self, connection: AsyncConnection, one: Range, meant: Sequence[Judged]) -> list[Judged]:
        """Return those that nobody was told of by now: what is done stays as it is."""
        stored = await read_records(connection, one.place, one.epoch, [record.offset for record, _ in meant])
        known = await read_ids(connection, {j.command_id for _, j in meant if not isinstance(j, Malformed)})
        hours = Hours(await read_now(connection), self._settings.expires_ahead_min_s)
        return [(record, judged) for record, judged, _, fed in classified(meant, one, stored, known, hours) if fed]
