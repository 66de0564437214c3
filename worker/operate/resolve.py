"""A person decides what no machine can: whether a call that is in doubt was applied.

The decision is recorded like evidence and concluded as the path concludes, in one database transaction under the lane's
lock. Of two persons at once the second is told who decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, assert_never
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.outcomes import EndedBy
from schemas.times import written
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.decide import DOUBTED, Attempt, Known, Reject, Send, Succeed
from worker.ledger.lanes import LaneState
from worker.ledger.verdicts import Keying, Numbers
from worker.operate.decided import PERSON, Decided, by_whom, note_decision
from worker.pipeline.turn import EXPIRE, EXPIRY, LOOK, WRITE
from worker.settings import Settings
from worker.store.conclude import DONE, Batch, Conclusion, conclude, end_adjustment
from worker.store.decisions import (
    clear_attempts,
    read_account,
    read_last_decision,
    read_number_owner,
    read_open_call,
    requeue,
)
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.store.lanes import read_adjusting
from worker.store.references import Ending, read_endings
from worker.store.rest import lock_lanes
from worker.store.rows import CommandRow
from worker.whale.operations import REGISTRY


@dataclass(frozen=True, slots=True)
class Applied:
    """It took effect. `number` is the brokerage's, None where it cannot be had or the operation makes none."""

    number: str | None = None
    number_unknown: bool = False


@dataclass(frozen=True, slots=True)
class NotApplied:
    """It did not take effect; `resend` gives the command a new place at the tail of its lane."""

    resend: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says about a command, or with `expiry` about the expiry of that temp.adjust.

    `checked` is what the brokerage showed of the number, or why it could not be asked.
    """

    command_id: UUID
    answer: Applied | NotApplied
    actor: str
    reason: str
    expiry: bool = False
    checked: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A doubt that may be decided now, its lane locked."""

    batch: Batch
    command: CommandRow
    attempts: tuple[Attempt, ...]
    doubtful: tuple[Attempt, ...]
    ends: Ending | None


async def preview(engine: AsyncEngine, settings: Settings, said: Said) -> str:
    """Say in one sentence what `resolve` would do; raises as it does and changes nothing."""
    async with transaction(engine) as connection:
        case = await _open(connection, settings, said)
    return f"{_name(case.command, expiry=said.expiry)} of account {case.command.account_no}: {_effect(case, said)}."


async def resolve(engine: AsyncEngine, settings: Settings, said: Said) -> Mapping[str, Any]:
    """Record the decision and what follows; returns what is so now.

    Raises NothingMatchedError for an unknown id, RefusedByGuardError while a call is under way or may still take
    effect, where nothing is in doubt (any more), and for a number that is missing, out of place or another command's.
    """
    async with transaction(engine) as connection:
        case = await _open(connection, settings, said)
        if said.expiry:
            after = await _decide_expiry(connection, case, said)
        else:
            after = await _decide_command(connection, case, said)
        _note(case, said, after)
        await case.batch.write(connection)
    return {"command_id": said.command_id, "account_no": case.command.account_no, "decided_by": said.actor, **after}


async def _open(connection: AsyncConnection, settings: Settings, said: Said) -> Case:
    known = await read_account(connection, said.command_id)
    if known is None:
        raise NothingMatchedError(f"no command has the id {said.command_id}")
    account_no, gone = known
    if gone is not None:
        raise RefusedByGuardError(f"{said.command_id} {gone}; nothing of it is in doubt")
    lanes, now = await lock_lanes(connection, [account_no])
    batch = Batch(lanes, now, timedelta(seconds=settings.in_doubt_notice_s))
    command = (await read_commands(connection, [said.command_id]))[said.command_id]
    ends = await _what_ends(connection, command, said)
    kinds = [EXPIRY] if said.expiry else [WRITE, LOOK]
    call = await read_open_call(connection, command.command_id, kinds)
    history = (await read_histories(connection, [command.command_id], expiry=said.expiry))[command.command_id]
    case = Case(batch, command, history.attempts, tuple(a for a in history.attempts if a.known in DOUBTED), ends)
    decided = await read_last_decision(connection, command.command_id)
    _guard(case, said, call, decided)
    if isinstance(said.answer, Applied) and not said.expiry:
        await _guard_number(connection, command, said.answer)
    return case


async def _what_ends(connection: AsyncConnection, command: CommandRow, said: Said) -> Ending | None:
    """Read the temporary adjustment at stake: the one that expires, or the one that a temp.expire ends."""
    if said.expiry:
        found = await read_adjusting(connection, command_ids=[command.command_id], adjust_nos=())
        if not found:
            raise NothingMatchedError(f"{command.command_id} has booked no temporary adjustment that could expire")
        return found[0]
    if REGISTRY[command.command_type].ends_adjustment:
        return (await read_endings(connection, [command])).get(command.command_id)
    return None


def _guard(case: Case, said: Said, call: RowMapping | None, decided: RowMapping | None) -> None:
    name, command = _name(case.command, expiry=said.expiry), case.command
    if said.expiry:
        over = f"is over, ended by {case.ends[0].ended_by}" if case.ends and case.ends[0].ended_by else None
    else:
        over = f"is {command.state} already" if command.state in DONE else None
    if over is not None:
        raise RefusedByGuardError(f"{name} {over}; {by_whom(decided)}")
    if call is not None:
        told = f"call {call['number']} of {name} is under way since {written(call['opened_at'])}"
        raise RefusedByGuardError(f"{told}; wait for its answer, at the latest {written(call['lease_until'])}")
    if not case.doubtful:
        raise RefusedByGuardError(f"nothing of {name} is in doubt, it is {command.state}; {by_whom(decided)}")
    horizon = max(a.horizon_at for a in case.doubtful)
    if case.batch.now < horizon:
        raise RefusedByGuardError(f"{name} may still take effect until {written(horizon)}; look again and decide then")


async def _guard_number(connection: AsyncConnection, command: CommandRow, answer: Applied) -> None:
    operation = REGISTRY[command.command_type]
    kind = operation.makes
    if answer.number is None:
        if kind is not None and not operation.may_lack_number and not answer.number_unknown:
            raise RefusedByGuardError(
                f"{command.command_type} makes a number: give its {kind} after --applied, "
                "or --number-unknown where it cannot be had"
            )
        return
    if kind is None:
        raise RefusedByGuardError(f"{command.command_type} makes no number; leave {answer.number} out")
    owner = await read_number_owner(connection, kind, answer.number)
    if owner is not None and owner[0] != command.command_id:
        raise RefusedByGuardError(f"{kind} {answer.number} is that of command {owner[0]} of account {owner[1]}")


async def _decide_command(connection: AsyncConnection, case: Case, said: Said) -> dict[str, Any]:
    match said.answer:
        case Applied():
            return _applied(case, said, said.answer)
        case NotApplied(resend=True):
            return await _resend(connection, case)
        case NotApplied():
            await clear_attempts(connection, case.command.command_id, [WRITE], [a.number for a in case.doubtful])
            return _not_applied(case, said)
        case _:
            assert_never(said.answer)


def _applied(case: Case, said: Said, answer: Applied) -> dict[str, Any]:
    operation = REGISTRY[case.command.command_type]
    numbers = Numbers(**{operation.makes: answer.number}) if operation.makes else Numbers()
    decision = Succeed(numbers, PERSON, f"{said.actor} said that it was applied")
    _conclude(case, _conclusion(case, said, decision, case.attempts))
    return {"state": "succeeded", "number": answer.number}


def _not_applied(case: Case, said: Said) -> dict[str, Any]:
    # of what carries our tag a later look can still tell that this was wrong; other states may be another's doing
    tagged = REGISTRY[case.command.command_type].keyed_by is Keying.TAG
    decision = Reject("NOT_APPLIED", f"{said.actor} decided that it was not applied", "policy", by_absence=tagged)
    cleared = [replace(a, known=Known.CLEARED) if a in case.doubtful else a for a in case.attempts]
    _conclude(case, _conclusion(case, said, decision, cleared))
    return {"state": "rejected", "code": "NOT_APPLIED"}


async def _resend(connection: AsyncConnection, case: Case) -> dict[str, Any]:
    """Give the command a new place at the tail; what was tried before decides nothing any more."""
    command, lane, batch = case.command, case.batch.lanes[case.command.account_no], case.batch
    behind = {a.number for a in case.doubtful} | {case.attempts[-1].number}
    await clear_attempts(connection, command.command_id, [WRITE], sorted(behind))
    await requeue(connection, command.command_id, lane.next_position)
    batch.facts.doubts_cleared.append(command.command_id)
    was_head = command.position == lane.head_position
    position, lane.next_position = lane.next_position, lane.next_position + 1
    _free_lane(case)
    if lane.state == LaneState.IDLE or (was_head and lane.state != LaneState.LEASED):
        batch.rest(lane.account_no)
    return {"state": "queued", "position": position}


def _conclude(case: Case, conclusion: Conclusion) -> None:
    _free_lane(case)
    conclude(case.batch, conclusion, turn_ends=False)


def _free_lane(case: Case) -> None:
    """Let a lane that is leased for an expiry meanwhile not be held afterwards for what is decided now."""
    lane = case.batch.lanes[case.command.account_no]
    if case.command.position == lane.head_position and lane.state == LaneState.LEASED:
        lane.wake_at = lane.hold_reason = None


async def _decide_expiry(connection: AsyncConnection, case: Case, said: Said) -> dict[str, Any]:
    if case.ends is None:
        raise RuntimeError(f"{said.command_id} has no adjustment, although it was found")
    adjustment, batch = case.ends[0], case.batch
    match said.answer:
        case Applied(number=None):
            told = _conclusion(case, said, Send(batch.now, ""), case.attempts)
            ended_by = _ended_by(case)
            end_adjustment(batch, batch.lanes[adjustment.account_no], told, adjustment, ended_by, PERSON)
            return {"state": "expired", "ended_by": ended_by}
        case Applied():
            raise RefusedByGuardError("the end of a temporary adjustment makes no number; leave it out")
        case NotApplied():
            await clear_attempts(connection, said.command_id, [EXPIRY], [a.number for a in case.doubtful])
            batch.facts.expiry_doubts_cleared.append(said.command_id)
            batch.facts.timers_rearmed.append({"command_id": said.command_id, "wake_at": batch.now})
            return {"state": "armed"}
        case _:
            assert_never(said.answer)


def _conclusion(case: Case, said: Said, decision: Succeed | Reject | Send, attempts: Sequence[Attempt]) -> Conclusion:
    operation = REGISTRY[case.command.command_type]
    return Conclusion(
        command=case.command,
        decision=decision,
        attempts=attempts,
        occurred_at=case.batch.now,
        operation=EXPIRE if said.expiry else case.command.command_type,
        watch=operation.keyed_by is Keying.TAG,
        books=operation.books_adjustment,
        ends=None if said.expiry else case.ends,
        decided_by=said.actor,
    )


def _note(case: Case, said: Said, after: Mapping[str, Any]) -> None:
    """Record who decided, as evidence and in the audit."""
    before = {
        "state": "open" if said.expiry else case.command.state,
        "position": case.command.position,
        "doubtful_attempts": [{"number": a.number, "opened_at": written(a.opened_at)} for a in case.doubtful],
    }
    detail = {"of": "expiry" if said.expiry else "command", "decision": _word(said.answer), **after}
    if said.checked is not None:
        detail["checked"] = said.checked
    decided = Decided(said.command_id, "in-doubt.resolve", said.actor, said.reason, before, detail)
    note_decision(case.batch.facts, decided, case.batch.now)


def _ended_by(case: Case) -> EndedBy:
    """Say who ended the adjustment if the doubtful call did: before its hour only a person asks for it."""
    fired = case.ends is not None and case.doubtful[0].opened_at < case.ends[0].expires_at
    return "command" if fired else "timer"


def _word(answer: Applied | NotApplied) -> str:
    match answer:
        case Applied():
            return "applied"
        case NotApplied(resend=True):
            return "resend"
        case NotApplied():
            return "not_applied"
        case _:
            assert_never(answer)


def _name(command: CommandRow, *, expiry: bool) -> str:
    kind = "the expiry of temp.adjust" if expiry else command.command_type
    return f"{kind} {command.command_id}"


def _effect(case: Case, said: Said) -> str:
    command = case.command
    match said.answer:
        case Applied() if said.expiry:
            return f"the temporary adjustment is recorded as ended, by the {_ended_by(case)}"
        case NotApplied() if said.expiry:
            return "the brokerage is asked again to end the adjustment, now"
        case Applied(number=number) if REGISTRY[command.command_type].books_adjustment:
            if number is None:
                return "ends as succeeded without its number: nobody can end the adjustment before its hour"
            return f"ends as succeeded with {number}, and a timer is armed for its hour"
        case Applied(number=number):
            return f"ends as succeeded{f' with {number}' if number else ''}"
        case NotApplied(resend=True):
            return "is sent again, once more to the byte, when the commands before it in its lane are done"
        case NotApplied():
            return "ends as rejected, NOT_APPLIED"
        case _:
            assert_never(said.answer)
