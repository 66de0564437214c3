"""Accepts a topic as it is now, where it lost records that were not read, or was made again.

Until then intake refuses those partitions. Reading goes on at the log's start, or, at a person's word, at its end: what
lies before is passed over, and stays what a replay may feed as long as the topic has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.kafka.topics import open_topics
from worker.ledger.positions import Position, Reason, ReasonKind, TopicPartition
from worker.settings import Settings
from worker.store.adoptions import open_epoch, read_now, skip_range
from worker.store.audit import Action, note
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.offsets import read_positions


@dataclass(frozen=True, slots=True)
class Adoption:
    """One partition whose stored place no longer holds, and where reading would go on."""

    place: TopicPartition
    position: Position
    reason: Reason
    log_start: int
    goes_on_at: int

    @property
    def lost(self) -> bool:
        """Whether records were removed unread; else the topic was made again."""
        return self.reason.kind is ReasonKind.RANGE_LOST

    def row(self) -> Mapping[str, Any]:
        """Return what a list shows of it."""
        return {
            "topic": self.place[0],
            "partition": self.place[1],
            "why": str(self.reason.kind),
            "from_offset": self.position.next_offset,
            "to_offset": self.goes_on_at,
            "epoch": self.position.epoch if self.lost else self.position.epoch + 1,
            "does": self.sentence,
        }

    @property
    def sentence(self) -> str:
        """Say what adopting does to it."""
        name = f"{self.place[0]}[{self.place[1]}]"
        kept = self.goes_on_at - self.log_start
        can = f"; `replay` can still feed offsets {self.log_start} to {self.goes_on_at - 1}" if kept else ""
        if self.lost:
            return f"skips offsets {self.position.next_offset} to {self.goes_on_at - 1} of {name}, which nobody has read{can}"
        return f"reads {name} from its offset {self.goes_on_at} as a topic that was made again{can}"


async def plan_adoptions(engine: AsyncEngine, settings: Settings, *, at_end: bool = False) -> Sequence[Adoption]:
    """Find what there is to adopt, to be read from its start or only from its end of now.

    Raises NothingMatchedError where every stored place holds.
    """
    async with transaction(engine) as connection:
        stored = await read_positions(connection)
    # whoever stopped a partition did not say what its log is like
    ours = {p: replace(at, stopped_reason=None) for p, at in stored.items() if p[0] in settings.command_topics}
    if not ours:
        raise NothingMatchedError("no partition was read yet; there is nothing to adopt")
    async with open_topics(settings) as topics:
        refused = await topics.inspect(ours)
        ends = await topics.topic_ends({topic for topic, _ in ours})
    spans = {place: ends.get(place, (0, 0)) for place in refused}
    found = [
        Adoption(place, ours[place], reason, spans[place][0], spans[place][1 if at_end else 0])
        for place, reason in sorted(refused.items())
    ]
    if not found:
        raise NothingMatchedError("every stored place holds; there is nothing to adopt")
    return found


async def adopt(engine: AsyncEngine, adoptions: Sequence[Adoption], actor: str, reason: str) -> None:
    """Adopt all of them in one database transaction, each with its audit.

    Raises RefusedByGuardError, and changes nothing, where a place has moved since it was planned.
    """
    facts = Facts()
    async with transaction(engine) as connection:
        now = await read_now(connection)
        for adoption in adoptions:
            if not await _move(connection, adoption):
                raise RefusedByGuardError(f"{adoption.place[0]}[{adoption.place[1]}] has moved meanwhile; look again")
            topic, partition = adoption.place
            before = {"epoch": adoption.position.epoch, "next_offset": adoption.position.next_offset}
            after = {
                "epoch": adoption.row()["epoch"],
                "next_offset": adoption.goes_on_at,
                "why": adoption.reason.sentence,
            }
            action = Action(actor, "topics.adopt", reason, f"{topic}[{partition}]", before, after)
            note(facts, clock.new_id(), action, now)
        await facts.write(connection)


async def _move(connection: AsyncConnection, adoption: Adoption) -> bool:
    if adoption.lost:
        return await skip_range(connection, adoption.place, adoption.position, adoption.goes_on_at)
    start = adoption.log_start
    return await open_epoch(connection, adoption.place, adoption.position, start, adoption.goes_on_at)
