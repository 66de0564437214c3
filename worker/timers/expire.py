"""Ends temporary adjustments that nobody can end, for their number is not known: the brokerage's own sweep did."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.ledger.decide import Send
from worker.pipeline.turn import EXPIRE
from worker.settings import Settings
from worker.store.conclude import Batch, Conclusion, end_adjustment
from worker.store.engine import transaction
from worker.store.lanes import read_adjusting
from worker.store.rest import lock_lanes
from worker.store.timers import read_due, rearm

AT_ONCE = 200


async def end_watched(engine: AsyncEngine, settings: Settings) -> int:
    """End adjustments without a number once hour + grace has passed, by `unknown`; returns how many."""
    grace = timedelta(seconds=settings.sweep_grace_s)
    async with transaction(engine) as connection:
        watches = await read_due(connection, "watch", AT_ONCE)
        if not watches:
            return 0
        lanes, now = await lock_lanes(connection, {watch.account_no for watch in watches})
        batch = Batch(lanes, now, timedelta(seconds=settings.in_doubt_notice_s))
        over = [watch.command_id for watch in watches if watch.due_at + grace <= now]
        for watch in watches:
            if watch.command_id not in over:
                await rearm(connection, watch.command_id, watch.due_at + grace)
        for adjustment, command in await read_adjusting(connection, command_ids=over, adjust_nos=()):
            told = Conclusion(command, Send(now, ""), (), now, EXPIRE)
            end_adjustment(batch, lanes[adjustment.account_no], told, adjustment, "unknown", "inferred")
        await batch.write(connection)
        return len(over)
