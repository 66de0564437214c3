"""A person puts a parked command back into its lane, or ends it: only where no call of it may have been applied.

Each command is decided in a database transaction of its own, under its lane's lock: of two persons at once the second is
told who decided, and what was done stays done when the command line is killed half-way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.decide import Attempt, Known, Reject
from worker.ledger.lanes import LaneState
from worker.operate.decided import Decided, by_whom, note_decision
from worker.settings import Settings
from worker.store.conclude import Batch, Conclusion, conclude
from worker.store.decisions import (
    mark_redriven,
    read_account,
    read_doubtful,
    read_gone_on,
    read_last_decision,
    read_parked_reason,
    requeue,
)
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.store.rest import lock_lanes
from worker.store.rows import CommandRow, LaneRow

PARKED = "parked"
GONE_ON_MAX = 1000


class Way(StrEnum):
    """What becomes of a parked command."""

    REDRIVE = "redrive"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for one parked command."""

    command_id: UUID
    way: Way
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Case:
    """A parked command that may be decided now, its lane locked."""

    batch: Batch
    command: CommandRow
    attempts: tuple[Attempt, ...]
    why_parked: str

    @property
    def lane(self) -> LaneRow:
        """The command's lane."""
        return self.batch.lanes[self.command.account_no]


async def preview(engine: AsyncEngine, settings: Settings, asked: Asked) -> str:
    """Say in one sentence what `decide` would do; raises as it does and changes nothing."""
    async with transaction(engine) as connection:
        case = await _open(connection, settings, asked)
        gone_on = await read_gone_on(connection, case.command.account_no, case.command.position, GONE_ON_MAX)
    name = f"{case.command.command_type} {asked.command_id} of account {case.command.account_no}"
    match asked.way:
        case Way.REDRIVE:
            first = f"{'more than ' if gone_on > GONE_ON_MAX else ''}{min(gone_on, GONE_ON_MAX)}"
            passed = (
                f"{first} later commands of its account have gone on before it" if gone_on else "none has passed it"
            )
            return f"{name} gets a new place, {case.lane.next_position}, at the tail of its lane; {passed}."
        case Way.DISCARD:
            return f"{name} ends as rejected, DISCARDED; nothing of it was applied."
        case _:
            assert_never(asked.way)


async def decide(engine: AsyncEngine, settings: Settings, asked: Asked) -> Mapping[str, Any]:
    """Record the decision and what follows; returns what is so now.

    Raises NothingMatchedError for an unknown id; RefusedByGuardError where a call of it is in doubt, and where it is
    not parked (any more).
    """
    async with transaction(engine) as connection:
        case = await _open(connection, settings, asked)
        match asked.way:
            case Way.REDRIVE:
                after = await _redrive(connection, case)
            case Way.DISCARD:
                after = _discard(case, asked)
            case _:
                assert_never(asked.way)
        before = {"state": PARKED, "position": case.command.position, "reason": case.why_parked}
        detail = {"of": "command", "decision": asked.way.value, **after}
        decided = Decided(asked.command_id, f"parked.{asked.way}", asked.actor, asked.reason, before, detail)
        note_decision(case.batch.facts, decided, case.batch.now)
        await case.batch.write(connection)
    account_no = case.command.account_no
    return {"command_id": asked.command_id, "account_no": account_no, "decided_by": asked.actor, **after}


async def _open(connection: AsyncConnection, settings: Settings, asked: Asked) -> Case:
    known = await read_account(connection, asked.command_id)
    if known is None:
        raise NothingMatchedError(f"no command has the id {asked.command_id}")
    account_no, gone = known
    if gone is not None:
        raise RefusedByGuardError(f"{asked.command_id} {gone}; it is not parked")
    lanes, now = await lock_lanes(connection, [account_no])
    command = (await read_commands(connection, [asked.command_id]))[asked.command_id]
    name = f"{command.command_type} {command.command_id}"
    if command.state != PARKED:
        decided = by_whom(await read_last_decision(connection, command.command_id))
        raise RefusedByGuardError(f"{name} is not parked, it is {command.state}; {decided}")
    if await read_doubtful(connection, command.command_id):
        raise RefusedByGuardError(
            f"a call of {name} may have been applied: `ledger-worker in-doubt resolve {command.command_id}` decides that"
        )
    history = (await read_histories(connection, [command.command_id]))[command.command_id]
    batch = Batch(lanes, now, timedelta(seconds=settings.in_doubt_notice_s))
    return Case(batch, command, history.attempts, await read_parked_reason(connection, command.command_id))


async def _redrive(connection: AsyncConnection, case: Case) -> dict[str, Any]:
    """Give it a new place at the tail; what was not sent before, and for how long, counts no more."""
    command, lane = case.command, case.lane
    if case.attempts and case.attempts[-1].known is Known.NOT_SENT:
        await mark_redriven(connection, command.command_id, case.attempts[-1].number)
    await requeue(connection, command.command_id, lane.next_position)
    case.batch.facts.doubts_cleared.append(command.command_id)
    position, lane.next_position = lane.next_position, lane.next_position + 1
    if lane.state == LaneState.IDLE:
        case.batch.rest(lane.account_no)
    return {"state": "queued", "position": position}


def _discard(case: Case, asked: Asked) -> dict[str, Any]:
    message = f"{asked.actor} decided that it is not wanted any more; nothing of it was applied"
    conclusion = Conclusion(
        command=case.command,
        decision=Reject("DISCARDED", message, "policy"),
        attempts=case.attempts,
        occurred_at=case.batch.now,
        operation=case.command.command_type,
        decided_by=asked.actor,
    )
    conclude(case.batch, conclusion, turn_ends=False)
    return {"state": "rejected", "code": "DISCARDED"}
