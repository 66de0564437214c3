"""Dead letters as operators list them: by what is wrong with them, one by one, and byte for byte."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.blobs import unpack_headers
from worker.store.shown import Shown, all_shown, text_of

_COLUMNS = """d.dead_letter_id, d.failed_at, d.reason, d.code, d.field, d.fingerprint, d.topic, d.partition, d."offset",
    d.command_id, d.account_no, d.message, d.published_at, d.published_partition, d.published_offset"""


async def group_dead_letters(connection: AsyncConnection, *, limit: int) -> list[Shown]:
    """Group by fingerprint: how many, since when, the last one's id as a sample; the most frequent first."""
    statement = text("""
        SELECT fingerprint, min(reason) AS reason, min(code) AS code, min(field) AS field, count(*) AS count,
               min(failed_at) AS first_at, max(failed_at) AS last_at,
               (array_agg(dead_letter_id ORDER BY failed_at DESC, dead_letter_id DESC))[1] AS sample,
               (array_agg(message ORDER BY failed_at DESC, dead_letter_id DESC))[1] AS message
        FROM dead_letters GROUP BY fingerprint ORDER BY count(*) DESC, fingerprint LIMIT :limit
    """)
    return all_shown((await connection.execute(statement, {"limit": limit})).mappings())


async def list_dead_letters(
    connection: AsyncConnection, *, fingerprint: str | None, after: UUID | None, limit: int
) -> list[Shown]:
    """List dead letters, the latest first; `after` is the id of the last one seen."""
    statement = text(f"""
        SELECT {_COLUMNS} FROM dead_letters d
        WHERE (CAST(:fingerprint AS text) IS NULL OR d.fingerprint = :fingerprint)
          AND (CAST(:after AS uuid) IS NULL OR (d.failed_at, d.dead_letter_id) <
               (SELECT s.failed_at, s.dead_letter_id FROM dead_letters s WHERE s.dead_letter_id = :after))
        ORDER BY d.failed_at DESC, d.dead_letter_id DESC LIMIT :limit
    """)
    given = {"fingerprint": fingerprint, "after": after, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())


async def read_dead_letter(connection: AsyncConnection, dead_letter_id: UUID) -> list[Shown]:
    """Read one dead letter with its record, bytes as hex and as text."""
    statement = text(f"""
        SELECT {_COLUMNS}, d.epoch, r.produced_at, r.read_at, r.key, r.value, r.headers
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
        }
        for row in rows
    ]


def _both(value: Any) -> dict[str, str | None] | None:  # noqa: ANN401 - bytes as the driver gives them
    return None if value is None else {"hex": bytes(value).hex(), "text": text_of(value)}
