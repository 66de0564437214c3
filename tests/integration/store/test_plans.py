"""The statements of the path find their rows by index, however long the tables have become."""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.integration.store.world import World
from worker import clock
from worker.ledger.limits import QUANTITY
from worker.store import attempts, brakes, doubts, engine, lanes, limits, outbox, references, rest, timers
from worker.store.attempts import silence_attempts
from worker.store.engine import transaction
from worker.store.rest import Hold, rest_lanes
from worker.store.rows import LaneRow
from worker.store.tables import SHARDS

ROWS = 50_000
COUNTED = limits.Counted("A7", "position.adjust", QUANTITY, Decimal(1))
EMPTY_HERE = {"temp_adjustments", "dead_letters", "records", "audit", "brakes", "doubts_seen"}

# Of each table most rows are not what the path looks for.
FILL = f"""
INSERT INTO lanes (account_no, state, ready_at, wake_at, hold_reason, owner, lease_until, next_position, head_position)
SELECT 'A' || i, CASE WHEN i % 500 = 0 THEN 'ready' WHEN i % 500 = 1 THEN 'held' WHEN i % 500 = 2 THEN 'leased' ELSE 'idle' END,
       now() - i * interval '1 ms', CASE WHEN i % 500 = 1 THEN now() + (i - 25000) * interval '1 s' END, 'x',
       CASE WHEN i % 500 = 2 THEN gen_random_uuid() END, CASE WHEN i % 500 = 2 THEN now() + (i - 25000) * interval '1 s' END, 3, 2
FROM generate_series(1, {ROWS}) i;
INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch, partition,
                      "offset", accepted_at, state, finished_at)
SELECT gen_random_uuid(), 'A' || i, p, 'cash.adjust', false, '{{}}', now(), 't', 1, 0, i * 2 + p, now(),
       CASE p WHEN 1 THEN 'succeeded' ELSE 'queued' END, CASE p WHEN 1 THEN now() END
FROM generate_series(1, {ROWS}) i, generate_series(1, 2) p;
INSERT INTO attempts (attempt_id, command_id, account_no, kind, number, operation, fence, owner, opened_at, send_before_at,
                      lease_until, horizon_at, method, path, known)
SELECT gen_random_uuid(), command_id, account_no, 'write', 1, 'cash.adjust', 1, gen_random_uuid(), now(), now(), now(),
       now(), 'POST', '/', 'confirmed' FROM commands WHERE position = 1;
INSERT INTO timers (command_id, account_no, kind, state, due_at, wake_at)
SELECT command_id, account_no, 'expire', 'armed', now() + "offset" * interval '1 s' - interval '100 s',
       now() + "offset" * interval '1 s' - interval '100 s' FROM commands WHERE position = 1;
INSERT INTO doubts (command_id, is_expiry, account_no, operation, attempt_number, since_at, notice_at, reason)
SELECT command_id, false, account_no, 'cash.adjust', 1, now(),
       CASE WHEN "offset" % 500 = 0 THEN now() + ("offset" - 50000) * interval '1 s' END, 'x' FROM commands WHERE position = 2;
INSERT INTO numbers (kind, number, account_no, command_id)
SELECT 'serial_num', 'S' || "offset", account_no, command_id FROM commands;
INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers)
SELECT gen_random_uuid(), account_no, 1, 'x', command_id, now(), '', '' FROM commands WHERE position = 1;
INSERT INTO day_totals (day, account_no, operation, unit, used)
SELECT current_date, account_no, 'position.adjust', 'quantity', 1 FROM lanes;
INSERT INTO outbox (shard, kind, ref_id, ordered_by, recorded_at, set_aside_reason)
SELECT abs(hashtext(account_no)) % {SHARDS}, 'outcome', event_id, account_no, now(),
       CASE WHEN account_no = 'A7' THEN 'too large' END FROM outcomes;
"""


@pytest.fixture
async def full(world: World) -> World:
    for statement in filter(str.strip, FILL.split(";")):
        await world.sql(statement.replace("'{{}}'", "'{}'"))
    async with world.engine.connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.exec_driver_sql("ANALYZE")
    return world


async def plans(world: World, ask: Callable[[AsyncConnection], Awaitable[object]]) -> list[dict[str, Any]]:
    """The plans of the statements that `ask` makes; what they change is taken back."""
    said: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, given: Any, *___: object) -> None:
        said.append((statement, given))

    async def note_direct(connection: AsyncConnection, statement: str, given: Any) -> list[tuple[Any, ...]]:
        rows = await run(connection, f"EXPLAIN (FORMAT JSON) {statement}", given)
        found.append(rows[0][0][0]["Plan"])
        return await run(connection, statement, given)

    found: list[dict[str, Any]] = []
    run = engine.run
    async with world.engine.connect() as connection:
        event.listen(world.engine.sync_engine, "before_cursor_execute", note)
        with pytest.MonkeyPatch.context() as patch:
            for module in (attempts, brakes, lanes, limits, outbox, rest):
                patch.setattr(module, "run", note_direct)
            await ask(connection)
        event.remove(world.engine.sync_engine, "before_cursor_execute", note)
        for statement, given in said:
            rows = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", given)
            plan = rows.scalar_one()
            found.append((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
        await connection.rollback()
    assert found
    return found


def scanned(plan: dict[str, Any]) -> set[str]:
    """The tables that a plan reads from end to end."""
    own = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return own.union(*(scanned(part) for part in plan.get("Plans", ())))


def lane(account_no: str) -> LaneRow:
    return LaneRow(account_no, "leased", 1, 0, 2, 3)


async def read_some_heads(connection: AsyncConnection) -> None:
    await lanes.read_heads(connection, {f"A{i}": lane(f"A{i}") for i in range(500, 5000, 50)})


async def lease_some(connection: AsyncConnection, *, urgent_only: bool) -> None:
    await lanes.lease_ready(connection, 100, owner=clock.new_id(), lease_s=30.0, urgent_only=urgent_only)


async def rest_some(connection: AsyncConnection) -> None:
    chosen = {f"A{i}": lane(f"A{i}") for i in range(500, 5000, 50)}
    for one in chosen.values():
        one.state = "idle"
    hold = Hold(None, urgent=False, reason="")
    await rest_lanes(connection, chosen, dict.fromkeys(chosen, hold), clock.utc_now())


ASKED: dict[str, Callable[[AsyncConnection], Awaitable[object]]] = {
    "take ready lanes": lambda c: lease_some(c, urgent_only=False),
    "take urgent lanes": lambda c: lease_some(c, urgent_only=True),
    "read heads": read_some_heads,
    "wake lanes": lambda c: lanes.wake_lanes(c, 100),
    "take silent lanes": lambda c: lanes.take_silent(c, 100),
    "silence attempts": lambda c: silence_attempts(c, ["A2", "A502"], [1, 1], clock.utc_now()),
    "rest lanes": rest_some,
    "read due timers": lambda c: timers.read_due(c, "expire", 200),
    "look for the next timer": timers.seconds_to_next,
    "read untold doubts": lambda c: doubts.read_untold(c, 100),
    "read the outbox": lambda c: outbox.read_waiting(c, [1, 2, 3], 100),
    "count doubts": lambda c: brakes.pause_doubtful(c, ["cash.adjust", "cash.freeze"], 10),
    "read the day's totals": lambda c: limits.read_used(c, [COUNTED], clock.utc_now()),
    "count what goes out": lambda c: limits.count_sent(c, [COUNTED], clock.utc_now()),
    "read numbers": lambda c: references._read_numbers(c, ["serial_num"], ["S7", "S8"]),
}


async def test_no_statement_of_the_path_reads_a_long_table_from_end_to_end(full: World) -> None:
    found = {}
    for name, ask in ASKED.items():
        tables = set().union(*(scanned(plan) for plan in await plans(full, ask))) - EMPTY_HERE
        if tables:
            found[name] = tables
    assert found == {}


async def test_read_due_ends_at_now(full: World) -> None:
    async with transaction(full.engine) as connection:
        due = await timers.read_due(connection, "expire", 1000)
    assert len(due) == len(await full.sql("SELECT 1 FROM timers WHERE wake_at <= now()")) > 0
