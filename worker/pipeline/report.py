"""What came of a turn, as it is stored with its attempt and as the decision reads it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, assert_never

from worker.ledger.decide import Attempt, Known, Sight
from worker.ledger.verdicts import Absent, Confirmed, InDoubt, NotSent, Numbers, Refused, Seen, Unreadable
from worker.ledger.verdicts import Ended as OrderEnded
from worker.pipeline.turn import Ended, late_apply
from worker.settings import Settings
from worker.store.blobs import members, to_json


def report(ended: Ended, row: Mapping[str, Any]) -> Attempt:
    """Make the `Attempt` of a write turn of its `report_row`."""
    numbers = ended.found.numbers if isinstance(ended.found, Confirmed) else Numbers()
    return Attempt(
        number=ended.turn.number,
        known=Known(row["known"]),
        opened_at=ended.turn.opened_at,
        reported_at=row["reported_at"],
        horizon_at=min(ended.turn.horizon_at, row["horizon_at"]),
        rule=row["rule"],
        code=row.get("code") or "",
        message=row["message"] or "",
        numbers=numbers.filled_from(ended.turn.intent.target),
        retry_at=row.get("retry_at"),
    )


def report_row(ended: Ended, at: datetime, settings: Settings) -> dict[str, Any]:
    """Make the row of `report_attempts`; nothing of the call left after `at`, so its horizon counts from there."""
    turn, found = ended.turn, ended.found
    row: dict[str, Any] = {
        "command_id": turn.command.command_id,
        "attempt_id": turn.attempt_id,
        "reported_at": at,
        "horizon_at": at + late_apply(turn.operation, settings),
        "duration_ms": ended.duration_ms,
        "http_status": ended.http_status,
        "answer": ended.answer,
        "trace_id": ended.trace_id,
        "rule": "look",
    }
    match found:
        case Confirmed():
            numbers = found.numbers.filled_from(turn.intent.target)
            return row | {"known": Known.CONFIRMED, "rule": found.rule, "message": None, "numbers": _json(numbers)}
        case Refused():
            return row | {"known": Known.REFUSED, "rule": found.rule, "code": found.code, "message": found.message}
        case InDoubt():
            return row | {"known": Known.IN_DOUBT, "rule": found.rule, "message": found.message}
        case NotSent():
            wait = found.retry_after_s
            retry_at = None if wait is None else at + timedelta(seconds=wait)
            return row | {"known": Known.NOT_SENT, "rule": found.rule, "message": found.message, "retry_at": retry_at}
        case Seen():
            numbers = found.numbers.filled_from(turn.intent.target)
            return row | {"known": Sight.SEEN, "message": found.note, "numbers": _json(numbers)}
        case Absent():
            return row | {"known": Sight.ABSENT, "message": found.note}
        case OrderEnded():
            return row | {"known": Sight.ENDED, "message": found.note, "code": found.status}
        case Unreadable():
            return row | {"known": Sight.UNREADABLE, "message": found.note}
        case _:
            assert_never(found)


def _json(numbers: Numbers) -> str | None:
    return to_json(members(numbers))
