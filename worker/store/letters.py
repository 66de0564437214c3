"""Dead letters as operators list them: by what is wrong with them, one by one, and byte for byte."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.blobs import unpack_headers
from worker.store.shown import Shown, all_shown, text_of

_COLUMNS = """d.dead_letter_id, d.failed_at, d.reason, d.code, d.field, d.fingerprint, d.topic, d.partition, d."offset",
    d.command_id, d.account_no, d.message, d.state, d.triage_reason, d.triaged_by, d.triaged_at, d.redrive_count,
    d.published_at, d.published_partition, d.published_offset"""
_CHOSEN = """(CAST(:reason AS text) IS NULL OR d.reason = :reason)
    AND (CAST(:state AS text) IS NULL OR d.state = :state)
    AND (CAST(:topic AS text) IS NULL OR d.topic = :topic)"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which dead letters a list shows; None is every."""

    reason: str | None = None
    state: str | None = None
    topic: str | None = None


async def group_dead_letters(
    connection: AsyncConnection, *, chosen: Chosen | None = None, after: str | None = None, limit: int
) -> list[Shown]:
    """Group by fingerprint: how many in which state, since when, the last one as a sample; the most frequent first.

    `after` is the fingerprint of the last group seen. Counted in an index alone; the rest is read for the page's groups.
    """
    statement = text(f"""
        WITH groups AS MATERIALIZED (
            SELECT d.fingerprint, count(*) AS count, min(d.failed_at) AS first_at, max(d.failed_at) AS last_at,
                   count(*) FILTER (WHERE d.state = 'new') AS new, count(*) FILTER (WHERE d.state = 'seen') AS seen,
                   count(*) FILTER (WHERE d.state = 'ignored') AS ignored,
                   count(*) FILTER (WHERE d.state = 'redriven') AS redriven
            FROM dead_letters d WHERE {_CHOSEN} GROUP BY d.fingerprint
        ), page AS (
            SELECT * FROM groups
            WHERE CAST(:after AS text) IS NULL
               OR (-count, fingerprint) > (SELECT -l.count, l.fingerprint FROM groups l WHERE l.fingerprint = :after)
            ORDER BY count DESC, fingerprint LIMIT :limit
        )
        SELECT p.fingerprint, s.reason, s.code, s.field, p.count, p.new, p.seen, p.ignored, p.redriven, p.first_at,
               p.last_at, s.dead_letter_id AS sample, s.message
        FROM page p CROSS JOIN LATERAL (
            SELECT d.reason, d.code, d.field, d.dead_letter_id, d.message FROM dead_letters d
            WHERE d.fingerprint = p.fingerprint AND {_CHOSEN}
            ORDER BY d.failed_at DESC, d.dead_letter_id DESC LIMIT 1
        ) s
        ORDER BY p.count DESC, p.fingerprint
    """)
    given = {**asdict(chosen or Chosen()), "after": after, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())


async def list_dead_letters(
    connection: AsyncConnection,
    *,
    fingerprint: str | None,
    chosen: Chosen | None = None,
    after: UUID | None,
    limit: int,
) -> list[Shown]:
    """List dead letters, the latest first; `after` is the id of the last one seen."""
    statement = text(f"""
        SELECT {_COLUMNS} FROM dead_letters d
        WHERE (CAST(:fingerprint AS text) IS NULL OR d.fingerprint = :fingerprint) AND {_CHOSEN}
          AND (CAST(:after AS uuid) IS NULL OR (d.failed_at, d.dead_letter_id) <
               (SELECT s.failed_at, s.dead_letter_id FROM dead_letters s WHERE s.dead_letter_id = :after))
        ORDER BY d.failed_at DESC, d.dead_letter_id DESC LIMIT :limit
    """)
    given = {"fingerprint": fingerprint, **asdict(chosen or Chosen()), "after": after, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())


async def read_dead_letter(connection: AsyncConnection, dead_letter_id: UUID) -> list[Shown]:
    """Read one dead letter with its record and how often it was put back, bytes as hex and as text."""
    statement = text(f"""
        SELECT {_COLUMNS}, d.epoch, r.disposition, r.produced_at, r.read_at, r.redacted_at, encode(r.digest, 'hex') AS digest,
               r.key, r.value, r.headers
        FROM dead_letters d JOIN records r ON r.topic = d.topic AND r.epoch = d.epoch AND r.partition = d.partition
            AND r."offset" = d."offset"
        WHERE d.dead_letter_id = :dead_letter_id
    """)
    rows = all_shown((await connection.execute(statement, {"dead_letter_id": dead_letter_id})).mappings())
    return [
        row
        | {
            "key": _both(row["key"]),
            "value": _both(row["value"]),
            "headers": [
                {"name": _both(name), "value": _both(value)} for name, value in unpack_headers(bytes(row["headers"]))
            ],
            "redrives": await _list_redrives(connection, dead_letter_id),
        }
        for row in rows
    ]


async def _list_redrives(connection: AsyncConnection, dead_letter_id: UUID) -> list[Shown]:
    statement = text("""
        SELECT number, redriven_at, actor, reason, disposition, message, command_id, value AS edited FROM redrives
        WHERE dead_letter_id = :dead_letter_id ORDER BY number
    """)
    rows = all_shown((await connection.execute(statement, {"dead_letter_id": dead_letter_id})).mappings())
    return [row | {"edited": text_of(row["edited"])} for row in rows]


def _both(value: Any) -> dict[str, str | None] | None:  # noqa: ANN401 - bytes as the driver gives them
    return None if value is None else {"hex": bytes(value).hex(), "text": text_of(value)}
