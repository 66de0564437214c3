"""A person ends a temporary adjustment now, before its hour: its expiry becomes the lane's next turn.

The machine is never early by itself: that a person asked is stored with the timer. What the brokerage does not end then
goes back to its hour.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.times import written
from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.lanes import LaneState
from worker.operate.brake import By
from worker.pipeline.turn import EXPIRY
from worker.store.audit import Action, note
from worker.store.blobs import to_json
from worker.store.brakes import expiries_stopped
from worker.store.decisions import read_open_call
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.firing import Firing, fire_timer, read_firing
from worker.store.rest import lock_lanes, write_lanes


async def preview(engine: AsyncEngine, command_id: UUID) -> str:
    """Say what `fire` would do; raises as it does and changes nothing."""
    async with transaction(engine) as connection:
        found = await _guarded(connection, command_id)
        waits = " Expiries are paused: it waits until they are resumed." if await expiries_stopped(connection) else ""
    early = f", before its hour {written(found.due_at)}" if found.early else ", whose hour has come"
    return f"Asks the brokerage now to end {found.adjust_no} of account {found.account_no}{early}.{waits}"


async def fire(engine: AsyncEngine, command_id: UUID, by: By) -> Mapping[str, Any]:
    """Make the expiry the lane's next turn; returns what is so now.

    Raises NothingMatchedError where there is no such adjustment, RefusedByGuardError where it has ended, nobody knows its
    number, or a call to end it is under way or about to be made.
    """
    async with transaction(engine) as connection:
        found = await _guarded(connection, command_id)
        lanes, now = await lock_lanes(connection, [found.account_no])
        found = await _guarded(connection, command_id)
        await fire_timer(connection, command_id, by.actor)
        lane = lanes[found.account_no]
        if lane.state != LaneState.LEASED:
            lane.state, lane.urgent, lane.ready_at = LaneState.READY.value, True, lane.ready_at or now
        await write_lanes(connection, [lane])
        facts = Facts()
        after = {"state": "due", "early": found.early, "fired_at": written(now)}
        detail = {"of": "expiry", "decision": "fire", **after}
        facts.add(
            "evidence",
            {
                "evidence_id": clock.new_id(),
                "command_id": command_id,
                "kind": "person",
                "recorded_at": now,
                "actor": by.actor,
                "reason": by.reason,
                "detail": to_json(detail),
            },
        )
        before = {"state": found.state, "due_at": written(found.due_at), "wake_at": written(found.wake_at)}
        note(facts, clock.new_id(), Action(by.actor, "timers.fire", by.reason, str(command_id), before, after), now)
        await facts.write(connection)
    return {"command_id": command_id, "account_no": found.account_no, "adjust_no": found.adjust_no, **after}


async def _guarded(connection: AsyncConnection, command_id: UUID) -> Firing:
    found = await read_firing(connection, command_id)
    if found is None:
        raise NothingMatchedError(f"{command_id} has booked no temporary adjustment")
    if found.ended_by is not None:
        raise RefusedByGuardError(f"the adjustment of {command_id} is over, ended by {found.ended_by}")
    if found.kind != "expire":
        raise RefusedByGuardError(f"the number of the adjustment of {command_id} is not known: nobody can end it")
    call = await read_open_call(connection, command_id, [EXPIRY])
    if call is not None:
        raise RefusedByGuardError(f"a call to end it is under way since {written(call['opened_at'])}")
    if found.state == "due":
        raise RefusedByGuardError(f"the expiry of {command_id} is its lane's next turn already")
    return found
