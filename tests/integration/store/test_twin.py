"""What the statements decide and what the simulation's functions decide, on the same rows, is the same.

Rows are made by the worker itself, then moved by each case; within one database transaction both see one `now()`.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.integration.store.world import DOUBT, POOR, UNSENT, World, done
from tests.simulation import database, lookups
from tests.simulation.database import Database, Timer, Tried
from tests.support.commands import new_account
from worker import clock
from worker.ledger.verdicts import Numbers, Verdict
from worker.pipeline.report import report_row
from worker.pipeline.turn import Ended, Turn
from worker.store import attempts, decisions, lanes, rest, timers
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.store.rows import LaneRow

Rows = dict[str, Any]
Statement = Callable[[AsyncConnection], Awaitable[Any]]
Function = Callable[[Database], Awaitable[Any]]

OWNER = UUID(int=7)
LANES = {
    "held, its hour has come": ("held", "wake_at = now() - interval '1 s', hold_reason = 'x'"),
    "held, it has come this instant": ("held", "wake_at = now(), hold_reason = 'x'"),
    "held, not yet": ("held", "wake_at = now() + interval '5 s', hold_reason = 'x'"),
    "ready first": ("ready", "ready_at = now() - interval '9 s'"),
    "ready later": ("ready", "ready_at = now() - interval '3 s'"),
    "ready, urgent": ("ready", "ready_at = now(), urgent = true"),
    "ready for an expiry, and held": ("ready", "ready_at = now(), urgent = true, wake_at = now() + interval '5 s'"),
    "leased": ("leased", "lease_until = now() + interval '1 s'"),
    "leased to this instant": ("leased", "lease_until = now()"),
    "lease ran out": ("leased", "lease_until = now() - interval '1 s'"),
    "lease ran out before": ("leased", "lease_until = now() - interval '2 s'"),
    "idle": ("idle", "head_position = 2"),
}


async def tables(connection: AsyncConnection) -> Database:
    """Read the tables that decide into the twin's database, with the same clock."""
    db = Database()
    db.now = (await connection.execute(text("SELECT now()"))).scalar_one()
    for row in await connection.execute(text(f"SELECT {rest.LANE_COLUMNS} FROM lanes l")):
        db.lanes[row.account_no] = LaneRow(*row)
    ids = list((await connection.execute(text("SELECT command_id FROM commands"))).scalars())
    db.commands = await read_commands(connection, ids)
    db.urgent = frozenset({"order.withdraw", "temp.expire"})
    columns = "command_id, account_no, kind, state, due_at, wake_at, fired_at"
    for row in await connection.execute(text(f"SELECT {columns} FROM timers")):
        db.timers[row.command_id] = Timer(*row)
    columns = ", ".join(name for name in Tried._fields if name != "request")
    for row in await connection.execute(text(f"SELECT {columns} FROM attempts ORDER BY command_id, number")):
        given = row._asdict() | {"numbers": Numbers(**(row.numbers or {})), "request": None}
        given |= {name: given[name] or "" for name in ("rule", "code", "message")}
        db.attempts[row.command_id] = (*db.attempts.get(row.command_id, ()), Tried(**given))
    return db


def shown(db: Database) -> dict[str, Any]:
    """What the two must have in common; texts for people are not compared."""
    silent = {key: tuple(t._replace(message="") for t in tries) for key, tries in db.attempts.items()}
    return {"lanes": db.lanes, "commands": db.commands, "timers": db.timers, "attempts": silent}


async def agree(world: World, statement: Statement, function: Function) -> Any:
    """Run both on the same rows; they give the same and leave the same behind. Returns what they gave."""
    async with transaction(world.engine) as connection:
        db = await tables(connection)
        given = await statement(connection)
        assert await function(db) == given
        assert shown(db) == shown(await tables(connection))
    return given


async def many_lanes(world: World) -> None:
    for name, (state, changes) in LANES.items():
        account_no = f"{name.replace(' ', '').replace(',', '')}"[:20].upper()
        await world.accept_new("cash.freeze", account_no)
        cleared = "ready_at = NULL, " if state != "ready" else ""
        owner = ", owner = gen_random_uuid()" if state == "leased" else ""
        await world.sql(
            f"UPDATE lanes SET state = :state, {cleared}{changes}{owner} WHERE account_no = :account_no",
            state=state, account_no=account_no,
        )  # fmt: skip


async def test_lanes_wake_are_taken_and_are_taken_back_alike(world: World) -> None:
    await many_lanes(world)

    async def wake(db: Database) -> int:
        return database.wake_lanes(db)

    async def in_sequence(taken: Awaitable[tuple[dict[str, LaneRow], Any]]) -> list[LaneRow]:
        return [database.copied(lane) for lane in (await taken)[0].values()]

    for urgent_only in (True, False):
        for limit in (1, 3, 100):
            await agree(
                world,
                lambda c, n=limit, u=urgent_only: in_sequence(
                    lanes.lease_ready(c, n, owner=OWNER, lease_s=30, urgent_only=u)
                ),
                lambda d, n=limit, u=urgent_only: in_sequence(
                    database.lease_ready(d, n, owner=OWNER, lease_s=30, urgent_only=u)
                ),
            )
    silent = await agree(
        world, lambda c: in_sequence(lanes.take_silent(c, 100)), lambda d: in_sequence(database.take_silent(d, 100))
    )
    assert len(silent) >= 2
    assert await agree(world, lanes.wake_lanes, wake) >= 1


@pytest.mark.parametrize("states", [("queued", "queued"), ("in_doubt", "queued"), ("parked", "queued"), ("sending",)])
@pytest.mark.parametrize("head", [1, 2, 3])
async def test_what_waits_in_a_lane_is_the_same(world: World, states: tuple[str, ...], head: int) -> None:
    account_no = new_account()
    for state in states:
        command_id = await world.accept_new("cash.freeze", account_no)
        await world.sql("UPDATE commands SET state = :state WHERE command_id = :id", state=state, id=command_id)
    lane = LaneRow(account_no, "idle", 0, 0, head, len(states) + 1)
    await agree(
        world, lambda c: rest._what_waits(c, {account_no: head}), lambda d: lookups.what_waits(d, {account_no: head})
    )
    await agree(
        world,
        lambda c: lanes._head_commands(c, {account_no: lane}),
        lambda d: lookups.head_commands(d, {account_no: lane}),
    )


@pytest.mark.parametrize("lane_state", ["idle", "held", "leased"])
@pytest.mark.parametrize("kind", ["expire", "watch"])
@pytest.mark.parametrize("wake_s", [-5, 0, 5])
async def test_a_timer_is_due_alike(world: World, lane_state: str, kind: str, wake_s: int) -> None:
    account_no = new_account()
    hour = (clock.utc_now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await world.accept_new("temp.adjust", account_no, {"expires_at": hour})
    await world.go(done(adjust_no="TA1"))
    await world.sql("UPDATE timers SET kind = :kind", kind=kind)
    changes = {"held": ", wake_at = now() + interval '9 s', hold_reason = 'x'", "idle": ""}
    leased = ", owner = gen_random_uuid(), lease_until = now() + interval '9 s'"
    await world.sql(f"UPDATE lanes SET state = :state {changes.get(lane_state, leased)}", state=lane_state)

    async def moved(connection: AsyncConnection) -> int:
        return await timers.make_due(connection, await timers.read_due(connection, "expire", 100))

    async def moved_too(db: Database) -> int:
        return await database.make_due(db, await database.read_due(db, "expire", 100))

    async with transaction(world.engine) as connection:
        shift = text("UPDATE timers SET due_at = now() + :by, wake_at = now() + :by")
        await connection.execute(shift, {"by": timedelta(seconds=wake_s)})
        db = await tables(connection)
        made = await moved(connection)
        assert await moved_too(db) == made == (1 if kind == "expire" and wake_s <= 0 else 0)
        assert shown(db) == shown(await tables(connection))


async def tried(world: World, known: str) -> Turn:
    """A turn whose attempt is open, silent, or reported."""
    await world.accept_new("order.place", new_account())
    turn = await world.claim_one()
    if known == "silent":
        await world.age(31)
        assert await world.reclaim() == 1
    elif known == "reported":
        await world.finish(turn, DOUBT)
    return turn


@pytest.mark.parametrize("found", [UNSENT, DOUBT, POOR, done(order_id="O1")], ids=["unsent", "doubt", "poor", "done"])
@pytest.mark.parametrize("known", ["open", "silent", "reported", "cleared"])
async def test_a_report_is_taken_once_alike(world: World, known: str, found: Verdict) -> None:
    turn = await tried(world, "silent" if known == "cleared" else known)
    command_id = turn.command.command_id
    if known == "cleared":
        await agree(
            world,
            lambda c: decisions.clear_attempts(c, command_id, ["write"], [1]),
            lambda d: database.clear_attempts(d, command_id, ["write"], [1]),
        )
    now = (await world.one("SELECT now() AS now")).now
    row = report_row(Ended(turn, found, 0.0), now, world.settings)
    recorded = await agree(
        world,
        lambda c: attempts.report_attempts(c, [row]),
        lambda d: database.report_attempts(d, [row]),
    )
    assert recorded == (set() if known == "reported" else {turn.attempt_id})


@pytest.mark.parametrize("known", ["open", "silent", "reported"])
@pytest.mark.parametrize("fence", [0, 1, 2])
async def test_an_owner_is_taken_for_silent_alike(world: World, known: str, fence: int) -> None:
    account_no = (await tried(world, known)).command.account_no
    now = (await world.one("SELECT now() AS now")).now
    silenced = await agree(
        world,
        lambda c: attempts.silence_attempts(c, [account_no], [fence], now),
        lambda d: database.silence_attempts(d, [account_no], [fence], now),
    )
    assert bool(silenced) == (known == "open" and fence == 1)


@pytest.mark.parametrize("known", ["open", "silent", "reported"])
async def test_what_was_tried_reads_alike(world: World, known: str) -> None:
    command_id = (await tried(world, known)).command.command_id

    async def read(connection: AsyncConnection) -> Any:
        found = (await read_histories(connection, [command_id]))[command_id]
        return found.attempts, found.looks

    async def read_too(db: Database) -> Any:
        found = (await lookups.read_histories(db, [command_id]))[command_id]
        return found.attempts, found.looks

    await agree(world, read, read_too)
