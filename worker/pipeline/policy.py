"""Why a call that would be made now must not be, or not yet; pure."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from worker.ledger.brakes import Brakes
from worker.ledger.decide import Reject
from worker.ledger.limits import Limits, exceeds, limit_of, weigh_command
from worker.settings import Settings
from worker.store.limits import Counted
from worker.store.references import Ending, Target, Unusable
from worker.store.rows import CommandRow
from worker.whale.operations import REGISTRY, Intent, Variants

NOTHING = Decimal(0)


class Repeats(NamedTuple):
    """How many more calls of what is in doubt may begin now, and between which seconds one that may not asks again."""

    most: int
    later_min_s: float
    later_max_s: float


UNBOUNDED = Repeats(sys.maxsize, 0.0, 0.0)


@dataclass(slots=True)
class Allowance:
    """What one round of claims may let go: what is stopped, the limits, and what was used of them before and now.

    A command counts once, at its first attempt, in the database transaction that opens it. An account has one command
    in a round, so that no two of a round count against one another.
    """

    brakes: Brakes
    limits: Limits | None
    repeats: Repeats
    used: Mapping[tuple[str, str, str], Decimal] = field(default_factory=dict)
    counted: list[Counted] = field(default_factory=list)
    repeated: int = 0

    def may_repeat(self) -> bool:
        """Take one of the calls that may go out for what is in doubt; False where none is left."""
        self.repeated += 1
        return self.repeated <= self.repeats.most

    def wanted(self, commands: Sequence[CommandRow]) -> list[Counted]:
        """Say which days' totals must be read for these commands."""
        if self.limits is None:
            return []
        return [one for command in commands if (one := _limited(self.limits, command)) is not None]

    def take(self, command: CommandRow) -> Reject | None:
        """Count a command that is about to go out for the first time, or say which limit it would pass."""
        counted = None if self.limits is None else _limited(self.limits, command)
        weight = weigh_command(command.command_type, command.payload)
        if counted is None or weight is None or self.limits is None:
            return None
        limit = limit_of(self.limits, counted.operation, counted.unit)
        used = self.used.get((counted.account_no, counted.operation, counted.unit), NOTHING)
        excess = None if limit is None else exceeds(limit, weight, used)
        if excess is not None:
            return Reject("LIMIT_EXCEEDED", excess.message, "policy", excess.field)
        self.counted.append(counted)
        return None


def _limited(limits: Limits, command: CommandRow) -> Counted | None:
    weight = weigh_command(command.command_type, command.payload)
    limit = None if weight is None else limit_of(limits, command.command_type, weight.unit)
    if weight is None or limit is None or limit.command is limit.day is None:
        return None
    return Counted(command.account_no, command.command_type, weight.unit, weight.size)


def objection(
    command: CommandRow,
    target: Target | Unusable | None,
    ends: Ending | None,
    intent: Intent,
    settings: Settings,
    variants: Variants,
    now: datetime,
) -> Reject | None:
    """Say why a call that would be made now must not be."""
    if command.not_after is not None and command.not_after <= now:
        return Reject("TOO_LATE", "not_after passed before the call could be made", "policy", "not_after")
    if command.expires_at is not None:
        ahead_s = (command.expires_at - now).total_seconds()
        if not settings.expires_ahead_min_s <= ahead_s <= settings.expires_ahead_max_s:
            message = f"expires_at lies {ahead_s:.0f} s ahead when the call would be made"
            return Reject("EXPIRES_AT_UNUSABLE", message, "policy", "payload.expires_at")
    if isinstance(target, Unusable):
        return Reject(target.code, target.message, "policy", target.field)
    if ends is not None and ends[0].ended_by is not None:
        message = f"the temporary adjustment has ended already, by {ends[0].ended_by}"
        return Reject("ALREADY_ENDED", message, "policy", "payload.adjust")
    refusal = REGISTRY[command.command_type].refuse_before_call(intent, variants)
    return Reject(refusal.code, refusal.message, "policy", refusal.field) if refusal else None
