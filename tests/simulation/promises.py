"""What must be true after every step, against the brokerage's own ledger; each breach has one of the seven names."""

from typing import NamedTuple
from uuid import UUID

from tests.simulation.brokerage import Brokerage
from tests.simulation.database import Database, Said
from worker.ledger.decide import Known
from worker.store.rows import CommandRow

FIGURES = ("lost", "doubled", "misordered", "false", "early", "gaps", "stuck")
TERMINAL = {"command.succeeded": "succeeded", "command.rejected": "rejected"}
ENDED_BY = {"timer": "timer", "brokerage": "sweep"}


class Breach(NamedTuple):
    """A promise that does not hold: which of the seven, and one sentence."""

    figure: str
    sentence: str


class Promises:
    """What has been checked so far; `check` looks at what is new, and at the tables as they are."""

    __slots__ = ("effects", "ended", "furthest", "outcomes", "seqs", "terminal")

    def __init__(self) -> None:
        self.effects = self.outcomes = 0
        self.furthest: dict[str, int] = {}
        self.seqs: dict[str, int] = {}
        self.terminal: dict[UUID, str] = {}
        self.ended: frozenset[UUID] = frozenset()

    def copy(self) -> "Promises":
        other = Promises()
        other.effects, other.outcomes, other.ended = self.effects, self.outcomes, self.ended
        other.furthest, other.seqs, other.terminal = dict(self.furthest), dict(self.seqs), dict(self.terminal)
        return other

    def check(self, db: Database, brokerage: Brokerage) -> Breach | None:
        """Return the first promise that is broken now."""
        for said in db.outcomes[self.outcomes :]:
            if (breach := self._outcome(said, db, brokerage)) is not None:
                return breach
        self.outcomes = len(db.outcomes)
        for effect in brokerage.effects[self.effects :]:
            command_id = effect.command_id
            if effect.by_timer:
                if effect.hour_s is not None and db.at_s < effect.hour_s:
                    return Breach("early", f"{name(command_id)} was ended by its timer before its hour")
                continue
            position = db.commands[command_id].position
            if brokerage.made[command_id] > 1:
                return Breach("doubled", f"{name(command_id)} took effect {brokerage.made[command_id]} times")
            if position < self.furthest.get(effect.account_no, 0):
                return Breach("misordered", f"{name(command_id)} took effect after a later one of {effect.account_no}")
            if self.terminal.get(command_id) == "rejected":
                return Breach("false", f"{name(command_id)} took effect after it had been rejected")
            self.furthest[effect.account_no] = position
        self.effects = len(brokerage.effects)
        return _rows(db) or _lanes(db)

    def _outcome(self, said: Said, db: Database, brokerage: Brokerage) -> Breach | None:
        if said.seq != self.seqs.get(said.account_no, 0) + 1:
            before = self.seqs.get(said.account_no, 0)
            return Breach("gaps", f"account_seq of {said.account_no} is {said.seq} after {before}")
        self.seqs[said.account_no] = said.seq
        if any(other.event_id == said.event_id for other in db.outcomes[: self.outcomes]):
            return Breach("false", f"{name(said.command_id)} has two outcomes with one event_id, {said.kind}")
        command_id = said.command_id
        state = TERMINAL.get(said.kind)
        if state is not None:
            if command_id in self.terminal:
                return Breach("false", f"{name(command_id)} has a second terminal outcome, {said.kind}")
            self.terminal[command_id] = state
        if said.kind == "temp_adjustment.expired":
            if command_id in self.ended:
                return Breach("false", f"the adjustment of {name(command_id)} was said to have ended twice")
            self.ended |= {command_id}
        return _contradiction(said, db.commands[command_id], brokerage)


def _is_so(command: CommandRow, basis: str | None, brokerage: Brokerage) -> bool:
    """Tell whether a success is true; one that was inferred says no more than that what was asked for is so."""
    if brokerage.applied(command.command_id):
        return True
    order = command.payload.get("order") or {}
    if basis != "inferred" or command.command_type != "order.withdraw" or "command_id" not in order:
        return False
    return brokerage.cancelled(UUID(order["command_id"]))


def _contradiction(said: Said, command: CommandRow, brokerage: Brokerage) -> Breach | None:
    """Compare one outcome with the brokerage's ledger."""
    command_id = said.command_id
    match said.kind:
        case "command.succeeded" | "command.corrected":
            if not _is_so(command, said.basis, brokerage):
                return Breach("false", f"{name(command_id)} is said to be applied, and was not")
        case "command.rejected":
            if brokerage.applied(command_id):
                return Breach("false", f"{name(command_id)} is said to be rejected ({said.code}), and was applied")
        case "temp_adjustment.expired":
            truth = [one.ended_by for one in brokerage.adjustments.values() if one.booked_by == command_id]
            if None in truth:
                return Breach("false", f"the adjustment of {name(command_id)} is said to have ended, and has not")
            if said.ended_by == "unknown" or (truth and said.ended_by == "command" and isinstance(truth[0], UUID)):
                return None
            if truth != [ENDED_BY.get(said.ended_by or "")]:
                told = f"is said to have been ended by {said.ended_by}, but was by {_who(truth)}"
                return Breach("false", f"the adjustment of {name(command_id)} {told}")
    return None


def _rows(db: Database) -> Breach | None:
    for command in db.commands.values():
        wrong = _row(db, command)
        if wrong is not None:
            return Breach("stuck", f"{name(command.command_id)}, {command.state}, {wrong}")
    for command_id, adjustment in db.adjustments.items():
        if (adjustment.ended_by is None) != (command_id in db.timers):
            return Breach("stuck", f"the adjustment of {name(command_id)} and its timer do not live together")
    return None


def _row(db: Database, command: CommandRow) -> str | None:
    """Say what keeps a command from moving on, or what was left behind when it ended."""
    command_id, lane = command.command_id, db.lanes[command.account_no]
    match command.state:
        case "queued" | "in_doubt":
            if lane.state == "idle" or command.position < lane.head_position:
                return f"waits in a lane that is {lane.state} and will not look at it"
            if command.state == "in_doubt" and (command_id, False) not in db.doubts:
                return "has no row among the doubts"
        case "sending":
            if lane.state != "leased" or not _open(db, command_id, lane.fence):
                return "has no call under its lane's lease"
        case "parked":
            if command_id not in db.parked:
                return "waits for nobody"
            if db.parked[command_id] and (command_id, False) not in db.doubts:
                return "is in doubt without a row among the doubts"
        case _:
            if command_id in db.parked or (command_id, False) in db.doubts:
                return "still waits for a person or is in doubt"
            if command_id not in db.verdicts:
                return "has no verdict"
    return None


def _lanes(db: Database) -> Breach | None:
    for lane in db.lanes.values():
        wakes = {"leased": lane.lease_until, "held": lane.wake_at, "ready": lane.ready_at, "idle": db.now}[lane.state]
        if wakes is None or (lane.owner is not None) != (lane.state == "leased"):
            return Breach("stuck", f"lane {lane.account_no} is {lane.state} without what ends that")
    for timer in db.timers.values():
        if timer.wake_at < timer.due_at:
            return Breach("early", f"the timer of {name(timer.command_id)} would wake before its hour")
        if timer.state == "due" and db.lanes[timer.account_no].state in ("idle", "held"):
            return Breach("stuck", f"{name(timer.command_id)} is due, but its lane is not ready")
    for command_id, tries in db.attempts.items():
        lane = db.lanes[db.commands[command_id].account_no]
        if any(one.known == Known.OPEN and (lane.state != "leased" or lane.fence != one.fence) for one in tries):
            return Breach("stuck", f"a turn of {name(command_id)} is open, and its lane is not leased for it")
    return None


def _open(db: Database, command_id: UUID, fence: int) -> bool:
    return any(tried.known == Known.OPEN and tried.fence == fence for tried in db.attempts.get(command_id, ()))


def at_rest(db: Database, brokerage: Brokerage) -> Breach | None:
    """Return what is wrong when nothing moves any more: every command has ended, or waits for a named person."""
    for command in db.commands.values():
        who = f"{name(command.command_id)}, {command.state},"
        if command.state not in ("succeeded", "rejected", "parked"):
            return Breach("stuck", f"{who} does not move though nothing hinders it")
        told = {said.kind: said.basis for said in db.outcomes if said.command_id == command.command_id}
        wanted = {"succeeded": {"command.succeeded", "command.corrected"}, "rejected": {"command.rejected"}}
        if not told.keys() & wanted.get(command.state, {"command.parked"}):
            return Breach("lost", f"{who} has ended and nobody was told")
        if command.state == "succeeded" and not _is_so(command, told.get("command.succeeded"), brokerage):
            return Breach("lost", f"{who} is told to be applied, and was not")
    if db.timers:
        return Breach("stuck", f"the adjustment of {name(next(iter(db.timers)))} never ends")
    return None


def name(command_id: UUID) -> str:
    """Name a command in a sentence."""
    return f"command {command_id.int}"


def _who(truth: list[str | UUID | None]) -> str:
    return ", ".join(name(one) if isinstance(one, UUID) else str(one) for one in truth) or "nobody"
