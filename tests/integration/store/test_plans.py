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
from worker.ledger.commands import Refusal
from worker.ledger.limits import QUANTITY
from worker.ledger.retention import Aged
from worker.store import (
    attempts,
    brakes,
    doubts,
    engine,
    facts,
    histories,
    inbox,
    lanes,
    limits,
    outbox,
    pruning,
    reconciling,
    references,
    rest,
    timers,
)
from worker.store.attempts import silence_attempts
from worker.store.engine import transaction
from worker.store.rest import Hold, rest_lanes
from worker.store.rows import LaneRow
from worker.store.tables import SHARDS

ROWS = 50_000
NO_PLAN = ("SET", "LOCK", "SELECT pg_advisory")
COUNTED = limits.Counted("A7", "position.adjust", QUANTITY, Decimal(1))
EMPTY_HERE = {"temp_adjustments", "audit", "brakes", "doubts_seen", "parked", "watches", "redrives", "evidence"}
SMALL = {"relay_shards", "offsets", "replay_outcomes", "prunings"}

# Of each table most rows are not what the path looks for.
FILL = f"""
INSERT INTO lanes (account_no, state, ready_at, wake_at, hold_reason, owner, lease_until, next_position, head_position)
SELECT 'A' || i, CASE WHEN i % 500 = 0 THEN 'ready' WHEN i % 500 = 1 THEN 'held' WHEN i % 500 = 2 THEN 'leased' ELSE 'idle' END,
       now() - i * interval '1 ms', CASE WHEN i % 500 = 1 THEN now() + (i - {ROWS // 2}) * interval '1 s' END, 'x',
       CASE WHEN i % 500 = 2 THEN gen_random_uuid() END, CASE WHEN i % 500 = 2 THEN now() + (i - {ROWS // 2}) * interval '1 s' END, 3, 2
FROM generate_series(1, {ROWS}) i;
INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch, partition,
                      "offset", accepted_at, state, finished_at)
SELECT gen_random_uuid(), 'A' || i, p, 'cash.adjust', false, '{{}}', now(), 't', 1, 0, i * 2 + p, now(),
       CASE p WHEN 1 THEN 'succeeded' ELSE 'queued' END, CASE p WHEN 1 THEN now() END
FROM generate_series(1, {ROWS}) i, generate_series(1, 2) p;
INSERT INTO command_ids (command_id, account_no, command_type, content_hash, hash_version, verdict, terminal_event_id)
SELECT command_id, account_no, command_type, '', 1, CASE position WHEN 1 THEN 'succeeded' END,
       CASE position WHEN 1 THEN command_id END FROM commands;
INSERT INTO records (topic, epoch, partition, "offset", produced_at, value, headers, disposition, command_id)
SELECT topic, epoch, partition, "offset", now(), '{{}}', '', 'accepted', command_id FROM commands;
INSERT INTO dead_letters (dead_letter_id, topic, epoch, partition, "offset", reason, message, fingerprint, failed_at, headers)
SELECT gen_random_uuid(), topic, epoch, partition, "offset", 'REFUSED', 'x', 'x', now(), 'x' FROM records WHERE "offset" % 2 = 1;
INSERT INTO attempts (attempt_id, command_id, account_no, kind, number, operation, fence, owner, opened_at, send_before_at,
                      lease_until, horizon_at, method, path, known)
SELECT gen_random_uuid(), command_id, account_no, 'write', 1, 'cash.adjust', 1, gen_random_uuid(), now(), now(), now(),
       now(), 'POST', '/', 'confirmed' FROM commands WHERE position = 1;
INSERT INTO timers (command_id, account_no, kind, state, due_at, wake_at)
SELECT command_id, account_no, 'expire', 'armed', now() + "offset" * interval '1 s' - interval '100 s',
       now() + "offset" * interval '1 s' - interval '100 s' FROM commands WHERE position = 1;
INSERT INTO doubts (command_id, is_expiry, account_no, operation, attempt_number, since_at, notice_at, reason)
SELECT command_id, false, account_no, 'cash.adjust', 1, now(),
       CASE WHEN "offset" % 500 = 0 THEN now() + ("offset" - {ROWS}) * interval '1 s' END, 'x' FROM commands WHERE position = 2;
INSERT INTO numbers (kind, number, account_no, command_id)
SELECT 'serial_num', 'S' || "offset", account_no, command_id FROM commands;
INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers)
SELECT gen_random_uuid(), account_no, 1, 'x', command_id, now(), '', '' FROM commands WHERE position = 1;
INSERT INTO publications (event_id, published_at, partition, "offset")
SELECT event_id, now(), 0, row_number() OVER () FROM outcomes;
INSERT INTO day_totals (day, account_no, operation, unit, used)
SELECT current_date, account_no, 'position.adjust', 'quantity', 1 FROM lanes;
INSERT INTO outbox (shard, kind, ref_id, ordered_by, recorded_at, set_aside_reason)
SELECT abs(hashtext(account_no)) % {SHARDS}, 'outcome', event_id, account_no, now(),
       CASE WHEN account_no = 'A7' THEN 'too large' END FROM outcomes;
"""


@pytest.fixture
async def full(world: World) -> World:
    for statement in filter(str.strip, FILL.split(";")):
        await world.sql(statement)
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
            for module in (attempts, brakes, engine, facts, inbox, lanes, limits, outbox, rest, timers):
                patch.setattr(module, "run", note_direct)
            await ask(connection)
        event.remove(world.engine.sync_engine, "before_cursor_execute", note)
        for statement, given in said:
            if statement.lstrip().startswith(NO_PLAN):
                continue
            rows = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", given)
            plan = rows.scalar_one()
            found.append((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
        await connection.rollback()
    assert found
    return found


def indexes(plan: dict[str, Any]) -> set[str]:
    """The indexes that a plan goes by; `pages` where it walks pages of a table in their sequence."""
    own = (
        {plan["Index Name"]} if "Index Name" in plan else {"pages"} if plan["Node Type"] == "Tid Range Scan" else set()
    )
    return own.union(*(indexes(part) for part in plan.get("Plans", ())))


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


async def read_ids(connection: AsyncConnection) -> None:
    await inbox.register_ids(connection, [REFUSAL])
    await inbox.register_ids(connection, [REFUSAL])


async def finish_some(connection: AsyncConnection) -> None:
    """Write what a finish writes of a command that has ended and an adjustment that has."""
    now, one = clock.utc_now(), clock.new_id()
    gathered = facts.Facts(
        commands=[{"command_id": one, "state": "succeeded", "first_sent_at": now, "finished_at": now}],
        verdicts=[{"command_id": one, "verdict": "succeeded", "result": None, "error": None, "terminal_event_id": one}],
        adjustments_ended=[{"command_id": one, "ended_at": now, "ended_by": "timer", "basis": "answer"}],
        timers_rearmed=[{"command_id": one, "wake_at": now}],
        doubts_cleared=[one],
        expiry_doubts_cleared=[one],
    )
    await gathered.write(connection)


async def report_some(connection: AsyncConnection) -> None:
    ids = [{"command_id": clock.new_id(), "attempt_id": clock.new_id(), "known": "confirmed"} for _ in range(90)]
    await attempts.report_attempts(connection, ids)


async def open_some(connection: AsyncConnection) -> None:
    now = clock.utc_now()
    instants = dict.fromkeys(("opened_at", "send_before_at", "lease_until", "horizon_at"), now)
    row = {"account_no": "A7", "kind": "write", "number": 1, "operation": "cash.adjust", "fence": 1, "method": "POST"}
    ids = [{"command_id": clock.new_id(), "attempt_id": clock.new_id(), "owner": clock.new_id()} for _ in range(90)]
    await attempts.open_attempts(connection, [row | instants | {"path": "/"} | one for one in ids])


async def mark_some(connection: AsyncConnection) -> None:
    rows = [outbox.Acknowledged(i, kind, clock.new_id(), 0, i) for i in range(9) for kind in ("outcome", "dead_letter")]
    await outbox.mark_published(connection, rows)


def walking(what: Aged, number: int = 0) -> Callable[[AsyncConnection], Awaitable[object]]:
    async def walk(connection: AsyncConnection) -> None:
        await pruning.enter(connection)
        await pruning.take(connection, pruning.WALKS[what][number], clock.utc_now(), (0, 128), 1000)

    return walk


async def prune_outcomes(connection: AsyncConnection) -> None:
    now = await pruning.enter(connection)
    oldest = await pruning.read_oldest(connection, {f"A{i}": 0 for i in range(50)}, now, {0: 10**9}, 20)
    await pruning.drop_outcomes(connection, [one.event_id for one in oldest] or [clock.new_id()])
    await reconciling.list_accounts(connection, after="A7", limit=50)


REFUSAL = Refusal(clock.new_id(), "A7", "cash.adjust", None, None, b"", "CODE", "why", None, None)
IDS = [clock.new_id() for _ in range(90)]
Ask = Callable[[AsyncConnection], Awaitable[object]]
# what is asked, and the indexes that its plan must go by
ASKED: dict[str, tuple[Ask, set[str]]] = {
    "take ready lanes": (lambda c: lease_some(c, urgent_only=False), {"ix_lanes_ready", "pk_lanes"}),
    "take urgent lanes": (lambda c: lease_some(c, urgent_only=True), {"ix_lanes_ready"}),
    "read heads": (read_some_heads, {"uq_commands_account_no_position", "ix_timers_due"}),
    "wake lanes": (lambda c: lanes.wake_lanes(c, 100), {"ix_lanes_wake"}),
    "take silent lanes": (lambda c: lanes.take_silent(c, 100), {"ix_lanes_lease"}),
    "silence attempts": (
        lambda c: silence_attempts(c, ["A2", "A502"], [1, 1], clock.utc_now()),
        {"pk_attempts", "pk_lanes", "uq_commands_account_no_position"},
    ),
    "rest lanes": (rest_some, {"uq_commands_account_no_position", "pk_lanes"}),
    "lock lanes": (lambda c: rest.lock_lanes(c, ["A7", "A8"]), {"pk_lanes"}),
    "register ids": (read_ids, {"pk_command_ids"}),
    "open attempts": (open_some, {"pk_commands"}),
    "report attempts": (report_some, {"pk_attempts"}),
    "read histories": (lambda c: histories.read_histories(c, IDS), {"pk_attempts"}),
    "read commands": (lambda c: histories.read_commands(c, IDS), {"pk_commands"}),
    "finish": (finish_some, {"pk_commands", "pk_command_ids", "pk_timers", "pk_doubts"}),
    "read due timers": (lambda c: timers.read_due(c, "expire", 200), {"ix_timers_wake"}),
    "look for the next timer": (timers.seconds_to_next, {"ix_timers_wake"}),
    "read untold doubts": (lambda c: doubts.read_untold(c, 100), {"ix_doubts_notice"}),
    "read the outbox": (lambda c: outbox.read_waiting(c, [1, 2, 3], 100), {"pk_outbox", "pk_outcomes"}),
    "mark the published": (mark_some, {"pk_outbox", "pk_dead_letters"}),
    "count doubts": (lambda c: brakes.pause_doubtful(c, ["cash.adjust", "cash.freeze"], 10), {"ix_doubts_newest"}),
    "read the day's totals": (lambda c: limits.read_used(c, [COUNTED], clock.utc_now()), {"pk_day_totals"}),
    "count what goes out": (lambda c: limits.count_sent(c, [COUNTED], clock.utc_now()), set()),
    "read numbers": (lambda c: references._read_numbers(c, ["serial_num"], ["S7", "S8"]), {"pk_numbers"}),
    "read references": (lambda c: references._read_commands(c, IDS), {"pk_command_ids", "ix_numbers_command_id"}),
    "redact attempts": (walking(Aged.ATTEMPT_BODIES), {"pages", "pk_commands", "pk_attempts"}),
    "redact records": (walking(Aged.RECORD_BODIES), {"pages", "pk_command_ids", "pk_records"}),
    "redact dead letters": (walking(Aged.DEAD_LETTER_BODIES), {"pages", "pk_records"}),
    "prune attempts": (walking(Aged.ATTEMPTS), {"pages", "pk_commands", "pk_attempts"}),
    "prune evidence": (walking(Aged.ATTEMPTS, 1), {"pk_commands"}),
    "prune commands": (walking(Aged.COMMANDS), {"pages", "pk_command_ids", "pk_attempts", "ix_outcomes_of_command"}),
    "prune dead letters": (walking(Aged.DEAD_LETTERS), {"pages", "pk_dead_letters"}),
    "prune new dead letters": (walking(Aged.NEW_DEAD_LETTERS), {"pages", "pk_dead_letters"}),
    "prune outcomes": (prune_outcomes, {"uq_outcomes_account_no_account_seq", "pk_publications", "pk_lanes"}),
}


@pytest.mark.timeout(300)  # filling the tables takes a while on a busy machine
async def test_no_statement_of_the_path_reads_a_long_table_from_end_to_end(full: World) -> None:
    ends, ways = {}, {}
    for name, (ask, wanted) in ASKED.items():
        found = await plans(full, ask)
        tables = set().union(*(scanned(plan) for plan in found)) - EMPTY_HERE - SMALL
        missing = wanted - set().union(*(indexes(plan) for plan in found))
        if tables:
            ends[name] = tables
        if missing:
            ways[name] = missing
    assert (ends, ways) == ({}, {})
    async with transaction(full.engine) as connection:
        due = await timers.read_due(connection, "expire", 1000)
    assert len(due) == len(await full.sql("SELECT 1 FROM timers WHERE wake_at <= now()")) > 0
