"""A person takes back what was never sent: it ends as rejected, CANCELLED, as the path would end it.

Whatever may have left is for `in-doubt`. Each batch is one database transaction under its lanes' locks; one that is
interrupted has cancelled whole batches, and is simply run again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker import clock
from worker.ledger.decide import Known, Reject
from worker.operate.brake import By
from worker.settings import Settings
from worker.store.audit import Action, note
from worker.store.blobs import to_json
from worker.store.cancelling import count_waiting, read_accounts, read_waiting
from worker.store.conclude import DONE, STILL_AT_WORK, Batch, Conclusion, conclude
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.store.rest import lock_lanes
from worker.store.rows import CommandRow, History

AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one id: cancelled, not (`why`), or unknown."""

    command_id: UUID
    account_no: str | None
    cancelled: bool
    why: str = ""

    @property
    def known(self) -> bool:
        """Whether the id names a command."""
        return self.account_no is not None


async def look_at(engine: AsyncEngine, ids: Sequence[UUID]) -> list[Answer]:
    """Say of each what `cancel` would do now; changes nothing."""
    answers = []
    for chunk in _chunks(ids):
        async with transaction(engine) as connection:
            answers += [answer for answer, _, _ in await _judge(connection, chunk)]
    return answers


async def look_at_account(engine: AsyncEngine, account_no: str) -> tuple[int, int]:
    """Count what waits in a lane: (queued, under way or in doubt). A queued one may still turn out to have been sent."""
    async with transaction(engine) as connection:
        return await count_waiting(connection, account_no)


async def cancel(
    engine: AsyncEngine, settings: Settings, ids: Sequence[UUID], by: By, told: Callable[[int], None] = lambda _: None
) -> list[Answer]:
    """Cancel what was never sent of these; returns what became of each, in their sequence. `told` hears how many."""
    answers: list[Answer] = []
    for chunk in _chunks(ids):
        async with transaction(engine) as connection:
            answers += await _cancel(connection, settings, chunk, by)
        told(len(answers))
    return answers


async def cancel_account(
    engine: AsyncEngine, settings: Settings, account_no: str, by: By, told: Callable[[int], None] = lambda _: None
) -> list[Answer]:
    """Cancel what waits in one lane and was never sent, from its head on."""
    answers: list[Answer] = []
    after = 0
    while True:
        async with transaction(engine) as connection:
            waiting = await read_waiting(connection, account_no, after, AT_ONCE)
            if not waiting:
                return answers
            answers += await _cancel(connection, settings, [command_id for _, command_id in waiting], by)
        after = waiting[-1][0]
        told(len(answers))


def _chunks(ids: Sequence[UUID]) -> Sequence[Sequence[UUID]]:
    once = list(dict.fromkeys(ids))
    return [once[at : at + AT_ONCE] for at in range(0, len(once), AT_ONCE)]


async def _cancel(connection: AsyncConnection, settings: Settings, ids: Sequence[UUID], by: By) -> list[Answer]:
    known = await read_accounts(connection, ids)
    lanes, now = await lock_lanes(connection, {account_no for account_no, _ in known.values()})
    judged = await _judge(connection, ids)
    batch = Batch(lanes, now, timedelta(seconds=settings.in_doubt_notice_s))
    taken = [(command, history) for answer, command, history in judged if answer.cancelled and command]
    for command, history in sorted(taken, key=lambda one: (one[0].account_no, one[0].position)):
        decision = Reject("CANCELLED", f"{by.actor} cancelled it before it was sent", "policy")
        lane = lanes[command.account_no]
        told = Conclusion(
            command,
            decision,
            history.attempts,
            now,
            command.command_type,
            hold_after=lane.wake_at if lane.hold_reason == STILL_AT_WORK else None,
            decided_by=by.actor,
        )
        conclude(batch, told, turn_ends=False)
        _note_evidence(batch, command, by)
    _note_audit(batch, [command for command, _ in taken], by)
    await batch.write(connection)
    return [answer for answer, _, _ in judged]


async def _judge(connection: AsyncConnection, ids: Sequence[UUID]) -> list[tuple[Answer, CommandRow | None, History]]:
    known = await read_accounts(connection, ids)
    commands, histories = await read_commands(connection, ids), await read_histories(connection, ids)
    judged = []
    for command_id in ids:
        account_no, state = known.get(command_id, (None, ""))
        command, history = commands.get(command_id), histories[command_id]
        why = "no command has this id" if account_no is None else _objection(state, history)
        why = why or ("" if command else "of this command only its outcome is known")
        judged.append((Answer(command_id, account_no, not why, why), command, history))
    return judged


def _objection(state: str, history: History) -> str:
    """Say why a command cannot be cancelled; empty where it can."""
    if state in DONE:
        return f"it is {state} already"
    if state == "sending":
        return "a call of it is under way"
    if state == "parked":
        return "it is parked: see `ledger-worker parked show`"
    if state == "in_doubt":
        return "a call of it may have been applied: see `ledger-worker in-doubt show`"
    if any(a.known not in (Known.NOT_SENT, Known.REDRIVEN) for a in history.attempts):
        return "a call of it has left before, and a person decided to send it again: see `ledger-worker explain`"
    return ""


def _note_evidence(batch: Batch, command: CommandRow, by: By) -> None:
    batch.facts.add(
        "evidence",
        {
            "evidence_id": clock.new_id(),
            "command_id": command.command_id,
            "kind": "person",
            "recorded_at": batch.now,
            "actor": by.actor,
            "reason": by.reason,
            "detail": to_json({"of": "command", "decision": "cancelled", "state": "rejected", "code": "CANCELLED"}),
        },
    )


def _note_audit(batch: Batch, commands: Sequence[CommandRow], by: By) -> None:
    """Note one action per account: what waited, and that it was cancelled."""
    for account_no in sorted({command.account_no for command in commands}):
        mine = [command for command in commands if command.account_no == account_no]
        subject = str(mine[0].command_id) if len(mine) == 1 else account_no
        before = {"state": "queued", "positions": [command.position for command in mine]}
        after = {"state": "rejected", "code": "CANCELLED", "command_ids": [str(c.command_id) for c in mine]}
        note(
            batch.facts,
            clock.new_id(),
            Action(by.actor, "commands.cancel", by.reason, subject, before, after),
            batch.now,
        )
