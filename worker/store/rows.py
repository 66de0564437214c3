"""Rows as the path carries them between statements.

Those that every command needs are tuples: a frozen dataclass takes three times as long to make.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from worker.ledger.decide import Attempt, Look
from worker.ledger.verdicts import Request


@dataclass(slots=True)
class LaneRow:
    """One lane, locked; `account_seq` and `head_position` move as facts are recorded in this database transaction.

    `stored` are the columns as they were read: a lane that has not changed is not written again.
    """

    account_no: str
    state: str
    fence: int
    account_seq: int
    head_position: int
    next_position: int
    urgent: bool = False
    ready_at: datetime | None = None
    wake_at: datetime | None = None
    hold_reason: str | None = None
    owner: UUID | None = None
    lease_until: datetime | None = None
    stored: tuple[Any, ...] | None = None

    def next_seq(self) -> int:
        """Give the next number in the account's outcomes."""
        self.account_seq += 1
        return self.account_seq


class CommandRow(NamedTuple):
    """One accepted command and where it stands."""

    command_id: UUID
    account_no: str
    position: int
    command_type: str
    state: str
    payload: Mapping[str, Any]
    issued_by: str | None
    correlation_id: str | None
    not_after: datetime | None
    expires_at: datetime | None
    traceparent: str | None
    topic: str
    epoch: int
    partition: int
    offset: int
    accepted_at: datetime
    attempts: int
    first_sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class History:
    """All that was tried for one command, or for the expiry of one temporary adjustment, in order."""

    attempts: tuple[Attempt, ...] = ()
    looks: tuple[Look, ...] = ()
    request: Request | None = None


UNTRIED = History()


@dataclass(frozen=True, slots=True)
class AdjustmentRow:
    """One temporary adjustment that was booked; `command_doubted`: a temp.expire of it is in doubt, or parked so.

    `fired_at`: a person has asked then to end it before its hour; `fired_by` is who did so last.
    """

    command_id: UUID
    account_no: str
    adjust_no: str | None
    op_user: str
    expires_at: datetime
    ended_by: str | None
    command_doubted: bool = False
    fired_at: datetime | None = None
    fired_by: str | None = None


class Head(NamedTuple):
    """What a lane's next turn is about: a due expiry (`adjustment`) or its head command."""

    lane: LaneRow
    command: CommandRow
    history: History = UNTRIED
    adjustment: AdjustmentRow | None = None
