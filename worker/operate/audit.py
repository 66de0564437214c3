"""`audit verify`: the table and the topic hold one chain; where they do not, which row is not as it was written.

The table is read, then the topic, then what was added to the table meanwhile: so whatever the table says was published
must be on the topic, and whatever the topic has must be in the table.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import TopicsError
from worker.kafka.past import Past, open_past
from worker.ledger.audit_chain import Difference, Fault, Head, Link, Side, as_fields, hashed, judge, read_row
from worker.ledger.records import RawRecord
from worker.settings import Settings
from worker.store.chain import read_head, read_links
from worker.store.engine import transaction

SLICE = 5000
PAGE = 1000


@dataclass(slots=True)
class Verified:
    """What was compared, and what differs, by number."""

    table: int
    topic: int
    compared: int
    waiting: int
    kept_no_more: int
    differences: list[Difference] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many rows there were: in each copy, compared, still to be published, older than the topic keeps."""
        return {
            "table": self.table,
            "topic": self.topic,
            "compared": self.compared,
            "waiting": self.waiting,
            "kept_no_more": self.kept_no_more,
        }


async def verify(engine: AsyncEngine, settings: Settings) -> Verified:
    """Compare both copies of the audit; changes nothing, joins no group.

    Raises PartUnavailableError where one does not answer, TopicsError where the topic does not exist.
    """
    table = [one async for one in _links(engine)]
    async with open_past(settings) as past:
        ends = await past.ends([settings.topic_audit])
        if not ends:
            raise TopicsError(f"topic {settings.topic_audit} does not exist: run `ledger-worker topics apply`")
        topic, strangers = await _read_topic(past, ends)
    added, head, beginning = await _read_added(engine, max((one.seq for one in table), default=0))
    span = {partition: found for (_, partition), found in ends.items()}
    differences = judge([*table, *added], topic, head, beginning, span)
    there, here = {one.hash for one in topic}, {one.hash for one in (*table, *added)}
    starts = {partition: start for partition, (start, _) in span.items()}
    return Verified(
        table=len(table) + len(added),
        topic=len(there),
        compared=len(here & there),
        waiting=sum(one.waits for one in (*table, *added)),
        kept_no_more=sum(one.at is not None and one.at < starts.get(one.partition or 0, 0) for one in table),
        differences=[*strangers, *differences],
    )


async def _links(engine: AsyncEngine, *, above: int = -1) -> AsyncIterator[Link]:
    after: UUID | None = None
    while True:
        async with transaction(engine) as connection:
            page = await read_links(connection, above=above, after=after, limit=PAGE)
        for _, link in page:
            yield link
        if len(page) < PAGE:
            return
        after = page[-1][0]


async def _read_added(engine: AsyncEngine, last: int) -> tuple[list[Link], Head, str]:
    """Read what was added meanwhile, which the topic need not have yet, and the head that fits it."""
    while True:
        async with transaction(engine) as connection:
            head, beginning = await read_head(connection)
        added = [replace(one, waits=True) async for one in _links(engine, above=last)]
        async with transaction(engine) as connection:
            if (await read_head(connection))[0] == head:
                return added, head, beginning


async def _read_topic(past: Past, ends: dict[tuple[str, int], tuple[int, int]]) -> tuple[list[Link], list[Difference]]:
    """Read all partitions, a slice at a time; of each row only what the comparison needs is kept."""
    links: list[Link] = []
    strangers: list[Difference] = []
    for place, (start, end) in sorted(ends.items()):
        for at in range(start, end, SLICE):
            for record in await past.read(place, at, min(at + SLICE, end)):
                said = read_row(record.value)
                if said is None:
                    told = f"offset {record.offset} of partition {record.partition} was inserted on the topic: it is no row of the audit"
                    strangers.append(Difference(0, Side.TOPIC, Fault.INSERTED, None, told))
                    continue
                digest = hashed(record.value or b"")
                where = (record.partition, record.offset)
                links.append(Link(said.audit_id, said.audit_seq, said.previous_hash, digest, *where, said.joins))
    return links, strangers


def as_row(record: RawRecord) -> dict[str, Any] | None:
    """Return a record of the audit topic as the row that the table would have; None where it is not one of the chain."""
    said = read_row(record.value)
    if said is None or said.audit_seq < 1:
        return None
    try:
        previous, audit_id = bytes.fromhex(said.previous_hash), UUID(said.audit_id)
    except ValueError:
        return None
    return {
        **as_fields(said),
        "audit_id": audit_id,
        "value": record.value,
        "previous_hash": previous,
        "hash": bytes.fromhex(hashed(record.value or b"")),
        "published_at": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
        "published_partition": record.partition,
        "published_offset": record.offset,
    }
