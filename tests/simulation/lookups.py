"""What the stages read: as the statements of `worker.store` that only read, over the tables in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from tests.simulation.database import WAITING, Database, Tried
from worker.ledger.brakes import Brakes
from worker.ledger.decide import Attempt, Known, Look, Sight
from worker.store.rows import AdjustmentRow, CommandRow, History, LaneRow


def first_waiting(db: Database, account_no: str, head: int) -> CommandRow | None:
    """The command at the head: the first in its lane, from `head` on, that is queued or in doubt."""
    found: CommandRow | None = None
    for command in db.commands.values():
        waits = command.account_no == account_no and command.position >= head and command.state in WAITING
        if waits and (found is None or command.position < found.position):
            found = command
    return found


async def what_waits(db: Database, heads: Mapping[str, int]) -> dict[str, tuple[int | None, bool | None, bool]]:
    found: dict[str, tuple[int | None, bool | None, bool]] = {}
    for account_no, head in heads.items():
        command = first_waiting(db, account_no, head)
        due = any(t.state == "due" and t.account_no == account_no for t in db.timers.values())
        if command is None:
            found[account_no] = None, None, due
        else:
            found[account_no] = command.position, command.command_type in db.urgent, due
    return found


async def head_commands(db: Database, lanes: Mapping[str, LaneRow]) -> tuple[list[CommandRow], list[str]]:
    found = [first_waiting(db, lane.account_no, lane.head_position) for lane in lanes.values()]
    due = {timer.account_no for timer in db.timers.values() if timer.state == "due"}
    return [command for command in found if command is not None], [one for one in lanes if one in due]


async def due_expiries(db: Database, accounts: Sequence[str]) -> list[tuple[AdjustmentRow, CommandRow]]:
    found: dict[str, tuple[AdjustmentRow, CommandRow]] = {}
    for timer in sorted(db.timers.values(), key=lambda t: (t.due_at, t.command_id)):
        if timer.state == "due" and timer.account_no in accounts and timer.account_no not in found:
            found[timer.account_no] = adjustment(db, timer.command_id), db.commands[timer.command_id]
    return list(found.values())


async def read_commands(db: Database, command_ids: Collection[UUID]) -> dict[UUID, CommandRow]:
    return {command_id: db.commands[command_id] for command_id in command_ids if command_id in db.commands}


async def read_histories(db: Database, command_ids: Collection[UUID], *, expiry: bool = False) -> dict[UUID, History]:
    return {command_id: history(db.attempts.get(command_id, ()), expiry=expiry) for command_id in command_ids}


def history(tries: Sequence[Tried], *, expiry: bool) -> History:
    attempts, looks, request = [], [], None
    for tried in sorted(tries, key=lambda one: one.number):
        if tried.kind == "look":
            if not expiry and tried.known != Known.OPEN:
                looks.append(_look(tried))
        elif (tried.kind == "expiry") == expiry:
            attempts.append(_attempt(tried))
            if request is None and tried.known in (Known.OPEN, Known.IN_DOUBT, Known.CLEARED):
                request = tried.request
    return History(tuple(attempts), tuple(looks), request)


def _attempt(tried: Tried) -> Attempt:
    return Attempt(
        tried.number, Known(tried.known), tried.opened_at, tried.reported_at, tried.horizon_at, tried.rule,
        tried.code, tried.message, tried.numbers, tried.retry_at,
    )  # fmt: skip


def _look(tried: Tried) -> Look:
    ended_at = tried.reported_at or tried.horizon_at
    return Look(Sight(tried.known), tried.opened_at, ended_at, tried.message, tried.numbers)


async def read_adjusting(
    db: Database, *, command_ids: Collection[UUID], adjust_nos: Collection[str]
) -> list[tuple[AdjustmentRow, CommandRow]]:
    return [
        (adjustment(db, one.command_id), db.commands[one.command_id])
        for one in db.adjustments.values()
        if one.command_id in command_ids or one.adjust_no in adjust_nos
    ]


def adjustment(db: Database, command_id: UUID) -> AdjustmentRow:
    """An adjustment, with whether a temp.expire that names it is in doubt."""
    timer = db.timers.get(command_id)
    row = replace(db.adjustments[command_id], fired_at=timer.fired_at if timer else None)
    for doubtful, is_expiry in db.doubts:
        command = db.commands[doubtful]
        if not is_expiry and command.command_type == "temp.expire" and command.account_no == row.account_no:
            named = command.payload["adjust"]
            if named.get("command_id") == str(command_id) or named.get("adjust_no", "") == row.adjust_no:
                return replace(row, command_doubted=True)
    return row


async def read_brakes(db: Database, accounts: Collection[str]) -> Brakes:
    """Nothing is stopped in these worlds: nobody is there to release it."""
    return Brakes()


async def expiries_stopped(db: Database) -> bool:
    return False


async def read_targets(db: Database, ids: Sequence[UUID]) -> dict[UUID, Mapping[str, Any]]:
    found = {}
    for command_id in ids:
        command = db.commands.get(command_id)
        if command is not None:
            made = {kind: number for (kind, number), (_, maker) in db.numbers.items() if maker == command_id}
            found[command_id] = {
                "account_no": command.account_no,
                "command_type": command.command_type,
                "verdict": db.verdicts.get(command_id),
                "state": command.state,
                "made": made,
            }
    return found


async def read_numbers(
    db: Database, kinds: Collection[str], given: Sequence[str]
) -> dict[tuple[str, str], tuple[str, UUID]]:
    return {key: owner for key, owner in db.numbers.items() if key[0] in kinds and key[1] in given}


async def read_account(db: Database, command_id: UUID) -> tuple[str, bool] | None:
    command = db.commands.get(command_id)
    return None if command is None else (command.account_no, True)


async def read_open_call(db: Database, command_id: UUID, kinds: Sequence[str]) -> Mapping[str, Any] | None:
    for tried in db.attempts.get(command_id, ()):
        if tried.kind in kinds and tried.known == Known.OPEN:
            return tried._asdict()
    return None


async def read_last_decision(db: Database, command_id: UUID) -> Mapping[str, Any] | None:
    if command_id not in db.decided:
        return None
    return {"actor": "a person", "reason": "asked", "recorded_at": db.now, "detail": {}}


async def read_number_owner(db: Database, kind: str, number: str) -> tuple[UUID, str] | None:
    owner = db.numbers.get((kind, number))
    return None if owner is None else (owner[1], owner[0])
