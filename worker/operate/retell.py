"""Facts as the outcomes topic tells them, for commands of which the database knows less."""

from datetime import datetime, timedelta

from schemas.outcomes import OutcomeType, Result
from worker.ledger.heard import Heard
from worker.ledger.verdicts import Keying
from worker.store.conclude import WATCH_FIRST_S, WATCH_FOR, Batch
from worker.store.facts import Facts
from worker.store.outcomes import stored
from worker.store.rows import CommandRow
from worker.whale.operations import REGISTRY


def finish_as_told(facts: Facts, command: CommandRow | None, ending: Heard | None, corrected: Heard | None) -> None:
    """Finish a command with exactly the outcome that was published; None is a command whose record nobody has."""
    told = corrected or ending
    if ending is not None:
        verdict = {"command_id": ending.command_id, "verdict": _state(ending), "terminal_event_id": ending.event_id}
        facts.verdicts.append(verdict | stored(ending.result, ending.error))
    if command is None or told is None:
        return
    change = {"command_id": command.command_id, "state": _state(told), "first_sent_at": told.first_sent_at}
    facts.commands.append(change | {"finished_at": told.recorded_at})
    facts.doubts_cleared.append(command.command_id)
    if told.result is not None:
        _book(facts, command, told.result, told.recorded_at)


def _state(told: Heard) -> str:
    return "rejected" if told.type is OutcomeType.REJECTED else "succeeded"


def _book(facts: Facts, command: CommandRow, result: Result, booked_at: datetime) -> None:
    operation = REGISTRY[command.command_type]
    number = getattr(result, operation.makes) if operation.makes else None
    whose = {"command_id": command.command_id, "account_no": command.account_no}
    if number is not None:
        facts.add("numbers", whose | {"kind": operation.makes, "number": number})
    if operation.books_adjustment and command.expires_at is not None:
        hour = {"expires_at": command.expires_at, "op_user": command.payload["op_user"], "booked_at": booked_at}
        facts.add("temp_adjustments", whose | hour | {"adjust_no": number})
        kind = "expire" if number else "watch"
        facts.add("timers", whose | {"kind": kind, "due_at": command.expires_at, "wake_at": command.expires_at})


def end_as_told(facts: Facts, expired: Heard) -> None:
    """End a temporary adjustment as it was published; its timer goes with it."""
    if expired.result is not None:
        ended = {"command_id": expired.command_id, "ended_at": expired.recorded_at}
        facts.adjustments_ended.append(ended | {"ended_by": expired.result.ended_by, "basis": expired.result.basis})
        facts.expiry_doubts_cleared.append(expired.command_id)


def doubt(batch: Batch, command: CommandRow, number: int, reason: str) -> None:
    """Note that the command's attempt of this number is in doubt; a notice follows unless it is cleared soon."""
    batch.facts.add(
        "doubts",
        {
            "command_id": command.command_id,
            "is_expiry": False,
            "account_no": command.account_no,
            "operation": command.command_type,
            "attempt_number": number,
            "since_at": batch.now,
            "notice_at": batch.now + batch.notice_after,
            "reason": reason,
        },
    )


def park(batch: Batch, command: CommandRow, number: int, reason: str, parked_at: datetime) -> None:
    """Let a command wait for a person whose parking was told already; from now on something of it is in doubt."""
    whose = {"command_id": command.command_id, "account_no": command.account_no}
    doubt(batch, command, number, reason)
    batch.facts.doubts_parked.append({"command_id": command.command_id, "parked_at": parked_at})
    batch.facts.commands.append({"command_id": command.command_id, "state": "parked"})
    batch.facts.add("parked", whose | {"parked_at": parked_at, "reason": reason, "in_doubt": True})
    if REGISTRY[command.command_type].keyed_by is Keying.TAG:
        look_at = batch.now + timedelta(seconds=WATCH_FIRST_S)
        batch.facts.add("watches", whose | {"look_at": look_at, "until_at": batch.now + WATCH_FOR})
