"""Stores records that the database has forgotten: as intake would, save for what the topics say was told already."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from schemas.dead_letters import Reason
from schemas.outcomes import Error, OutcomeType, Position, Result, event_id
from worker.ledger.commands import Command, Malformed, Refusal
from worker.ledger.records import RawRecord
from worker.store.engine import Part
from worker.store.inbox import Inbox, Judged
from worker.store.recalled import note_letters

Place = tuple[str, int, int]
"""Topic, partition and offset of a record of a command topic."""


@dataclass
class Recall(Inbox):
    """An inbox whose records may have been told of: nothing is told twice, nothing is dead-lettered twice."""

    told: Collection[UUID] = ()
    letters: Mapping[Place, RawRecord] = field(default_factory=dict)
    lettered: list[dict[str, Any]] = field(default_factory=list)

    @override
    def _identified(self, record: RawRecord, judged: Command | Refusal) -> str:
        if self._is_told(OutcomeType.DUPLICATE, record, judged):
            return "duplicate"
        if self._is_told(OutcomeType.CONFLICTED, record, judged):
            message = "this command_id was used before with other content"
            self._dead_letter(record, Reason.ID_CONFLICT, message, judged, "ID_CONFLICT", "command_id")
            return "conflict"
        return super()._identified(record, judged)

    @override
    def _tell(
        self,
        record: RawRecord,
        judged: Command | Refusal,
        kind: OutcomeType,
        result: Result | None,
        error: Error | None,
        refers_to: UUID | None,
    ) -> None:
        if not self._is_told(kind, record, judged):
            super()._tell(record, judged, kind, result, error, refers_to)

    @override
    def _dead_letter(
        self,
        record: RawRecord,
        reason: Reason,
        message: str,
        judged: Command | Refusal | None = None,
        code: str | None = None,
        field_name: str | None = None,
    ) -> None:
        super()._dead_letter(record, reason, message, judged, code, field_name)
        there = self.letters.get((record.topic, record.partition, record.offset))
        if there is not None:
            self.lettered.append(
                {
                    "dead_letter_id": self.facts.new["dead_letters"][-1]["dead_letter_id"],
                    "published_at": datetime.fromtimestamp(there.timestamp_ms / 1000, UTC),
                    "published_partition": there.partition,
                    "published_offset": there.offset,
                }
            )

    def is_repeat(self, record: RawRecord, judged: Command | Refusal) -> bool:
        """Whether the topic says that another record with this id came first."""
        kinds = (OutcomeType.DUPLICATE, OutcomeType.CONFLICTED)
        return any(self._is_told(kind, record, judged) for kind in kinds)

    def _is_told(self, kind: OutcomeType, record: RawRecord, judged: Command | Refusal) -> bool:
        by_source = kind in (OutcomeType.DUPLICATE, OutcomeType.CONFLICTED)
        where = Position(record.topic, self._epoch(record), record.partition, record.offset) if by_source else None
        return event_id(kind, judged.command_id, source=where) in self.told

    @override
    def _claiming(self, batch: Sequence[Judged]) -> Sequence[Command | Refusal]:
        return [j for r, j in batch if not isinstance(j, Malformed) and not self.is_repeat(r, j)]

    @override
    async def store(self, connection: AsyncConnection, batch: Sequence[Judged], beside: Sequence[Part] = ()) -> None:
        """Store all these records; the caller holds the locks of lanes and offsets, and moves the latter."""
        await super().store(connection, batch, beside)
        await note_letters(connection, self.lettered)
