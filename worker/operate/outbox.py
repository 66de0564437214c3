"""An operator puts back what the relay set aside, because Kafka had refused it for good."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.store.adoptions import read_now
from worker.store.audit import Action, note
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.outbox import Aside, is_waiting, list_aside, put_back


async def preview(engine: AsyncEngine, outbox_id: int) -> str:
    """Say in a sentence what `redrive` would do; raises as it does and changes nothing."""
    async with transaction(engine) as connection:
        one = await _find(connection, outbox_id)
    behind = f", and then the {one.behind} rows that wait behind it" if one.behind else ""
    whose = f" of {one.ordered_by}" if one.ordered_by else ""
    return f"The {one.kind} {one.ref_id}{whose} is published again{behind}. Kafka refused it: {one.reason}."


async def redrive(engine: AsyncEngine, outbox_id: int, actor: str, reason: str) -> Mapping[str, Any]:
    """Put it back, with its audit, in one database transaction; returns what was put back.

    Raises NothingMatchedError where the outbox has no such row, RefusedByGuardError where it is not set aside.
    """
    facts = Facts()
    async with transaction(engine) as connection:
        now = await read_now(connection)
        one = await _find(connection, outbox_id)
        if not await put_back(connection, outbox_id):
            raise RefusedByGuardError(f"row {outbox_id} was put back meanwhile; see `ledger-worker audit list`")
        before = {"set_aside_reason": one.reason, "behind": one.behind}
        after = {"kind": one.kind, "ref_id": str(one.ref_id), "ordered_by": one.ordered_by}
        note(facts, clock.new_id(), Action(actor, "outbox.redrive", reason, f"outbox {outbox_id}", before, after), now)
        await facts.write(connection)
    return {"outbox_id": outbox_id, **after}


async def _find(connection: AsyncConnection, outbox_id: int) -> Aside:
    found = await list_aside(connection, outbox_id=outbox_id, limit=1)
    if found:
        return found[0]
    if await is_waiting(connection, outbox_id):
        raise RefusedByGuardError(f"row {outbox_id} is not set aside; the relay publishes it by itself")
    raise NothingMatchedError(f"the outbox has no row {outbox_id}; what was published leaves it")
