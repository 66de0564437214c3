"""What `topics adopt` changes: a partition's stored place, where the log no longer bears it out.

A range in `skipped_ranges` ends before its `to_offset`.
"""

from datetime import datetime
from typing import cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.positions import Position, TopicPartition


async def read_now(connection: AsyncConnection) -> datetime:
    """Read the time of this database transaction."""
    return cast("datetime", (await connection.execute(text("SELECT now()"))).scalar_one())


async def skip_range(connection: AsyncConnection, place: TopicPartition, position: Position, goes_on_at: int) -> bool:
    """Move a place on and note the range that nobody has read; False if it has moved since."""
    if not await _move(connection, place, position, "next_offset = :goes_on_at", goes_on_at):
        return False
    await note_skipped(connection, place, position.epoch, position.next_offset, goes_on_at)
    return True


async def note_skipped(connection: AsyncConnection, place: TopicPartition, epoch: int, start: int, end: int) -> None:
    """Note a range that nobody has read."""
    topic, partition = place
    await connection.execute(
        text("""
            INSERT INTO skipped_ranges (topic, partition, epoch, from_offset, to_offset)
            VALUES (:topic, :partition, :epoch, :from_offset, :to_offset)
        """),
        {
            "topic": topic,
            "partition": partition,
            "epoch": epoch,
            "from_offset": start,
            "to_offset": end,
        },
    )


async def open_epoch(
    connection: AsyncConnection, place: TopicPartition, position: Position, log_start: int, goes_on_at: int
) -> bool:
    """Begin a new epoch of the topic as it is now, passing over what it has before `goes_on_at`; False as above."""
    change = """
        epoch = epoch + 1, next_offset = :goes_on_at, last_offset = NULL, last_digest = NULL, refusals_in_row = 0
    """
    if not await _move(connection, place, position, change, goes_on_at):
        return False
    if log_start < goes_on_at:
        await note_skipped(connection, place, position.epoch + 1, log_start, goes_on_at)
    return True


async def _move(
    connection: AsyncConnection, place: TopicPartition, position: Position, change: str, goes_on_at: int
) -> bool:
    topic, partition = place
    statement = text(f"""
        UPDATE offsets SET {change}
        WHERE topic = :topic AND partition = :partition AND epoch = :epoch AND next_offset = :next_offset
    """)
    given = {
        "topic": topic,
        "partition": partition,
        "epoch": position.epoch,
        "next_offset": position.next_offset,
        "goes_on_at": goes_on_at,
    }
    return (await connection.execute(statement, given)).rowcount == 1
