"""Turns decisions into facts: states, outcomes with their place in the account's sequence, doubts, timers, lanes.

The caller holds the lock of every lane concerned. Nothing is written before `Batch.write`; what is decided, who waits
and what is published are one database transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, assert_never
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.outcomes import Basis, EndedBy, Error, OutcomeType, Result
from schemas.outcomes import event_id as event_id_of
from worker.ledger.decide import DOUBTED, Attempt, Decision, Known, LookAt, Park, Reject, Send, Succeed, Wait
from worker.ledger.verdicts import Numbers
from worker.store.facts import Facts
from worker.store.outcomes import Told, record, stored
from worker.store.rest import Hold, rest_lanes
from worker.store.rows import AdjustmentRow, CommandRow, LaneRow

WATCH_FIRST_S = 30.0
WATCH_FOR = timedelta(hours=24)
DONE = ("succeeded", "rejected")
STILL_AT_WORK = "an earlier attempt may still take effect"
"""Why a lane rests whose command before is finished: its doubtful call may still come."""


class Conclusion(NamedTuple):
    """One decision about one command, with what it rests on."""

    command: CommandRow
    decision: Decision
    attempts: Sequence[Attempt]
    occurred_at: datetime
    operation: str
    watch: bool = False
    books: bool = False
    ends: tuple[AdjustmentRow, CommandRow] | None = None
    hold_after: datetime | None = None
    decided_by: str | None = None


@dataclass(slots=True)
class Batch:
    """What one database transaction decides: the locked lanes, the facts so far, the database's time."""

    lanes: dict[str, LaneRow]
    now: datetime
    notice_after: timedelta
    facts: Facts = field(default_factory=Facts)
    resting: dict[str, Hold] = field(default_factory=dict)

    async def write(self, connection: AsyncConnection) -> None:
        """Write the facts, then let the lanes rest whose turn has ended, and store every lane's numbers."""
        await self.facts.write(connection)
        await rest_lanes(connection, self.lanes, self.resting, self.now)

    def rest(self, account_no: str, until: datetime | None = None, *, urgent: bool = False, reason: str = "") -> None:
        """End the turn of a lane; its head command, if any, may go on at `until`."""
        self.resting[account_no] = Hold(until, urgent, reason)


def conclude(batch: Batch, conclusion: Conclusion, *, turn_ends: bool) -> None:
    """Record one decision; `turn_ends` says that the lane's present turn is this command's and is over.

    A command that waits at the head of a lane that nobody holds by lease ends its wait too.
    """
    command, lane = conclusion.command, batch.lanes[conclusion.command.account_no]
    at_head = command.position == lane.head_position and lane.state != "leased"
    ends = turn_ends or at_head
    decision = conclusion.decision
    match decision:
        case Succeed():
            _succeed(batch, lane, conclusion, decision)
        case Reject():
            _reject(batch, lane, conclusion, decision)
        case Park():
            _park(batch, lane, conclusion, decision)
        case Send() | LookAt():
            _hold(batch, conclusion, decision.reason)
            hold = Hold(decision.at, isinstance(decision, LookAt), decision.reason)
            _go_on(batch, conclusion, hold, ends=ends)
            return
        case Wait():
            _hold(batch, conclusion, decision.reason)
            _go_on(batch, conclusion, Hold(decision.until, urgent=False, reason=decision.reason), ends=ends)
            return
        case _:
            assert_never(decision)
    until = conclusion.hold_after
    reason = STILL_AT_WORK if until else ""
    _go_on(batch, conclusion, Hold(until, urgent=False, reason=reason), ends=ends)
    if command.position == lane.head_position:
        lane.head_position += 1


def _go_on(batch: Batch, conclusion: Conclusion, hold: Hold, *, ends: bool) -> None:
    """Let the lane rest, or say to the turn that another has out what it will wait for afterwards."""
    lane = batch.lanes[conclusion.command.account_no]
    if ends:
        batch.resting[lane.account_no] = hold
    elif conclusion.command.position == lane.head_position:
        lane.wake_at, lane.hold_reason = hold.until, hold.reason or None


def _succeed(batch: Batch, lane: LaneRow, conclusion: Conclusion, decision: Succeed) -> None:
    command = conclusion.command
    numbers = decision.numbers.filled_from(conclusion.attempts[-1].numbers if conclusion.attempts else None)
    result = Result(
        adjust_no=numbers.adjust_no,
        serial_num=numbers.serial_num,
        order_id=numbers.order_id,
        expires_at=command.expires_at if conclusion.books else None,
        ended_by=None,
        basis=decision.basis,
    )
    if command.state in DONE:
        if command.state == "rejected":
            _correct(batch, lane, conclusion, result, f"it was rejected, but was applied: {decision.rule}")
            _book(batch, conclusion, numbers)
        return
    event_id = _tell(batch, lane, conclusion, OutcomeType.SUCCEEDED, result=result)
    _finish(batch, conclusion, "succeeded", event_id, result, None)
    _book(batch, conclusion, numbers)
    if conclusion.ends is not None:
        adjustment, adjusting = conclusion.ends
        ending = conclusion._replace(command=adjusting)
        end_adjustment(batch, lane, ending, adjustment, "command", decision.basis)


def _book(batch: Batch, conclusion: Conclusion, numbers: Numbers) -> None:
    command, facts = conclusion.command, batch.facts
    for kind in ("adjust_no", "serial_num", "order_id"):
        number = getattr(numbers, kind)
        if number is not None and conclusion.ends is None:
            row = {"kind": kind, "number": number, "account_no": command.account_no, "command_id": command.command_id}
            facts.add("numbers", row)
    if not conclusion.books or command.expires_at is None:
        return
    base = {"command_id": command.command_id, "account_no": command.account_no}
    facts.add(
        "temp_adjustments",
        base
        | {
            "adjust_no": numbers.adjust_no,
            "op_user": command.payload["op_user"],
            "expires_at": command.expires_at,
            "booked_at": batch.now,
        },
    )
    # without its number nobody can end it; a watch says when it must have ended by itself
    kind = "expire" if numbers.adjust_no else "watch"
    facts.add("timers", base | {"kind": kind, "due_at": command.expires_at, "wake_at": command.expires_at})


def _reject(batch: Batch, lane: LaneRow, conclusion: Conclusion, decision: Reject) -> None:
    if conclusion.command.state in DONE:
        return
    error = Error(decision.code, decision.message, decision.origin, decision.field)
    event_id = _tell(batch, lane, conclusion, OutcomeType.REJECTED, error=error)
    _finish(batch, conclusion, "rejected", event_id, None, error)
    if decision.by_absence:
        _watch(batch, conclusion.command)


def _park(batch: Batch, lane: LaneRow, conclusion: Conclusion, decision: Park) -> None:
    command = conclusion.command
    if command.state in (*DONE, "parked"):
        return
    code = "IN_DOUBT" if decision.in_doubt else "PARKED"
    _tell(batch, lane, conclusion, OutcomeType.PARKED, error=Error(code, decision.reason, "policy", None))
    batch.facts.commands.append(_change(conclusion, "parked"))
    batch.facts.add(
        "parked",
        {
            "command_id": command.command_id,
            "account_no": command.account_no,
            "parked_at": batch.now,
            "reason": decision.reason,
            "in_doubt": decision.in_doubt,
        },
    )
    if decision.in_doubt:
        _doubt(batch, conclusion, decision.reason)
        batch.facts.doubts_parked.append({"command_id": command.command_id, "parked_at": batch.now})
    if conclusion.watch and decision.in_doubt:
        _watch(batch, command)


def _hold(batch: Batch, conclusion: Conclusion, reason: str) -> None:
    if conclusion.command.state in (*DONE, "parked"):
        return
    doubted = any(a.known in DOUBTED for a in conclusion.attempts)
    batch.facts.commands.append(_change(conclusion, "in_doubt" if doubted else "queued"))
    if doubted:
        _doubt(batch, conclusion, reason)
    elif conclusion.command.state == "in_doubt" or len(conclusion.attempts) > 1:
        batch.facts.doubts_cleared.append(conclusion.command.command_id)


def _doubt(batch: Batch, conclusion: Conclusion, reason: str) -> None:
    first = next(a for a in conclusion.attempts if a.known in DOUBTED)
    batch.facts.add("doubts", _doubt_row(batch, conclusion, first, reason) | {"is_expiry": False})


def _doubt_row(batch: Batch, conclusion: Conclusion, first: Attempt, reason: str) -> dict[str, object]:
    return {
        "command_id": conclusion.command.command_id,
        "account_no": conclusion.command.account_no,
        "operation": conclusion.operation,
        "attempt_number": first.number,
        "since_at": first.opened_at,
        "notice_at": max(first.opened_at + batch.notice_after, batch.now),
        "reason": reason,
    }


def doubt_expiry(batch: Batch, conclusion: Conclusion, reason: str) -> None:
    """Note that an adjustment's expiry is in doubt, or no longer is; a FAILED alone is no doubt that is told of."""
    first = next((a for a in conclusion.attempts if a.known in DOUBTED), None)
    if first is None:
        batch.facts.expiry_doubts_cleared.append(conclusion.command.command_id)
        return
    batch.facts.add("doubts", _doubt_row(batch, conclusion, first, reason) | {"is_expiry": True})


def clear_doubt(batch: Batch, conclusion: Conclusion, reason: str) -> None:
    """Note of a parked command that nothing of it is in doubt any more; it still waits for a person."""
    command = conclusion.command
    batch.facts.doubts_cleared.append(command.command_id)
    batch.facts.reparked.append({"command_id": command.command_id, "reason": reason})


def _watch(batch: Batch, command: CommandRow) -> None:
    look_at = batch.now + timedelta(seconds=WATCH_FIRST_S)
    batch.facts.add(
        "watches",
        {
            "command_id": command.command_id,
            "account_no": command.account_no,
            "look_at": look_at,
            "until_at": batch.now + WATCH_FOR,
        },
    )


def _finish(
    batch: Batch, conclusion: Conclusion, state: str, event_id: UUID, result: Result | None, error: Error | None
) -> None:
    command = conclusion.command
    batch.facts.commands.append(_change(conclusion, state, batch.now))
    batch.facts.verdicts.append(
        {
            "command_id": command.command_id,
            "verdict": state,
            "terminal_event_id": event_id,
            **stored(result, error),
        }
    )
    if command.state in ("parked", "in_doubt") or len(conclusion.attempts) > 1:
        batch.facts.doubts_cleared.append(command.command_id)


def _correct(batch: Batch, lane: LaneRow, conclusion: Conclusion, result: Result, message: str) -> None:
    """Tell that a command that was rejected was applied after all; its one terminal outcome stands."""
    error = Error("CORRECTED", message, "brokerage", None)
    refers_to = event_id_of(OutcomeType.REJECTED, conclusion.command.command_id)
    _tell(batch, lane, conclusion, OutcomeType.CORRECTED, result=result, error=error, refers_to=refers_to)
    batch.facts.commands.append(_change(conclusion, "succeeded", batch.now))
    batch.facts.doubts_cleared.append(conclusion.command.command_id)


def end_adjustment(
    batch: Batch, lane: LaneRow, conclusion: Conclusion, adjustment: AdjustmentRow, ended_by: EndedBy, basis: Basis
) -> None:
    """Record that a temporary adjustment is over, once, and tell of it; its timer goes with it.

    `conclusion` carries the temp.adjust's command and the attempts of whatever ended it.
    """
    if adjustment.ended_by is not None:
        return
    batch.facts.adjustments_ended.append(
        {"command_id": adjustment.command_id, "ended_at": batch.now, "ended_by": ended_by, "basis": basis}
    )
    batch.facts.expiry_doubts_cleared.append(adjustment.command_id)
    if basis == "person" and conclusion.decided_by is None:
        conclusion = conclusion._replace(decided_by=adjustment.fired_by)
    result = Result(adjustment.adjust_no, None, None, adjustment.expires_at, ended_by, basis)
    _tell(batch, lane, conclusion, OutcomeType.EXPIRED, result=result)


def tell_doubt(batch: Batch, lane: LaneRow, conclusion: Conclusion, attempt_number: int, reason: str) -> None:
    """Publish that a command, or an adjustment's expiry, has been in doubt for a while."""
    error = Error("IN_DOUBT", reason, "brokerage", None)
    _tell(batch, lane, conclusion, OutcomeType.IN_DOUBT, error=error, attempt_number=attempt_number)


def _tell(
    batch: Batch,
    lane: LaneRow,
    conclusion: Conclusion,
    kind: OutcomeType,
    *,
    result: Result | None = None,
    error: Error | None = None,
    refers_to: UUID | None = None,
    attempt_number: int | None = None,
) -> UUID:
    attempts = conclusion.attempts
    if kind == OutcomeType.PARKED:
        attempt_number = attempts[-1].number if attempts else 0
    answered = [a.reported_at for a in attempts if a.known in (Known.CONFIRMED, Known.REFUSED)]
    told = Told(
        kind=kind,
        command=conclusion.command,
        command_type=conclusion.operation if kind == OutcomeType.IN_DOUBT else conclusion.command.command_type,
        attempts=attempts[-1].number if attempts else 0,
        occurred_at=conclusion.occurred_at,
        first_sent_at=_first_sent(attempts),
        answered_at=answered[-1] if answered else None,
        result=result,
        error=error,
        decided_by=conclusion.decided_by,
        refers_to=refers_to,
        attempt_number=attempt_number,
        place=conclusion.command.position if kind == OutcomeType.PARKED else None,
    )
    return record(batch.facts, lane, batch.now, told)


def _first_sent(attempts: Sequence[Attempt]) -> datetime | None:
    return next((a.opened_at for a in attempts if a.known not in (Known.NOT_SENT, Known.REDRIVEN)), None)


def _change(conclusion: Conclusion, state: str, finished_at: datetime | None = None) -> dict[str, object]:
    return {
        "command_id": conclusion.command.command_id,
        "state": state,
        "first_sent_at": _first_sent(conclusion.attempts),
        "finished_at": finished_at,
    }
