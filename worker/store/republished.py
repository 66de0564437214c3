"""The outcomes of the records of a range, in the sequence in which they go out again."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.records import Headers
from worker.store.arrays import arrays
from worker.store.blobs import unpack_headers
from worker.store.engine import from_arrays, sql
from worker.store.replays import Plan

SPAN = {"partition": "int", "epoch": "int", "from_offset": "bigint", "to_offset": "bigint"}
GATHER_TIMEOUT = "30min"
# A duplicate and a conflict are of their own record, everything else of the record that was accepted or refused: what
# came of it later, too. A person's edit of a dead letter has another id and the place of the record that was read. The
# place inside the outcome tells records apart that have one id.
_BELONGING = f"""
    FROM {from_arrays(SPAN, alias="span")}
    JOIN records r ON r.topic = :topic AND r.epoch = span.epoch AND r.partition = span.partition
        AND r."offset" >= span.from_offset AND r."offset" < span.to_offset
    CROSS JOIN LATERAL (
        SELECT r.command_id, r.disposition
        UNION
        SELECT x.command_id, x.disposition FROM dead_letters d JOIN redrives x USING (dead_letter_id)
        WHERE d.topic = r.topic AND d.epoch = r.epoch AND d.partition = r.partition AND d."offset" = r."offset"
          AND x.value IS NOT NULL
    ) known
    JOIN outcomes o ON o.command_id = known.command_id
        AND (known.disposition IN ('duplicate', 'conflict')) = (o.type IN ('command.duplicate', 'command.conflicted'))
    JOIN command_ids i ON i.command_id = o.command_id
    LEFT JOIN publications p ON p.event_id = o.event_id
    CROSS JOIN LATERAL (SELECT CAST(convert_from(o.value, 'UTF8') AS jsonb) -> 'source' AS source) told
    WHERE told.source ->> 'topic' = r.topic AND CAST(told.source ->> 'partition' AS int) = r.partition
      AND CAST(told.source ->> 'offset' AS bigint) = r."offset"
      AND (CAST(:account AS text) IS NULL OR o.account_no = :account)
      AND (CAST(:type AS text) IS NULL OR i.command_type = :type)
      AND (CAST(:ids AS uuid[]) IS NULL OR o.command_id = ANY(:ids))
"""


class Stored(NamedTuple):
    """An outcome as it was published; `number` is its place in the sequence."""

    number: int
    key: bytes
    value: bytes
    headers: Headers
    timestamp_ms: int


async def count_outcomes(connection: AsyncConnection, plan: Plan) -> tuple[int, int]:
    """Count the outcomes of a plan's range that were published, and those that were not yet."""
    await connection.execute(sql(f"SET LOCAL statement_timeout = '{GATHER_TIMEOUT}'"))
    counted = sql(f"""
        SELECT count(p.event_id), count(*) - count(p.event_id)
        {_BELONGING}
    """)
    published, waiting = (await connection.execute(counted, _given(plan))).one()
    return published, waiting


async def count_pruned(connection: AsyncConnection, plan: Plan) -> int:
    """Count the records of a plan's range whose command has ended and whose terminal outcome is not kept any more."""
    statement = sql(f"""
        SELECT count(*) FROM {from_arrays(SPAN, alias="span")}
        JOIN records r ON r.topic = :topic AND r.epoch = span.epoch AND r.partition = span.partition
            AND r."offset" >= span.from_offset AND r."offset" < span.to_offset
        JOIN command_ids i ON i.command_id = r.command_id AND i.terminal_event_id IS NOT NULL
        WHERE NOT EXISTS (SELECT FROM outcomes o WHERE o.event_id = i.terminal_event_id)
          AND (CAST(:account AS text) IS NULL OR i.account_no = :account)
          AND (CAST(:type AS text) IS NULL OR i.command_type = :type)
          AND (CAST(:ids AS uuid[]) IS NULL OR i.command_id = ANY(:ids))
    """)
    return int((await connection.execute(statement, _given(plan))).scalar_one())


async def gather_outcomes(connection: AsyncConnection, plan: Plan, to_topic: str) -> int:
    """Note what goes out again, an account's outcomes one after the other; returns how many. What was noted is dropped."""
    await connection.execute(sql(f"SET LOCAL statement_timeout = '{GATHER_TIMEOUT}'"))
    await forget_outcomes(connection, plan.plan_id, to_topic)
    statement = sql(f"""
        INSERT INTO replay_outcomes (plan_id, to_topic, number, event_id)
        SELECT :plan_id, :to_topic, row_number() OVER (ORDER BY o.account_no, o.account_seq), o.event_id
        {_BELONGING} AND p.event_id IS NOT NULL
    """)
    given = _given(plan) | {"plan_id": plan.plan_id, "to_topic": to_topic}
    return (await connection.execute(statement, given)).rowcount


async def read_outcomes(
    connection: AsyncConnection, plan_id: UUID, to_topic: str, after: int, limit: int
) -> list[Stored]:
    """Read the next outcomes after a number, as the relay published them."""
    statement = sql("""
        SELECT n.number, convert_to(o.account_no, 'UTF8'), o.value, o.headers,
               CAST(extract(epoch FROM o.recorded_at) * 1000 AS bigint)
        FROM replay_outcomes n JOIN outcomes o USING (event_id)
        WHERE n.plan_id = :plan_id AND n.to_topic = :to_topic AND n.number > :after
        ORDER BY n.number LIMIT :limit
    """)
    given = {"plan_id": plan_id, "to_topic": to_topic, "after": after, "limit": limit}
    return [
        Stored(number, bytes(key), bytes(value), unpack_headers(bytes(headers)), timestamp_ms)
        for number, key, value, headers, timestamp_ms in await connection.execute(statement, given)
    ]


async def count_noted(connection: AsyncConnection, plan_id: UUID, to_topic: str) -> int:
    """Count what was noted for a republishing."""
    statement = sql("SELECT count(*) FROM replay_outcomes WHERE plan_id = :plan_id AND to_topic = :to_topic")
    count: int = (await connection.execute(statement, {"plan_id": plan_id, "to_topic": to_topic})).scalar_one()
    return count


async def forget_outcomes(connection: AsyncConnection, plan_id: UUID, to_topic: str) -> None:
    """Drop what was noted for a republishing."""
    statement = sql("DELETE FROM replay_outcomes WHERE plan_id = :plan_id AND to_topic = :to_topic")
    await connection.execute(statement, {"plan_id": plan_id, "to_topic": to_topic})


def _given(plan: Plan) -> dict[str, Any]:
    spans: Sequence[Mapping[str, Any]] = plan.ranges
    filters = {name: plan.filters.get(name) for name in ("account", "type")}
    ids = None if plan.ids is None else list(plan.ids)
    return {"topic": plan.topic, "ids": ids, **filters, **arrays(SPAN, spans)}
