"""Stores a batch of records in one database transaction: what each is, its place in its lane, refusals, offsets.

Locks are taken in one sequence everywhere: offsets by topic and partition, lanes by account, ids by id.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.dead_letters import DeadLetter, Reason
from schemas.outcomes import EVENT_NAMESPACE, Error, Outcome, OutcomeType, Position, Result, Source, Timing, event_id
from worker.ledger.commands import Command, Malformed, Refusal
from worker.ledger.content import HASH_VERSION
from worker.ledger.lanes import LaneState
from worker.ledger.records import RawRecord
from worker.store.arrays import arrays, written
from worker.store.blobs import pack_headers, to_json
from worker.store.engine import Part, from_arrays, insertion, run, sql
from worker.store.facts import Facts
from worker.store.offsets import advance_offsets, lock_offsets, written_offsets
from worker.store.outcomes import read_back, store, stored
from worker.store.rest import lock_lanes, written_lanes
from worker.store.rows import LaneRow

TopicPartition = tuple[str, int]
Judged = tuple[RawRecord, Command | Refusal | Malformed]

RECORD_COLUMNS = {
    "topic": "text",
    "epoch": "int",
    "partition": "int",
    "offset": "bigint",
    "produced_at": "timestamptz",
    "key": "bytea",
    "value": "bytea",
    "headers": "bytea",
    "disposition": "text",
    "command_id": "uuid",
}
ID_COLUMNS = {
    "command_id": "uuid",
    "account_no": "text",
    "command_type": "text",
    "content_hash": "bytea",
    "hash_version": "smallint",
    "verdict": "text",
    "error": "jsonb",
    "terminal_event_id": "uuid",
}
COMMAND_COLUMNS = {
    "command_id": "uuid",
    "account_no": "text",
    "position": "bigint",
    "command_type": "text",
    "urgent": "boolean",
    "payload": "jsonb",
    "issued_by": "text",
    "issued_at": "timestamptz",
    "correlation_id": "text",
    "not_after": "timestamptz",
    "expires_at": "timestamptz",
    "traceparent": "text",
    "topic": "text",
    "epoch": "int",
    "partition": "int",
    "offset": "bigint",
    "accepted_at": "timestamptz",
}
_NEW_RECORDS = insertion("records", RECORD_COLUMNS, prefix="record_")
_NEW_COMMANDS = insertion("commands", COMMAND_COLUMNS, prefix="command_")


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say about accepting."""

    urgent_types: frozenset[str]
    refusals_in_row_max: int
    accepted_notice: bool


@dataclass(frozen=True, slots=True)
class Known:
    """A command id that was used before."""

    account_no: str
    content_hash: bytes
    result: Result | None
    error: Error | None
    terminal_event_id: UUID | None


@dataclass(slots=True)
class Inbox:
    """One batch on its way into the tables."""

    options: Options
    now: datetime
    lanes: dict[str, LaneRow]
    epochs: Mapping[TopicPartition, int]
    new_ids: set[UUID] = field(default_factory=set)
    known: dict[UUID, Known] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    records: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    touched: dict[str, LaneRow] = field(default_factory=dict)

    async def store(self, connection: AsyncConnection, batch: Sequence[Judged], beside: Sequence[Part] = ()) -> None:
        """Store all these records, their lanes, and what goes `beside` them; the caller holds the locks of the lanes."""
        self.new_ids, self.known = await register_ids(connection, self._claiming(batch))
        for record, judged in batch:
            self._take(record, judged)
        parts = [*beside, *await self._write_records(connection), *written_lanes(self.touched.values())]
        if self.commands:
            parts.append(Part(_NEW_COMMANDS, arrays(COMMAND_COLUMNS, self.commands, "command_")))
        await self.facts.write(connection, parts)

    def _claiming(self, batch: Sequence[Judged]) -> Sequence[Command | Refusal]:
        """Return those that claim their id."""
        return [judged for _, judged in batch if not isinstance(judged, Malformed)]

    async def _write_records(self, _connection: AsyncConnection) -> list[Part]:
        """Write the records, or the SQL that does."""
        return [Part(_NEW_RECORDS, arrays(RECORD_COLUMNS, self.records, "record_"))] if self.records else []

    def _take(self, record: RawRecord, judged: Command | Refusal | Malformed) -> None:
        """Gather what one record becomes; records come in the order in which they were read."""
        match judged:
            case Malformed():
                disposition, command_id = "quarantined" if judged.reason == "QUARANTINED" else "malformed", None
                self._dead_letter(record, Reason(judged.reason), judged.message)
            case Command() | Refusal():
                disposition, command_id = self._identified(record, judged), judged.command_id
            case _:
                assert_never(judged)
        self.records.append(self._record_row(record, disposition, command_id))

    def _identified(self, record: RawRecord, judged: Command | Refusal) -> str:
        first = self.known.get(judged.command_id)
        if first is None and judged.command_id in self.new_ids:
            if isinstance(judged, Command):
                self.known[judged.command_id] = Known(judged.account_no, judged.content_hash, None, None, None)
                self._accept(record, judged)
                return "accepted"
            self._refuse(record, judged)
            return "refused"
        if first is None:
            raise RuntimeError(f"{judged.command_id} is neither new nor known")
        if first.account_no == judged.account_no and first.content_hash == judged.content_hash:
            self._tell(record, judged, OutcomeType.DUPLICATE, first.result, first.error, first.terminal_event_id)
            return "duplicate"
        message = "this command_id was used before with other content"
        error = Error("ID_CONFLICT", message, "validation", "command_id")
        self._tell(record, judged, OutcomeType.CONFLICTED, None, error, None)
        self._dead_letter(record, Reason.ID_CONFLICT, message, judged, "ID_CONFLICT", "command_id")
        return "conflict"

    def _accept(self, record: RawRecord, command: Command) -> None:
        lane = self._touch(command.account_no)
        urgent = command.command_type in self.options.urgent_types
        self.commands.append(
            {
                "command_id": command.command_id,
                "account_no": command.account_no,
                "position": lane.next_position,
                "command_type": command.command_type,
                "urgent": urgent,
                "payload": to_json(command.payload),
                "issued_by": command.issued_by,
                "issued_at": command.issued_at,
                "correlation_id": command.correlation_id,
                "not_after": command.not_after,
                "expires_at": command.expires_at,
                "traceparent": command.traceparent,
                "topic": record.topic,
                "epoch": self._epoch(record),
                "partition": record.partition,
                "offset": record.offset,
                "accepted_at": self.now,
            }
        )
        lane.next_position += 1
        if lane.state == LaneState.IDLE:
            lane.state, lane.ready_at, lane.urgent = LaneState.READY.value, self.now, urgent
        if self.options.accepted_notice:
            self._tell(record, command, OutcomeType.ACCEPTED, None, None, None)

    def _refuse(self, record: RawRecord, refusal: Refusal) -> None:
        error = error_of(refusal)
        name = event_id(OutcomeType.REJECTED, refusal.command_id)
        self.known[refusal.command_id] = Known(refusal.account_no, refusal.content_hash, None, error, name)
        self._tell(record, refusal, OutcomeType.REJECTED, None, error, None)
        self._dead_letter(record, Reason.REFUSED, refusal.message, refusal, refusal.code, refusal.field)

    def _tell(
        self,
        record: RawRecord,
        judged: Command | Refusal,
        kind: OutcomeType,
        result: Result | None,
        error: Error | None,
        refers_to: UUID | None,
    ) -> None:
        by_source = kind in (OutcomeType.DUPLICATE, OutcomeType.CONFLICTED)
        where = Position(record.topic, self._epoch(record), record.partition, record.offset) if by_source else None
        outcome = Outcome(
            event_id=event_id(kind, judged.command_id, source=where),
            type=kind,
            command_id=judged.command_id,
            command_type=judged.command_type,
            account_no=judged.account_no,
            account_seq=self._touch(judged.account_no).next_seq(),
            occurred_at=self.now,
            recorded_at=self.now,
            issued_by=judged.issued_by,
            correlation_id=judged.correlation_id,
            attempts=0,
            result=result,
            error=error,
            payload=judged.payload if isinstance(judged, Command) else None,
            timing=Timing(accepted_at=self.now),
            decided_by=None,
            refers_to=refers_to,
            source=Source(record.topic, record.partition, record.offset),
        )
        store(self.facts, outcome, judged.traceparent)

    def _dead_letter(
        self,
        record: RawRecord,
        reason: Reason,
        message: str,
        judged: Command | Refusal | None = None,
        code: str | None = None,
        field_name: str | None = None,
    ) -> None:
        letter = DeadLetter(
            reason,
            message,
            code,
            field_name,
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms,
            self.now,
            self._redrive_count(record),
        )
        epoch = self._epoch(record)
        name = f"dead_letter {record.topic} {epoch} {record.partition} {record.offset}"
        dead_letter_id = uuid5(EVENT_NAMESPACE, name)
        self.facts.add(
            "dead_letters",
            {
                "dead_letter_id": dead_letter_id,
                "topic": record.topic,
                "epoch": epoch,
                "partition": record.partition,
                "offset": record.offset,
                "reason": reason.value,
                "code": code,
                "field": field_name,
                "message": message,
                "fingerprint": letter.fingerprint(),
                "command_id": judged.command_id if judged else None,
                "account_no": judged.account_no if judged else None,
                "failed_at": self.now,
                "headers": pack_headers(tuple(letter.headers(record.headers))),
            },
        )
        self.facts.to_publish("dead_letter", dead_letter_id, None, self.now)

    def _record_row(self, record: RawRecord, disposition: str, command_id: UUID | None) -> dict[str, Any]:
        return {
            "topic": record.topic,
            "epoch": self._epoch(record),
            "partition": record.partition,
            "offset": record.offset,
            "produced_at": record.produced_at(),
            "key": record.key,
            "value": record.value,
            "headers": pack_headers(record.headers),
            "disposition": disposition,
            "command_id": command_id,
        }

    def _redrive_count(self, _record: RawRecord) -> int:
        """Say how often a person has put the record back."""
        return 0

    def _epoch(self, record: RawRecord) -> int:
        return self.epochs[record.topic, record.partition]

    def _touch(self, account_no: str) -> LaneRow:
        lane = self.touched[account_no] = self.lanes[account_no]
        return lane


def error_of(refusal: Refusal) -> Error:
    """Say in an outcome what was wrong with a record."""
    return Error(refusal.code, refusal.message, "validation", refusal.field)


async def store_batch(
    connection: AsyncConnection, batch: Sequence[Judged], read_from: Mapping[TopicPartition, int], options: Options
) -> dict[TopicPartition, int]:
    """Store a batch and return the next offset per partition; one below the batch's end where intake stopped.

    Raises LostPlaceError when another intake has moved one of the partitions since the batch was read.
    """
    offsets = await lock_offsets(connection, read_from)
    kept = advance_offsets(offsets, batch, options.refusals_in_row_max)
    lanes, now = await lock_accounts(connection, kept)
    inbox = Inbox(options, now, lanes, {place: row.epoch for place, row in offsets.items()})
    await inbox.store(connection, kept, [written_offsets(offsets.values())])
    return {place: row.next_offset for place, row in offsets.items()}


async def lock_accounts(connection: AsyncConnection, batch: Sequence[Judged]) -> tuple[dict[str, LaneRow], datetime]:
    """Lock the lanes of the accounts that these records name, made where missing, and say what time the database has."""
    accounts = {judged.account_no for _, judged in batch if not isinstance(judged, Malformed)}
    await make_lanes(connection, accounts)
    return await lock_lanes(connection, accounts)


async def make_lanes(connection: AsyncConnection, accounts: Collection[str]) -> None:
    """Make the lanes that are missing: they are looked for first, because an insert that comes to nothing costs more."""
    statement = """
        INSERT INTO lanes (account_no) SELECT account_no FROM unnest(CAST(:accounts AS text[])) AS given(account_no)
        WHERE NOT EXISTS (SELECT FROM lanes l WHERE l.account_no = given.account_no) ON CONFLICT DO NOTHING
    """
    await run(connection, statement, {"accounts": written("text", sorted(accounts))})


async def register_ids(
    connection: AsyncConnection, identified: Sequence[Command | Refusal]
) -> tuple[set[UUID], dict[UUID, Known]]:
    """Claim the ids; of one used twice in the batch, the first counts. Returns the new ones and what is known of others.

    Two statements: in one, neither side would see the row that a database transaction beside it has just committed.
    """
    rows: dict[UUID, dict[str, Any]] = {}
    for judged in identified:
        rows.setdefault(judged.command_id, _id_row(judged))
    if not rows:
        return set(), {}
    names = ", ".join(ID_COLUMNS)
    statement = f"""
        INSERT INTO command_ids ({names}) SELECT {names} FROM {from_arrays(ID_COLUMNS)}
        ON CONFLICT DO NOTHING RETURNING command_id
    """
    given = arrays(ID_COLUMNS, [rows[command_id] for command_id in sorted(rows)])
    new_ids = {row[0] for row in await run(connection, statement, given)}
    used = [command_id for command_id in rows if command_id not in new_ids]
    return new_ids, await _read_known(connection, used)


def _id_row(judged: Command | Refusal) -> dict[str, Any]:
    row: dict[str, Any] = {
        "command_id": judged.command_id,
        "account_no": judged.account_no,
        "command_type": judged.command_type,
        "content_hash": judged.content_hash,
        "hash_version": HASH_VERSION,
    }
    if isinstance(judged, Refusal):
        row |= {
            "verdict": "rejected",
            "error": stored(None, error_of(judged))["error"],
            "terminal_event_id": event_id(OutcomeType.REJECTED, judged.command_id),
        }
    return row


async def _read_known(connection: AsyncConnection, command_ids: Collection[UUID]) -> dict[UUID, Known]:
    if not command_ids:
        return {}
    statement = sql("""
        SELECT command_id, account_no, content_hash, result, error, terminal_event_id
        FROM command_ids WHERE command_id = ANY(:ids)
    """)
    rows = (await connection.execute(statement, {"ids": list(command_ids)})).mappings()
    return {
        row["command_id"]: Known(
            row["account_no"],
            bytes(row["content_hash"]),
            *read_back(row["result"], row["error"]),
            row["terminal_event_id"],
        )
        for row in rows
    }
