"""What `recover` reads and changes: outcomes taken back from the topic, and what is in doubt from then on.

The caller has locked the tables against every worker. Nothing here decides; see `worker.operate.recover`.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.outcomes import OutcomeType
from worker.ledger.decide import RECOVERED
from worker.ledger.heard import Heard, renumbered
from worker.store.attempts import OPENED
from worker.store.blobs import pack_headers
from worker.store.engine import insert, sql
from worker.store.facts import INSERTS
from worker.store.histories import COMMAND_COLUMNS, command_row
from worker.store.rows import CommandRow

ENDINGS = (OutcomeType.SUCCEEDED, OutcomeType.REJECTED)
FENCE_LEAP = 2**32
"""Above any fence that was forgotten: a worker that was frozen before holds no lane afterwards."""
OUTCOMES, _ = INSERTS["outcomes"]
PUBLICATIONS = {"event_id": "uuid", "published_at": "timestamptz", "partition": "int", "offset": "bigint"}
RECALLED = OPENED | {"known": "text", "reported_at": "timestamptz", "rule": "text", "message": "text"}
BARE_ID = {
    "command_id": "uuid",
    "account_no": "text",
    "command_type": "text",
    "content_hash": "bytea",
    "hash_version": "smallint",
}


async def known_events(connection: AsyncConnection, event_ids: Collection[UUID]) -> set[UUID]:
    """Return those of these events that the database has."""
    statement = sql("SELECT event_id FROM outcomes WHERE event_id = ANY(:ids)")
    return set((await connection.execute(statement, {"ids": list(event_ids)})).scalars())


async def last_published(connection: AsyncConnection) -> dict[int, tuple[int, UUID]]:
    """Return for each partition of the outcomes topic the last offset that the database knows, and what lies there.

    The relay publishes what is stored: whatever the database has forgotten was published behind these.
    """
    statement = sql("""
        SELECT DISTINCT ON (partition) partition, "offset", event_id FROM publications
        ORDER BY partition, "offset" DESC
    """)
    return {row[0]: (row[1], row[2]) for row in await connection.execute(statement)}


async def stored_offsets(connection: AsyncConnection, topic: str, epoch: int, partition: int) -> set[int]:
    """Return the offsets of a partition whose records the database has, or that `topics adopt` passed over."""
    statement = sql("""
        SELECT "offset" FROM records WHERE topic = :topic AND epoch = :epoch AND partition = :partition
        UNION ALL
        SELECT generate_series(from_offset, to_offset - 1) FROM skipped_ranges
        WHERE topic = :topic AND epoch = :epoch AND partition = :partition
    """)
    given = {"topic": topic, "epoch": epoch, "partition": partition}
    return set((await connection.execute(statement, given)).scalars())


async def lock_out(connection: AsyncConnection) -> datetime:
    """Keep every worker out of the tables until the end of this database transaction, and take all the time it needs."""
    await connection.execute(sql("SET LOCAL statement_timeout = 0"))
    await connection.execute(sql("SET LOCAL idle_in_transaction_session_timeout = 0"))
    await connection.execute(sql("LOCK TABLE offsets, lanes, outbox IN EXCLUSIVE MODE"))
    now: datetime = (await connection.execute(sql("SELECT now()"))).scalar_one()
    return now


async def release_lanes(connection: AsyncConnection) -> list[str]:
    """Raise every fence above what was forgotten, free the relays' shards; returns the accounts whose lane was leased."""
    await connection.execute(sql("UPDATE relay_shards SET owner = NULL, lease_until = NULL"))
    statement = sql(f"UPDATE lanes SET fence = fence + {FENCE_LEAP} RETURNING account_no, state")
    return [row.account_no for row in await connection.execute(statement) if row.state == "leased"]


async def take_back(
    connection: AsyncConnection, heard: Mapping[UUID, Heard]
) -> tuple[dict[str, int], dict[UUID, Heard]]:
    """Store the outcomes that the topic has and the database has not, and where the topic has each.

    What waited to be published under a number that the topic has given to another outcome moves behind the highest;
    what the topic has under another number is taken as the topic has it, and so is a command's one terminal outcome.
    Returns per account the highest number, and the outcomes that were unknown.
    """
    highest: dict[str, int] = {}
    for one in heard.values():
        highest[one.account_no] = max(highest.get(one.account_no, 0), one.account_seq)
    moved = await _take_out_clashes(connection, heard, highest)
    known = await known_events(connection, heard)
    fresh = {key: one for key, one in heard.items() if key not in known}
    await insert(connection, "outcomes", OUTCOMES, [_row(one) for one in fresh.values()])
    for row in moved:
        number = highest[row["account_no"]] = highest[row["account_no"]] + 1
        row |= {"account_seq": number, "value": renumbered(bytes(row["value"]), number)}
    await insert(connection, "outcomes", OUTCOMES, moved)
    given = {"ids": list(heard)}
    await connection.execute(sql("DELETE FROM outbox WHERE kind = 'outcome' AND ref_id = ANY(:ids)"), given)
    places = [_place(one) for one in heard.values()]
    await insert(connection, "publications", PUBLICATIONS, places, on_conflict="ON CONFLICT DO NOTHING")
    return highest, fresh


async def _take_out_clashes(
    connection: AsyncConnection, heard: Mapping[UUID, Heard], highest: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Take out unpublished outcomes whose number the topic has given to another; returns them, the oldest first."""
    statement = sql("""
        SELECT e.event_id, e.account_no, e.account_seq, e.type, e.command_id, e.recorded_at, e.value, e.headers
        FROM outbox o JOIN outcomes e ON e.event_id = o.ref_id
        WHERE o.kind = 'outcome' AND e.account_no = ANY(:accounts) ORDER BY e.account_no, e.account_seq
    """)
    waiting = [dict(row) for row in (await connection.execute(statement, {"accounts": list(highest)})).mappings()]
    there = {key: one.account_seq for key, one in heard.items()}
    clashing = [
        row
        for row in waiting
        if row["account_seq"] <= highest[row["account_no"]] and there.get(row["event_id"]) != row["account_seq"]
    ]
    doomed = {"ids": [row["event_id"] for row in clashing]}
    await connection.execute(sql("DELETE FROM outcomes WHERE event_id = ANY(:ids)"), doomed)
    ended = {one.command_id for one in heard.values() if one.ends_command}
    overruled = [r["event_id"] for r in clashing if r["type"] in ENDINGS and r["command_id"] in ended]
    await connection.execute(sql("DELETE FROM outbox WHERE ref_id = ANY(:ids)"), {"ids": overruled})
    return [row for row in clashing if row["event_id"] not in heard and row["event_id"] not in overruled]


def _row(one: Heard) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "account_no": one.account_no,
        "account_seq": one.account_seq,
        "type": one.type,
        "command_id": one.command_id,
        "recorded_at": one.recorded_at,
        "value": one.record.value,
        "headers": pack_headers(one.record.headers),
    }


def _place(one: Heard) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "published_at": one.published_at,
        "partition": one.record.partition,
        "offset": one.record.offset,
    }


async def note_letters(connection: AsyncConnection, letters: Sequence[Mapping[str, Any]]) -> None:
    """Note where Kafka has these dead letters, which are therefore not published again."""
    statement = sql("""
        UPDATE dead_letters SET published_at = :published_at, published_partition = :published_partition,
            published_offset = :published_offset
        WHERE dead_letter_id = :dead_letter_id AND published_at IS NULL
    """)
    if letters:
        await connection.execute(statement, [dict(letter) for letter in letters])
    given = {"ids": [letter["dead_letter_id"] for letter in letters]}
    await connection.execute(sql("DELETE FROM outbox WHERE kind = 'dead_letter' AND ref_id = ANY(:ids)"), given)


async def keep_ids(connection: AsyncConnection, heard: Collection[Heard], hash_version: int) -> int:
    """Keep the ids of commands that only their outcome tells of: whoever uses one again is in conflict, never called."""
    rows = {one.command_id: one for one in heard}
    known = set(
        (
            await connection.execute(
                sql("SELECT command_id FROM command_ids WHERE command_id = ANY(:ids)"), {"ids": list(rows)}
            )
        ).scalars()
    )
    missing = [
        {
            "command_id": one.command_id,
            "account_no": one.account_no,
            "command_type": one.command_type,
            "content_hash": b"",
            "hash_version": hash_version,
        }
        for one in rows.values()
        if one.command_id not in known
    ]
    await insert(connection, "command_ids", BARE_ID, missing)
    return len(missing)


async def read_unfinished(connection: AsyncConnection, told_of: Collection[UUID]) -> list[CommandRow]:
    """Read all commands that are not finished, and these, in the sequence of their lanes."""
    statement = sql(f"""
        SELECT {COMMAND_COLUMNS} FROM commands c
        WHERE c.state NOT IN ('succeeded', 'rejected') OR c.command_id = ANY(:told_of)
        ORDER BY c.account_no, c.position
    """)
    return [command_row(row) for row in (await connection.execute(statement, {"told_of": list(told_of)})).mappings()]


async def read_recovered(connection: AsyncConnection) -> set[UUID]:
    """Return the unfinished commands for which nothing was tried since they were recovered."""
    statement = sql("""
        SELECT c.command_id FROM commands c
        JOIN attempts a ON a.command_id = c.command_id AND a.kind = 'write' AND a.number = c.attempts
        WHERE c.state NOT IN ('succeeded', 'rejected') AND a.rule = :rule
    """)
    return set((await connection.execute(statement, {"rule": RECOVERED})).scalars())


async def read_open_adjustments(connection: AsyncConnection, ended: Collection[UUID]) -> list[UUID]:
    """Return the temporary adjustments that are open and past their hour, or among these."""
    statement = sql("""
        SELECT command_id FROM temp_adjustments
        WHERE ended_at IS NULL AND adjust_no IS NOT NULL AND (expires_at <= now() OR command_id = ANY(:ended))
    """)
    return list((await connection.execute(statement, {"ended": list(ended)})).scalars())


async def silence(connection: AsyncConnection, command_ids: Collection[UUID], message: str) -> None:
    """Give up waiting for calls of these commands that were under way: their writes are in doubt."""
    statement = sql("""
        UPDATE attempts SET known = CASE WHEN kind = 'look' THEN 'unreadable' ELSE 'in_doubt' END, rule = :rule,
            message = :message, reported_at = now()
        WHERE command_id = ANY(:ids) AND known = 'open'
    """)
    await connection.execute(statement, {"ids": list(command_ids), "rule": RECOVERED, "message": message})


async def add_doubts(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store the attempts that stand for forgotten calls; commands they are writes of are in doubt by so many attempts."""
    await insert(connection, "attempts", RECALLED, [{"method": "", "path": "", "body": b"", **row} for row in rows])
    statement = sql("""
        UPDATE commands SET attempts = :number, state = CASE WHEN state = 'parked' THEN state ELSE 'in_doubt' END
        WHERE command_id = :command_id
    """)
    writes = [{"command_id": row["command_id"], "number": row["number"]} for row in rows if row["kind"] == "write"]
    if writes:
        await connection.execute(statement, writes)


async def forget_notices(connection: AsyncConnection, told: Collection[tuple[UUID, bool]]) -> None:
    """Let these doubts (command_id, of an expiry) be told of no more: the topic has the notice."""
    statement = sql("UPDATE doubts SET notice_at = NULL WHERE command_id = :command_id AND is_expiry = :is_expiry")
    if told:
        await connection.execute(statement, [{"command_id": c, "is_expiry": e} for c, e in told])


async def read_notices(connection: AsyncConnection) -> list[tuple[UUID, bool, int]]:
    """Return the doubts that are still to be told of: (command_id, of an expiry, number of the attempt)."""
    statement = sql("SELECT command_id, is_expiry, attempt_number FROM doubts WHERE notice_at IS NOT NULL")
    return [(row[0], row[1], row[2]) for row in await connection.execute(statement)]


async def move_places(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Let intake go on at these offsets; what lies before them has been taken."""
    columns = {
        "topic": "text",
        "partition": "int",
        "next_offset": "bigint",
        "last_offset": "bigint",
        "last_digest": "bytea",
    }
    await insert(
        connection,
        "offsets",
        columns,
        rows,
        on_conflict="""ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset,
            last_offset = coalesce(excluded.last_offset, offsets.last_offset),
            last_digest = coalesce(excluded.last_digest, offsets.last_digest), refusals_in_row = 0""",
    )
