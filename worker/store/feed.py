"""Stores records that intake does not bring: passed over by `topics adopt`, and fed by a replay.

Nothing here reads or moves an offset. Locks are taken as intake takes them, lanes before ids; between the two the rows
of records that are known already, by their place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from worker.ledger.commands import Malformed
from worker.ledger.records import RawRecord
from worker.ledger.redrive import TAKEN
from worker.store.arrays import arrays
from worker.store.engine import Part, from_arrays, insert, run
from worker.store.facts import INSERTS
from worker.store.inbox import RECORD_COLUMNS, Inbox, Judged, Options, TopicPartition, lock_accounts

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""

AT = {"topic": "text", "epoch": "int", "partition": "int", "offset": "bigint"}
KNOWN_RECORD = """ON CONFLICT (topic, epoch, partition, "offset") DO UPDATE
    SET disposition = excluded.disposition, command_id = excluded.command_id"""
KNOWN_LETTER = """ON CONFLICT (dead_letter_id) DO UPDATE SET reason = excluded.reason, code = excluded.code,
    field = excluded.field, message = excluded.message, fingerprint = excluded.fingerprint,
    command_id = excluded.command_id, account_no = excluded.account_no, failed_at = excluded.failed_at,
    headers = excluded.headers, published_at = NULL, published_partition = NULL, published_offset = NULL"""


@dataclass(slots=True)
class Feed(Inbox):
    """An inbox for records of which some are known: their bytes stay, what became of them is written anew."""

    @override
    async def _write_records(self, connection: AsyncConnection) -> list[Part]:
        await insert(connection, "records", RECORD_COLUMNS, self.records, on_conflict=KNOWN_RECORD)
        columns, _ = INSERTS["dead_letters"]
        letters = self.facts.new.pop("dead_letters", [])
        await insert(connection, "dead_letters", columns, letters, on_conflict=KNOWN_LETTER)
        return []


async def feed_batch(
    connection: AsyncConnection, batch: Sequence[Judged], epochs: Mapping[TopicPartition, int], options: Options
) -> dict[Place, str]:
    """Store a batch as intake would, and return the disposition of each record; no place may be in it twice.

    A record of which was told already, under the id that it has now, is left as it is: feeding it again changes nothing.
    One that was unreadable is judged anew; where it still cannot be taken, its dead letter is published again, and where
    it is taken, that reads as redriven: nobody waits for it, and nobody puts it back.
    """
    lanes, now = await lock_accounts(connection, batch)
    known = await _lock_records(connection, batch, epochs)
    found = {place: disposition for place, (disposition, _) in known.items()}
    fed = [(record, judged) for record, judged in batch if not _is_told(known.get(place_of(record)), judged)]
    inbox = Feed(options, now, lanes, epochs)
    await inbox.store(connection, fed)
    await _end_letters(connection, [row for row in inbox.records if row["disposition"] in TAKEN])
    stored = {(row["topic"], row["partition"], row["offset"]): row["disposition"] for row in inbox.records}
    return {place_of(record): (found | stored)[place_of(record)] for record, _ in batch}


async def _end_letters(connection: AsyncConnection, taken: Sequence[Mapping[str, Any]]) -> None:
    """Let dead letters whose records were taken now wait for nobody any more; there are few, mostly none."""
    statement = f"""
        UPDATE dead_letters d SET state = 'redriven'
        FROM {from_arrays(AT)} WHERE d.topic = given.topic AND d.epoch = given.epoch
            AND d.partition = given.partition AND d."offset" = given."offset"
    """
    if taken:
        await run(connection, statement, arrays(AT, taken))


def place_of(record: RawRecord) -> Place:
    """Say where a record lies."""
    return record.topic, record.partition, record.offset


def _is_told(known: tuple[str, UUID | None] | None, judged: object) -> bool:
    """Whether the record that is stored there was taken, if only as a person edited it, or used the id that this has."""
    if known is None or known[1] is None:
        return False
    return known[0] in TAKEN or isinstance(judged, Malformed) or getattr(judged, "command_id", None) == known[1]


async def _lock_records(
    connection: AsyncConnection, batch: Sequence[Judged], epochs: Mapping[TopicPartition, int]
) -> dict[Place, tuple[str, UUID | None]]:
    statement = f"""
        SELECT r.topic, r.partition, r."offset", r.disposition, r.command_id
        FROM records r JOIN {from_arrays(AT)} USING (topic, epoch, partition, "offset")
        ORDER BY r.topic, r.partition, r."offset" FOR UPDATE OF r
    """
    rows: list[dict[str, Any]] = [
        dict(zip(AT, (r.topic, epochs[r.topic, r.partition], r.partition, r.offset), strict=True)) for r, _ in batch
    ]
    found = await run(connection, statement, arrays(AT, rows))
    return {(topic, partition, offset): (disposition, id_) for topic, partition, offset, disposition, id_ in found}
