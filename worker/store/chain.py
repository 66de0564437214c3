"""The chain of the audit: its rows get their numbers one after the other, whoever writes them.

The lock of the chain's head is the last in the one sequence of locks, behind offsets, lanes, ids and the outbox: whoever
holds it waits for nothing more. `recover` locks the whole outbox early; so the outbox comes before the head here, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.compact import compact
from schemas.times import written
from worker.ledger.audit_chain import Head, Link, Said, as_fields, hashed, read_row
from worker.store.engine import insert, sql
from worker.store.outbox import OUTBOX_COLUMNS, outbox_row, outbox_shard

ORDERED_BY = "(audit)"
"""What all its rows in the outbox are ordered by; no account is called so."""
COLUMNS = {
    "audit_id": "uuid",
    "recorded_at": "timestamptz",
    "actor": "text",
    "database_role": "text",
    "action": "text",
    "reason": "text",
    "subject": "text",
    "value": "bytea",
    "audit_seq": "bigint",
    "previous_hash": "bytea",
    "hash": "bytea",
}
TAKEN_BACK = COLUMNS | {
    "published_at": "timestamptz",
    "published_partition": "int",
    "published_offset": "bigint",
    "taken_back": "boolean",
}


async def append(connection: AsyncConnection, entries: Sequence[Mapping[str, Any]]) -> None:
    """Add these rows to the chain, in their sequence, each with its place in the outbox; holds the head until commit.

    What is published is written here, once: the number and the hash of the row before it are in the bytes.
    """
    await connection.execute(sql("LOCK TABLE outbox IN ROW EXCLUSIVE MODE"))
    head = (
        await connection.execute(sql("SELECT audit_seq, hash, current_user AS role FROM audit_head FOR UPDATE"))
    ).one()
    seq, digest = int(head.audit_seq), bytes(head.hash)
    rows = []
    for entry in entries:
        seq += 1
        told = {
            "audit_id": str(entry["audit_id"]),
            "audit_seq": seq,
            "previous_hash": digest.hex(),
            "actor": entry["actor"],
            "database_role": head.role,
            "action": entry["action"],
            "reason": entry["reason"],
            "subject": entry["subject"],
            "before": entry["before"],
            "after": entry["after"],
            "recorded_at": written(entry["recorded_at"]),
        }
        value = compact(told)
        links = {"audit_seq": seq, "previous_hash": digest, "database_role": head.role, "value": value}
        digest = bytes.fromhex(hashed(value))
        rows.append({**entry, **links, "hash": digest})
    await insert(connection, "audit", COLUMNS, rows)
    waiting = [outbox_row("audit", row["audit_id"], ORDERED_BY, row["recorded_at"]) for row in rows]
    await insert(connection, "outbox", OUTBOX_COLUMNS, waiting)
    await _move_head(connection, seq, digest)


async def _move_head(connection: AsyncConnection, seq: int, digest: bytes) -> None:
    await connection.execute(sql("UPDATE audit_head SET audit_seq = :seq, hash = :hash"), {"seq": seq, "hash": digest})


async def read_head(connection: AsyncConnection) -> tuple[Head, str]:
    """Read the last row by the table's own account, and the digest of what was there before the chain."""
    statement = sql("""
        SELECT audit_seq, encode(hash, 'hex') AS hash, (
            SELECT encode(sha256(coalesce(string_agg(sha256(value), ''::bytea ORDER BY recorded_at, audit_id), ''::bytea)), 'hex')
            FROM audit WHERE audit_seq = 0) AS beginning
        FROM audit_head
    """)
    row = (await connection.execute(statement)).one()
    return Head(row.audit_seq, row.hash), row.beginning


async def read_links(
    connection: AsyncConnection, *, above: int, after: UUID | None, limit: int
) -> list[tuple[UUID, Link]]:
    """Read the next rows of the table with a number above this one, behind the row `after`, each with its id."""
    statement = sql("""
        SELECT a.*, a.audit_id IN (SELECT ref_id FROM outbox WHERE kind = 'audit' AND shard = :shard) AS waits
        FROM (
            SELECT * FROM audit WHERE audit_seq > :above
              AND (CAST(:after AS uuid) IS NULL OR (audit_seq, recorded_at, audit_id) > (
                    SELECT audit_seq, recorded_at, audit_id FROM audit WHERE audit_id = :after))
            ORDER BY audit_seq, recorded_at, audit_id LIMIT :limit
        ) a ORDER BY a.audit_seq, a.recorded_at, a.audit_id
    """)
    given = {"above": above, "after": after, "limit": limit, "shard": outbox_shard(ORDERED_BY)}
    return [(row["audit_id"], _link(row)) for row in (await connection.execute(statement, given)).mappings()]


def _link(row: RowMapping) -> Link:
    value, said = bytes(row["value"]), read_row(bytes(row["value"]))
    joins = said.joins if said is not None else ()
    previous = bytes(row["previous_hash"] or b"").hex()
    return Link(
        str(row["audit_id"]),
        row["audit_seq"],
        previous,
        hashed(value),
        row["published_partition"],
        row["published_offset"],
        joins,
        _fault(row, value, said),
        row["waits"],
    )


def _fault(row: RowMapping, value: bytes, said: Said | None) -> str:
    """Say what is wrong with a row in itself; empty where nothing is."""
    if row["audit_seq"] and bytes(row["hash"]).hex() != hashed(value):
        return "its bytes are not those that were hashed"
    if said is None:
        return "its bytes are not those of a row"
    told = as_fields(said) | {"previous_hash": said.previous_hash}
    held = {name: row[name] for name in told} | {"previous_hash": bytes(row["previous_hash"] or b"").hex()}
    held["audit_id"] = str(held["audit_id"])
    if not row["audit_seq"]:
        told.pop("database_role")  # rows from before the chain do not tell it
    differing = [name for name in told if told[name] != held[name]]
    return f"its columns say other than its bytes: {', '.join(differing)}" if differing else ""


async def take_back(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """Store rows of the topic that the table lacks, byte for byte, and let the chain go on behind the highest.

    Only rows that follow a known one are taken: what was inserted on the topic is not. Returns how many there were, and
    the hashes of ends on which nothing builds, because the table went on without them; the next row names them.
    """
    head = (await connection.execute(sql("SELECT audit_seq, hash FROM audit_head FOR UPDATE"))).one()
    own = Head(head.audit_seq, bytes(head.hash).hex())
    statement = sql("""
        SELECT audit_id, audit_seq, encode(hash, 'hex') AS hash FROM audit
        WHERE hash = ANY(:hashes) OR audit_id = ANY(:ids)
    """)
    named = list({row[name] for row in rows for name in ("hash", "previous_hash")})
    given = {"hashes": named, "ids": list({row["audit_id"] for row in rows})}
    here = list(await connection.execute(statement, given))
    seqs, ids = {row.hash: row.audit_seq for row in here} | {own.hash: own.seq}, {row.audit_id for row in here}
    fresh: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda one: int(one["audit_seq"])):
        if row["audit_id"] not in ids and seqs.get(row["previous_hash"].hex()) == row["audit_seq"] - 1:
            fresh[row["hash"].hex()] = row
            seqs[row["hash"].hex()] = row["audit_seq"]
            ids.add(row["audit_id"])
    if not fresh:
        return 0, []
    await insert(connection, "audit", TAKEN_BACK, [{**row, "taken_back": True} for row in fresh.values()])
    built_on = {row["previous_hash"].hex() for row in fresh.values()}
    ends = [Head(row["audit_seq"], key) for key, row in fresh.items() if key not in built_on]
    ends += [] if own.hash in built_on else [own]
    last = max(ends, key=lambda one: (one.seq, one.hash == own.hash))
    await _move_head(connection, last.seq, bytes.fromhex(last.hash))
    return len(fresh), [one.hash for one in ends if one.hash != last.hash]
