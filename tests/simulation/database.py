"""A database that stays true: the tables that decide, in memory, and each statement that changes them as a function.

Rows are never changed in place, so a copy of the tables is a copy of their dictionaries. `tests/integration/store`
runs the same cases through these functions and through the statements of `worker.store`.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from worker.ledger.decide import Known
from worker.ledger.lanes import LaneState
from worker.ledger.verdicts import Numbers, Request
from worker.store.attempts import OWNER_SILENT
from worker.store.doubts import OpenDoubt
from worker.store.rows import AdjustmentRow, CommandRow, LaneRow
from worker.store.timers import DueTimer

MICROSECONDS = 6  # digits of a second that a timestamp can tell apart
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
WAITING = ("queued", "in_doubt")


def instant(at_s: float) -> float:
    """Return the instant as every clock here tells it: sums of seconds miss it by some 1e-14, and so would a bound."""
    return round(at_s, MICROSECONDS)


class Tried(NamedTuple):
    """One row of `attempts`; `known` is a write's or an expiry's Known, or a look's Sight, or open."""

    attempt_id: UUID
    command_id: UUID
    kind: str
    number: int
    fence: int
    known: str
    opened_at: datetime
    lease_until: datetime
    horizon_at: datetime
    reported_at: datetime | None
    retry_at: datetime | None
    rule: str
    code: str
    message: str
    numbers: Numbers
    request: Request | None


class Timer(NamedTuple):
    """One row of `timers`."""

    command_id: UUID
    account_no: str
    kind: str
    state: str
    due_at: datetime
    wake_at: datetime
    fired_at: datetime | None = None


class Watched(NamedTuple):
    """One row of `watches`."""

    account_no: str
    look_at: datetime
    until_at: datetime
    looks: int


class Said(NamedTuple):
    """One outcome, as far as the promises need it."""

    account_no: str
    seq: int
    kind: str
    command_id: UUID
    ended_by: str | None
    code: str | None
    basis: str | None
    event_id: UUID


class Database:
    """The tables; `at_s` is its clock, in seconds since the world began."""

    __slots__ = (
        "adjustments", "at_s", "attempts", "commands", "decided", "doubts", "lanes", "now", "numbers", "outcomes",
        "parked", "timers", "urgent", "verdicts", "watches",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pass_time(0.0)
        self.lanes: dict[str, LaneRow] = {}
        self.commands: dict[UUID, CommandRow] = {}
        self.urgent: frozenset[str] = frozenset()
        self.verdicts: dict[UUID, str] = {}
        self.attempts: dict[UUID, tuple[Tried, ...]] = {}
        self.adjustments: dict[UUID, AdjustmentRow] = {}
        self.timers: dict[UUID, Timer] = {}
        self.doubts: dict[tuple[UUID, bool], Mapping[str, Any]] = {}
        self.parked: dict[UUID, bool] = {}
        self.watches: dict[UUID, Watched] = {}
        self.numbers: dict[tuple[str, str], tuple[str, UUID]] = {}
        self.outcomes: tuple[Said, ...] = ()
        self.decided: tuple[UUID, ...] = ()

    def pass_time(self, at_s: float) -> None:
        """Set the clock; what a statement calls `now()` is kept beside it."""
        self.at_s, self.now = at_s, BEGINNING + timedelta(seconds=at_s)

    def copy(self) -> "Database":
        other = Database.__new__(Database)
        other.take_back(self)
        return other

    def take_back(self, kept: "Database") -> None:
        """Be as `kept` is: what a rollback does."""
        self.at_s, self.now, self.urgent = kept.at_s, kept.now, kept.urgent
        self.outcomes, self.decided = kept.outcomes, kept.decided
        self.lanes, self.commands, self.verdicts = dict(kept.lanes), dict(kept.commands), dict(kept.verdicts)
        self.attempts, self.adjustments, self.timers = dict(kept.attempts), dict(kept.adjustments), dict(kept.timers)
        self.doubts, self.parked, self.watches = dict(kept.doubts), dict(kept.parked), dict(kept.watches)
        self.numbers = dict(kept.numbers)


def copied(lane: LaneRow) -> LaneRow:
    return LaneRow(
        lane.account_no, lane.state, lane.fence, lane.account_seq, lane.head_position, lane.next_position, lane.urgent,
        lane.ready_at, lane.wake_at, lane.hold_reason, lane.owner, lane.lease_until,
    )  # fmt: skip


def accept(db: Database, command: CommandRow) -> None:
    """Give a command its place at the end of its lane, as `store/inbox.py` does."""
    lane = copied(db.lanes.get(command.account_no) or LaneRow(command.account_no, "idle", 0, 0, 1, 1))
    urgent = command.command_type in db.urgent
    db.commands[command.command_id] = command._replace(position=lane.next_position, accepted_at=db.now)
    lane.next_position += 1
    if lane.state == LaneState.IDLE:
        lane.state, lane.ready_at, lane.urgent = LaneState.READY.value, db.now, urgent
    db.lanes[lane.account_no] = lane


def wake_lanes(db: Database) -> int:
    woken = [lane for lane in db.lanes.values() if lane.state == "held" and lane.wake_at and lane.wake_at <= db.now]
    for held in woken:
        lane = copied(held)
        lane.state, lane.ready_at, lane.wake_at, lane.hold_reason = "ready", lane.wake_at, None, None
        db.lanes[lane.account_no] = lane
    return len(woken)


def _locked(db: Database, lanes: Sequence[LaneRow]) -> tuple[dict[str, LaneRow], datetime]:
    return {lane.account_no: copied(lane) for lane in lanes}, db.now


async def lease_ready(
    db: Database, limit: int, *, owner: UUID, lease_s: float, urgent_only: bool
) -> tuple[dict[str, LaneRow], datetime]:
    ready = [one for one in db.lanes.values() if one.state == "ready" and (one.urgent or not urgent_only)]
    ready.sort(key=lambda lane: (not lane.urgent, lane.ready_at or db.now))
    lease_until = db.now + timedelta(seconds=lease_s)
    for taken in ready[:limit]:
        lane = copied(taken)
        lane.state, lane.fence, lane.owner, lane.ready_at = "leased", lane.fence + 1, owner, None
        lane.lease_until = lease_until
        db.lanes[lane.account_no] = lane
    return _locked(db, [db.lanes[lane.account_no] for lane in ready[:limit]])


async def take_silent(db: Database, limit: int) -> tuple[dict[str, LaneRow], datetime]:
    now = db.now
    silent = [one for one in db.lanes.values() if one.state == "leased" and one.lease_until and one.lease_until < now]
    silent.sort(key=lambda lane: lane.lease_until or now)
    return _locked(db, silent[:limit])


async def lock_lanes(db: Database, accounts: Collection[str]) -> tuple[dict[str, LaneRow], datetime]:
    return _locked(db, [db.lanes[account_no] for account_no in sorted(accounts) if account_no in db.lanes])


async def write_lanes(db: Database, lanes: Collection[LaneRow]) -> None:
    for lane in lanes:
        db.lanes[lane.account_no] = copied(lane)


async def open_attempts(db: Database, rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        command_id, numbers = row["command_id"], row["numbers"]
        request = Request(row["method"], row["path"], row["query"], row["body"]) if "body" in row else None
        tried = Tried(
            row["attempt_id"], command_id, row["kind"], row["number"], row["fence"], Known.OPEN.value,
            row["opened_at"], row["lease_until"], row["horizon_at"], None, None, "", "", "",
            Numbers(**json.loads(numbers)) if numbers else Numbers(), request,
        )  # fmt: skip
        db.attempts[command_id] = (*db.attempts.get(command_id, ()), tried)
        if row["kind"] == "write":
            db.commands[command_id] = db.commands[command_id]._replace(state="sending", attempts=row["number"])


async def report_attempts(db: Database, rows: Sequence[dict[str, Any]]) -> set[UUID]:
    recorded = set()
    given = {row["attempt_id"]: row for row in rows}
    for command_id, tries in db.attempts.items():
        if not any(tried.attempt_id in given for tried in tries):
            continue
        kept = []
        for tried in tries:
            row = given.get(tried.attempt_id)
            if row is not None and (tried.known == Known.OPEN or tried.rule == OWNER_SILENT):
                recorded.add(tried.attempt_id)
                kept.append(_reported(tried, row))
            else:
                kept.append(tried)
        db.attempts[command_id] = tuple(kept)
    return recorded


def _reported(tried: Tried, row: Mapping[str, Any]) -> Tried:
    numbers, known = row.get("numbers"), row["known"].value
    if tried.known == Known.CLEARED and known != Known.CONFIRMED:
        known = tried.known
    return tried._replace(
        known=known, reported_at=row["reported_at"], rule=row["rule"], code=row.get("code") or "",
        horizon_at=min(tried.horizon_at, row["horizon_at"]), retry_at=row.get("retry_at"),
        message=row["message"] or "", numbers=Numbers(**json.loads(numbers)) if numbers else tried.numbers,
    )  # fmt: skip


async def silence_attempts(
    db: Database, accounts: Sequence[str], fences: Sequence[int], now: datetime
) -> list[tuple[str, str, UUID]]:
    found = []
    for account_no, fence in zip(accounts, fences, strict=True):
        head = db.lanes[account_no].head_position
        near = [
            c
            for c in db.commands.values()
            if c.account_no == account_no and c.position >= head and c.state in (*WAITING, "sending")
        ]
        ids = {min(near, key=lambda c: c.position).command_id} if near else set()
        ids |= {t.command_id for t in db.timers.values() if t.account_no == account_no and t.state == "due"}
        for command_id in ids:
            kinds = [
                one.kind for one in db.attempts.get(command_id, ()) if one.known == Known.OPEN and one.fence == fence
            ]
            for kind in kinds:
                silence(db, command_id, kind, now)
            found += [(account_no, kind, command_id) for kind in kinds]
    return found


def silence(db: Database, command_id: UUID, kind: str, now: datetime) -> None:
    """Wait no longer for the owner of what is open of this kind."""
    silent = {"known": "unreadable" if kind == "look" else "in_doubt", "rule": OWNER_SILENT, "reported_at": now}
    db.attempts[command_id] = tuple(
        one._replace(**silent) if one.kind == kind and one.known == Known.OPEN else one
        for one in db.attempts.get(command_id, ())
    )


async def read_due(db: Database, kind: str, limit: int) -> list[DueTimer]:
    now = db.now
    armed = [timer for timer in db.timers.values() if timer.state == "armed" and timer.kind == kind]
    due = [timer for timer in armed if timer.wake_at <= now]
    due.sort(key=lambda timer: (timer.wake_at, timer.command_id))
    return [DueTimer(timer.command_id, timer.account_no, timer.kind, timer.due_at) for timer in due[:limit]]


async def make_due(db: Database, timers: Sequence[DueTimer]) -> int:
    made = 0
    for given in timers:
        timer = db.timers.get(given.command_id)
        if timer is None or timer.state != "armed" or timer.kind != "expire" or timer.wake_at > db.now:
            continue
        db.timers[timer.command_id] = timer._replace(state="due")
        made += 1
        lane = copied(db.lanes[timer.account_no])
        if lane.state != LaneState.LEASED:
            lane.state, lane.urgent, lane.ready_at = LaneState.READY.value, True, lane.ready_at or db.now
        db.lanes[lane.account_no] = lane
    return made


async def seconds_to_next(db: Database) -> float | None:
    waits = [(timer.wake_at - db.now).total_seconds() for timer in db.timers.values() if timer.state == "armed"]
    return min(waits, default=None)


async def rearm(db: Database, command_id: UUID, wake_at: datetime) -> None:
    db.timers[command_id] = db.timers[command_id]._replace(wake_at=wake_at)


async def read_untold(db: Database, limit: int) -> list[OpenDoubt]:
    due = [row for row in db.doubts.values() if row["notice_at"] is not None and row["notice_at"] <= db.now]
    due.sort(key=lambda row: row["notice_at"])
    return [OpenDoubt(*(row[name] for name in OpenDoubt.__dataclass_fields__)) for row in due[:limit]]


async def take_untold(db: Database, doubts: Sequence[OpenDoubt]) -> list[OpenDoubt]:
    wanted = {doubt.command_id for doubt in doubts}
    taken = []
    for key, row in list(db.doubts.items()):
        if key[0] in wanted and row["notice_at"] is not None and row["notice_at"] <= db.now:
            db.doubts[key] = {**row, "notice_at": None}
            taken.append(OpenDoubt(*(row[name] for name in OpenDoubt.__dataclass_fields__)))
    return taken


async def take_watches(db: Database, limit: int, every: timedelta) -> list[tuple[UUID, str]]:
    now = db.now
    db.watches = {command_id: watch for command_id, watch in db.watches.items() if watch.until_at > now}
    due = sorted((watch.look_at, command_id) for command_id, watch in db.watches.items() if watch.look_at <= now)
    for _, command_id in due[:limit]:
        watch = db.watches[command_id]
        look_at = now + every * min(watch.looks + 1, 10)
        db.watches[command_id] = watch._replace(look_at=look_at, looks=watch.looks + 1)
    return [(command_id, db.watches[command_id].account_no) for _, command_id in due[:limit]]


async def clear_attempts(db: Database, command_id: UUID, kinds: Sequence[str], numbers: Sequence[int]) -> None:
    db.attempts[command_id] = tuple(
        tried._replace(
            known=Known.CLEARED.value,
            reported_at=tried.reported_at or db.now,
            rule=tried.rule or "person",
        )
        if tried.kind in kinds and tried.number in numbers
        else tried
        for tried in db.attempts[command_id]
    )


async def requeue(db: Database, command_id: UUID, position: int) -> None:
    db.commands[command_id] = db.commands[command_id]._replace(state="queued", position=position)
