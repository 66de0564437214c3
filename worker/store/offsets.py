"""How far each partition was read: the row that guards intake, moved in the database transaction that stores."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.errors import LostPlaceError
from worker.ledger.commands import Command, Malformed, Refusal
from worker.ledger.positions import Position, TopicPartition
from worker.ledger.records import RawRecord
from worker.store.arrays import arrays
from worker.store.engine import Part, from_arrays, insert, run, sql

PLACE = {"topic": "text", "partition": "int"}
CHANGE = PLACE | {
    "next_offset": "bigint",
    "last_offset": "bigint",
    "last_digest": "bytea",
    "refusals_in_row": "int",
    "stopped_reason": "text",
}


@dataclass(slots=True)
class OffsetRow:
    """One partition's row, locked."""

    topic: str
    partition: int
    epoch: int
    next_offset: int
    last_offset: int | None
    last_digest: bytes | None
    refusals_in_row: int
    stopped_reason: str | None


async def read_positions(
    connection: AsyncConnection, places: Collection[TopicPartition] | None = None
) -> dict[TopicPartition, Position]:
    """Read the stored positions, of all partitions where none are named; those never read are missing."""
    rows = (await connection.execute(sql("SELECT * FROM offsets ORDER BY topic, partition"))).mappings()
    return {
        (row["topic"], row["partition"]): Position(
            row["next_offset"],
            row["last_offset"],
            None if row["last_digest"] is None else bytes(row["last_digest"]),
            row["epoch"],
            row["stopped_reason"],
        )
        for row in rows
        if places is None or (row["topic"], row["partition"]) in places
    }


async def lock_offsets(
    connection: AsyncConnection, read_from: Mapping[TopicPartition, int]
) -> dict[TopicPartition, OffsetRow]:
    """Lock the partitions' rows, made where missing, and compare each with the position the batch was read from.

    Raises LostPlaceError for those that have moved, or were stopped, meanwhile.
    """
    rows = [{"topic": t, "partition": p, "next_offset": read_from[t, p]} for t, p in sorted(read_from)]
    given = arrays(PLACE, rows)
    found = await run(connection, _LOCK, given)
    if len(found) < len(rows):
        columns = PLACE | {"next_offset": "bigint"}
        await insert(connection, "offsets", columns, rows, on_conflict="ON CONFLICT DO NOTHING")
        found = await run(connection, _LOCK, given)
    locked = {(row[0], row[1]): OffsetRow(*row) for row in found}
    moved = [p for p, at in read_from.items() if locked[p].next_offset != at or locked[p].stopped_reason is not None]
    if moved:
        raise LostPlaceError(moved)
    return locked


_LOCK = f"""
    SELECT o.topic, o.partition, o.epoch, o.next_offset, o.last_offset, o.last_digest, o.refusals_in_row, o.stopped_reason
    FROM offsets o JOIN {from_arrays(PLACE)} ON o.topic = given.topic AND o.partition = given.partition
    ORDER BY o.topic, o.partition FOR UPDATE OF o
"""


def advance_offsets(
    offsets: Mapping[TopicPartition, OffsetRow],
    batch: Sequence[tuple[RawRecord, Command | Refusal | Malformed]],
    refusals_in_row_max: int,
) -> list[tuple[RawRecord, Command | Refusal | Malformed]]:
    """Move the rows over the batch and return what is kept of it.

    A partition whose records are refused `refusals_in_row_max` times in a row stops after the last of them.
    """
    kept = []
    for record, judged in batch:
        row = offsets[record.topic, record.partition]
        if row.stopped_reason is not None:
            continue
        kept.append((record, judged))
        row.next_offset, row.last_offset, row.last_digest = record.offset + 1, record.offset, record.digest()
        row.refusals_in_row = 0 if isinstance(judged, Command) else row.refusals_in_row + 1
        if row.refusals_in_row >= refusals_in_row_max:
            row.stopped_reason = (
                f"{row.refusals_in_row} records in a row were refused, the last at offset {record.offset}; "
                "see `ledger-worker dead-letters list`, mend the producer, then "
                f"`ledger-worker resume --topic {row.topic} --partition {row.partition}`"
            )
    return kept


def written_offsets(offsets: Collection[OffsetRow]) -> Part:
    """Write the SQL that stores the rows that `lock_offsets` locked."""
    changed = ", ".join(f"{name} = given.{name}" for name in CHANGE if name not in PLACE)
    rows = [{name: getattr(row, name) for name in CHANGE} for row in offsets]
    statement = f"""
        UPDATE offsets o SET {changed} FROM {from_arrays(CHANGE, prefix="offset_")}
        WHERE o.topic = given.topic AND o.partition = given.partition
    """
    return Part(statement, arrays(CHANGE, rows, "offset_"))
