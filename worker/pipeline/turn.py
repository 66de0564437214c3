"""What the stages hand on: a turn of a lane, how it ended, and what follows from all that is known of its command."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple
from uuid import UUID

from worker.ledger.decide import DOUBTED, Attempt, Look, Park, Reject, Rules, Succeed, decide
from worker.ledger.verdicts import Evidence, Keying, Request, Verdict
from worker.observe.metrics import Metrics
from worker.settings import Settings
from worker.store.conclude import Conclusion
from worker.store.references import Ending
from worker.store.rows import CommandRow, History
from worker.whale.operations import REGISTRY, Intent, Operation

WRITE, EXPIRY, LOOK = "write", "expiry", "look"
EXPIRE = "temp.expire"


class Turn(NamedTuple):
    """One leased turn: a call to make, or a look to take.

    `send_before_s` is in boot seconds of this process; `tried` is what was known when the turn began.
    """

    kind: str
    command: CommandRow
    operation: Operation
    attempt_id: UUID
    number: int
    fence: int
    opened_at: datetime
    horizon_at: datetime
    request: Request | None
    intent: Intent
    tried: History
    send_before_s: float
    deadline_s: float

    @property
    def repeats(self) -> bool:
        """Whether it is about what is in doubt already."""
        return any(attempt.known in DOUBTED for attempt in self.tried.attempts)


@dataclass(slots=True)
class Ended:
    """A turn and what came of it; `ended_s` is in boot seconds, `duration_ms` the call's own time."""

    turn: Turn
    found: Verdict | Evidence
    ended_s: float
    duration_ms: float | None = None
    http_status: int | None = None
    answer: bytes | None = None
    trace_id: str | None = None


def late_apply(operation: Operation, settings: Settings) -> timedelta:
    """Return how long after its last byte may have left a call may still take effect."""
    return _seconds(settings.late_apply_s if operation.late_apply_s is None else operation.late_apply_s)


@cache
def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def deadline_s(operation: Operation, settings: Settings) -> float:
    """Return the whole-call deadline, in seconds."""
    return settings.whale_timeout_s if operation.deadline_s is None else operation.deadline_s


def weigh(
    command: CommandRow,
    attempts: Sequence[Attempt],
    looks: Sequence[Look],
    settings: Settings,
    now: datetime,
    *,
    occurred_at: datetime | None = None,
    ends: Ending | None = None,
) -> Conclusion:
    """Say what follows for a command from all that was tried for it."""
    operation = REGISTRY[command.command_type]
    rules = Rules(
        keyed_by=operation.keyed_by,
        can_look=operation.look is not None,
        ended_rejects=operation.ended_rejects,
        key_life=_seconds(settings.whale_key_life_s),
        not_after=command.not_after,
        repeat_is_harmless=operation.repeat_is_harmless,
    )
    decision = decide(rules, attempts, looks, now)
    hold_after = None
    if isinstance(decision, Succeed) and not operation.repeat_is_harmless:
        # a doubtful call that takes effect only now would undo what the commands behind it do
        doubtful = [a.horizon_at for a in attempts if a.known in DOUBTED]
        hold_after = max(doubtful, default=None)
    return Conclusion(
        command=command,
        decision=decision,
        attempts=attempts,
        occurred_at=occurred_at or now,
        operation=command.command_type,
        watch=operation.keyed_by is Keying.TAG,
        books=operation.books_adjustment,
        ends=ends,
        hold_after=hold_after,
    )


def count(metrics: Metrics, conclusions: Iterable[Conclusion]) -> None:
    """Count the verdicts and parkings among these, which are committed; a counter is moved once for all of a kind."""
    spent_s: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in conclusions:
        if isinstance(one.decision, Succeed | Reject | Park):
            kind = type(one.decision).__name__.lower()
            waited = one.occurred_at - one.command.accepted_at
            spent_s[one.command.command_type, kind].append(waited.total_seconds())
    for (command_type, kind), waits_s in spent_s.items():
        metrics.commands_finished.labels(command_type, kind).inc(len(waits_s))
        metrics.command_s.labels(command_type).inc(max(0.0, sum(waits_s)))
