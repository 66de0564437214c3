"""The outbox: which shards a relay holds, what waits in them, and what the broker has acknowledged."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.records import Headers
from worker.store.arrays import arrays, written
from worker.store.blobs import unpack_headers
from worker.store.engine import from_arrays, run, sql
from worker.store.tables import SHARDS

OUTBOX_COLUMNS = {
    "shard": "smallint",
    "kind": "text",
    "ref_id": "uuid",
    "ordered_by": "text",
    "recorded_at": "timestamptz",
}
ACKNOWLEDGED = {"ref_id": "uuid", "partition": "int", "at": "bigint"}


class Waiting(NamedTuple):
    """One row to publish, with its bytes; rows of one `ordered_by` go one after the other."""

    outbox_id: int
    kind: str
    ref_id: UUID
    ordered_by: str | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None


class Acknowledged(NamedTuple):
    """A row that the broker has, and where."""

    outbox_id: int
    kind: str
    ref_id: UUID
    partition: int
    offset: int


def outbox_shard(ordered_by: str) -> int:
    """Return the shard in which all rows of one `ordered_by` are."""
    return crc32(ordered_by.encode()) % SHARDS


def outbox_row(kind: str, ref_id: UUID, ordered_by: str | None, recorded_at: object) -> dict[str, Any]:
    """Make a row of the outbox; rows with one `ordered_by` are in one shard and are published one after the other."""
    shard = outbox_shard(ordered_by or str(ref_id))
    return {"shard": shard, "kind": kind, "ref_id": ref_id, "ordered_by": ordered_by, "recorded_at": recorded_at}


async def hold_shards(connection: AsyncConnection, owner: UUID, lease_s: float) -> list[int]:
    """Renew this relay's shards and take or give up some, so that all living relays hold about as many.

    What is taken from a living relay that holds too many is counted from the next call on: by then it knows.
    """
    await connection.execute(sql("SELECT pg_advisory_xact_lock(hashtext('relay_shards'))"))
    statement = sql("""
        SELECT shard, owner, lease_until >= now() AS living FROM relay_shards ORDER BY shard
    """)
    rows = list(await connection.execute(statement))
    owners = {row.owner for row in rows if row.living and row.owner is not None} | {owner}
    share = -(-SHARDS // len(owners))
    mine = [row.shard for row in rows if row.living and row.owner == owner][:share]
    free = [row.shard for row in rows if not row.living or row.owner is None]
    mine += free[: share - len(mine)]
    held: dict[UUID, list[int]] = defaultdict(list)
    for row in rows:
        if row.living and row.owner not in (None, owner):
            held[row.owner].append(row.shard)
    surplus = [shard for shards in held.values() for shard in shards[share:]]
    taken = surplus[: share - len(mine)]
    change = sql("""
        UPDATE relay_shards SET owner = CASE WHEN shard = ANY(:mine) THEN CAST(:owner AS uuid) END,
            lease_until = CASE WHEN shard = ANY(:mine) THEN now() + make_interval(secs => :lease_s) END
        WHERE owner = :owner OR shard = ANY(:mine)
    """)
    await connection.execute(change, {"mine": mine + taken, "owner": owner, "lease_s": lease_s})
    return sorted(mine)


async def leave_shards(connection: AsyncConnection, owner: UUID) -> None:
    """Give up this relay's shards, for others to take at once."""
    await connection.execute(
        sql("UPDATE relay_shards SET owner = NULL, lease_until = NULL WHERE owner = :owner"), {"owner": owner}
    )


_WAITING = """
    SELECT o.outbox_id, o.kind, o.ref_id, o.ordered_by,
           CASE o.kind WHEN 'outcome' THEN convert_to(e.account_no, 'UTF8') WHEN 'dead_letter' THEN r.key
                ELSE convert_to(a.actor, 'UTF8') END,
           CASE o.kind WHEN 'outcome' THEN e.value WHEN 'dead_letter' THEN r.value ELSE a.value END,
           coalesce(CASE o.kind WHEN 'outcome' THEN e.headers WHEN 'dead_letter' THEN d.headers END, ''),
           CAST(extract(epoch FROM o.recorded_at) * 1000 AS bigint)
    FROM (
        SELECT * FROM outbox o WHERE o.shard = ANY(:shards) AND o.set_aside_reason IS NULL
          AND NOT EXISTS (
            SELECT 1 FROM outbox s WHERE s.set_aside_reason IS NOT NULL AND s.ordered_by = o.ordered_by
              AND s.shard = o.shard
          )
        ORDER BY o.outbox_id LIMIT :limit
    ) o
    LEFT JOIN outcomes e ON o.kind = 'outcome' AND e.event_id = o.ref_id
    LEFT JOIN dead_letters d ON o.kind = 'dead_letter' AND d.dead_letter_id = o.ref_id
    LEFT JOIN records r ON r.topic = d.topic AND r.epoch = d.epoch AND r.partition = d.partition
        AND r."offset" = d."offset"
    LEFT JOIN audit a ON o.kind = 'audit' AND a.audit_id = o.ref_id
    ORDER BY o.outbox_id
"""
_MARK_OUTCOMES = f"""
    WITH gone AS (DELETE FROM outbox WHERE outbox_id = ANY(:ids))
    INSERT INTO publications (event_id, published_at, partition, "offset")
    SELECT given.ref_id, now(), given.partition, given.at FROM {from_arrays(ACKNOWLEDGED)} ON CONFLICT DO NOTHING
"""


def _mark_others(table: str, name: str) -> str:
    return f"""
        WITH gone AS (DELETE FROM outbox WHERE outbox_id = ANY(:ids))
        UPDATE {table} t SET published_at = now(), published_partition = given.partition, published_offset = given.at
        FROM {from_arrays(ACKNOWLEDGED)} WHERE t.{name} = given.ref_id AND t.published_at IS NULL
    """


_MARK = {
    "outcome": _MARK_OUTCOMES,
    "dead_letter": _mark_others("dead_letters", "dead_letter_id"),
    "audit": _mark_others("audit", "audit_id"),
}


async def read_waiting(connection: AsyncConnection, shards: Collection[int], limit: int) -> list[Waiting]:
    """Read the oldest rows of these shards, with their bytes; accounts with a row set aside are passed over."""
    rows = await run(connection, _WAITING, {"shards": written("smallint", list(shards)), "limit": limit})
    return [Waiting._make((*row[:6], unpack_headers(row[6]), row[7])) for row in rows]


async def mark_published(connection: AsyncConnection, rows: Sequence[Acknowledged]) -> None:
    """Note where the broker has these rows, and take them out of the outbox; once more changes nothing."""
    for kind, statement in _MARK.items():
        of_kind = [{"ref_id": r.ref_id, "partition": r.partition, "at": r.offset} for r in rows if r.kind == kind]
        if of_kind:
            ids = written("bigint", [row.outbox_id for row in rows if row.kind == kind])
            await run(connection, statement, {"ids": ids, **arrays(ACKNOWLEDGED, of_kind)})


async def set_aside(connection: AsyncConnection, outbox_id: int, reason: str) -> None:
    """Keep a row that the broker refuses for good; the rows of its account wait behind it."""
    statement = sql("UPDATE outbox SET set_aside_reason = :reason WHERE outbox_id = :outbox_id")
    await connection.execute(statement, {"outbox_id": outbox_id, "reason": reason})


class Aside(NamedTuple):
    """A row that Kafka refused for good; `behind` counts those that wait behind it."""

    outbox_id: int
    kind: str
    ref_id: UUID
    ordered_by: str | None
    recorded_at: datetime
    reason: str
    behind: int


async def list_aside(
    connection: AsyncConnection, *, outbox_id: int | None = None, after: int = 0, limit: int
) -> list[Aside]:
    """List rows that are set aside, the oldest first, from behind the one numbered `after`."""
    statement = sql("""
        SELECT o.outbox_id, o.kind, o.ref_id, o.ordered_by, o.recorded_at, o.set_aside_reason AS reason,
               (SELECT count(*) FROM outbox b WHERE b.shard = o.shard AND b.ordered_by = o.ordered_by
                  AND b.outbox_id > o.outbox_id) AS behind
        FROM outbox o WHERE o.set_aside_reason IS NOT NULL AND o.outbox_id > :after
          AND (CAST(:outbox_id AS bigint) IS NULL OR o.outbox_id = :outbox_id)
        ORDER BY o.outbox_id LIMIT :limit
    """)
    given = {"outbox_id": outbox_id, "after": after, "limit": limit}
    return [Aside(*row) for row in await connection.execute(statement, given)]


async def put_back(connection: AsyncConnection, outbox_id: int) -> bool:
    """Let a row that was set aside be tried again, before those behind it; False where it is not (any more)."""
    statement = sql("""
        UPDATE outbox SET set_aside_reason = NULL WHERE outbox_id = :outbox_id AND set_aside_reason IS NOT NULL
        RETURNING outbox_id
    """)
    return (await connection.execute(statement, {"outbox_id": outbox_id})).one_or_none() is not None


async def is_waiting(connection: AsyncConnection, outbox_id: int) -> bool:
    """Say whether the outbox has a row of this number."""
    statement = sql("SELECT EXISTS (SELECT 1 FROM outbox WHERE outbox_id = :outbox_id)")
    return bool((await connection.execute(statement, {"outbox_id": outbox_id})).scalar_one())
