"""What the database knows of records that are read again: by their place, by their id, and which ranges nobody read."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.positions import TopicPartition
from worker.ledger.replays import KnownId, KnownRecord
from worker.store.engine import sql


async def read_records(
    connection: AsyncConnection, place: TopicPartition, epoch: int, offsets: Sequence[int]
) -> dict[int, KnownRecord]:
    """Return by offset what was stored of these records of a partition."""
    statement = sql("""
        SELECT r."offset", r.disposition, i.verdict IS NOT NULL
        FROM records r LEFT JOIN command_ids i USING (command_id)
        WHERE r.topic = :topic AND r.epoch = :epoch AND r.partition = :partition AND r."offset" = ANY(:offsets)
    """)
    given = {"topic": place[0], "partition": place[1], "epoch": epoch, "offsets": list(offsets)}
    return {offset: KnownRecord(*row) for offset, *row in await connection.execute(statement, given)}


async def read_ids(connection: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, KnownId]:
    """Return what is known of these command ids."""
    statement = sql("""
        SELECT command_id, account_no, content_hash, verdict IS NOT NULL FROM command_ids WHERE command_id = ANY(:ids)
    """)
    rows = await connection.execute(statement, {"ids": list(ids)})
    return {id_: KnownId(account_no, bytes(content), ended) for id_, account_no, content, ended in rows}


async def read_skipped(connection: AsyncConnection, topic: str) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the ranges of a topic that `topics adopt` passed over, by partition and epoch, each before its end."""
    statement = sql("""
        SELECT partition, epoch, from_offset, to_offset FROM skipped_ranges WHERE topic = :topic ORDER BY from_offset
    """)
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for partition, epoch, start, end in await connection.execute(statement, {"topic": topic}):
        found.setdefault((partition, epoch), []).append((start, end))
    return found


async def epoch_of(connection: AsyncConnection, place: TopicPartition) -> int | None:
    """Return a partition's epoch and keep it as it is until this database transaction ends; None if never read."""
    statement = sql("SELECT epoch FROM offsets WHERE topic = :topic AND partition = :partition FOR SHARE")
    given = {"topic": place[0], "partition": place[1]}
    found: int | None = (await connection.execute(statement, given)).scalar_one_or_none()
    return found
