"""Takes lanes back from owners whose lease ran out. What they had sent, or were about to, is in doubt."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker.ledger.decide import Send
from worker.ledger.expiry import decide_expiry
from worker.pipeline.turn import EXPIRE, EXPIRY, weigh
from worker.settings import Settings
from worker.store.attempts import silence_attempts
from worker.store.conclude import DONE, Batch, Conclusion, conclude, doubt_expiry, end_adjustment
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.store.lanes import read_adjusting, take_silent
from worker.store.references import read_endings
from worker.whale.operations import REGISTRY

AT_ONCE = 200


async def reclaim(engine: AsyncEngine, settings: Settings) -> int:
    """Take back up to `AT_ONCE` lanes; returns how many. Another worker's reclaim may run beside it."""
    async with transaction(engine) as connection:
        lanes, now = await take_silent(connection, AT_ONCE)
        if not lanes:
            return 0
        batch = Batch(lanes, now, timedelta(seconds=settings.in_doubt_notice_s))
        fences = [lane.fence for lane in lanes.values()]
        turns = await silence_attempts(connection, list(lanes), fences, now)
        await _commands(connection, batch, settings, [c for _, kind, c in turns if kind != EXPIRY])
        await _expiries(connection, batch, settings, [c for _, kind, c in turns if kind == EXPIRY])
        for account_no, lane in lanes.items():
            if account_no not in batch.resting:
                batch.rest(account_no, lane.wake_at, reason=lane.hold_reason or "")
        await batch.write(connection)
        return len(lanes)


async def _commands(connection: AsyncConnection, batch: Batch, settings: Settings, command_ids: list[UUID]) -> None:
    commands = await read_commands(connection, command_ids)
    histories = await read_histories(connection, command_ids)
    enders = [command for command in commands.values() if REGISTRY[command.command_type].ends_adjustment]
    endings = await read_endings(connection, enders)
    for command_id, command in commands.items():
        if command.state in DONE:
            continue
        history, ends = histories[command_id], endings.get(command_id)
        conclusion = weigh(command, history.attempts, history.looks, settings, batch.now, ends=ends)
        conclude(batch, conclusion, turn_ends=True)


async def _expiries(connection: AsyncConnection, batch: Batch, settings: Settings, command_ids: list[UUID]) -> None:
    histories = await read_histories(connection, command_ids, expiry=True)
    grace = timedelta(seconds=settings.sweep_grace_s)
    for adjustment, command in await read_adjusting(connection, command_ids=command_ids, adjust_nos=()):
        attempts = histories[adjustment.command_id].attempts
        told = Conclusion(command, Send(batch.now, ""), attempts, batch.now, EXPIRE)
        step = decide_expiry(
            attempts,
            adjustment.expires_at,
            grace,
            batch.now,
            command_doubted=adjustment.command_doubted,
            fired_at=adjustment.fired_at,
        )
        if isinstance(step, Send):
            batch.facts.timers_rearmed.append({"command_id": adjustment.command_id, "wake_at": step.at})
            doubt_expiry(batch, told, step.reason)
        else:
            end_adjustment(batch, batch.lanes[adjustment.account_no], told, adjustment, step.ended_by, step.basis)
