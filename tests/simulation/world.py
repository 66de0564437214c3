"""Workers that claim, send, die, freeze and come back, over a true database and a brokerage that loses and delays.

An action is a tuple of a word and what it is about; `World.apply` does it, or says False where it cannot be done now.
A story is a list of actions, and the same story gives the same world.
"""

from datetime import datetime
from functools import cache
from uuid import UUID

from tests.simulation import doors
from tests.simulation.brokerage import NO_ANSWER, UNREADABLE, Brokerage, Call, call_of
from tests.simulation.database import BEGINNING, Database, accept, instant, take_watches, wake_lanes
from tests.simulation.promises import Breach, Promises, name
from tests.simulation.scenario import URGENT, Profile, Scenario, settings_of
from worker.errors import PartUnavailableError, RefusedByGuardError
from worker.ledger.verdicts import Evidence, NotSent, Numbers, Seen, Verdict
from worker.operate.resolve import Applied, NotApplied, Said, resolve
from worker.pipeline.claim import Claim, ClaimUnsureError
from worker.pipeline.finish import Finish
from worker.pipeline.turn import EXPIRY, LOOK, Ended, Turn
from worker.timers.due import wake_due
from worker.timers.expire import end_watched
from worker.timers.reclaim import reclaim
from worker.timers.resolve import LOOK_EVERY, Watch, tell_doubts
from worker.whale.operations import REGISTRY

Action = tuple[str | int | float, ...]
TOO_LATE = NotSent("send_before_passed", "the time to send had passed")
ALL = 100


class Stages:
    """The worker's own stages; which database they work on is set before each action."""

    def __init__(self, profile: Profile, workers: int) -> None:
        silent, self.settings = doors.Silent(), settings_of(profile)
        self.engine = doors.Engine(Database())
        owners = [UUID(int=(1 << 90) + number) for number in range(workers)]
        self.claims = [Claim(self.engine, self.settings, owner, silent) for owner in owners]
        self.finish = Finish(self.engine, self.settings, silent, silent)
        self.watch = Watch(self.engine, silent, self.settings, silent, silent)


stages_of = cache(Stages)


class Worker:
    """What one process holds in memory: turns to carry out, calls under way, answers to record. All die with it."""

    __slots__ = ("ended", "flights", "frozen", "turns")

    def __init__(self) -> None:
        self.turns: tuple[Turn, ...] = ()
        self.flights: tuple[tuple[Turn, Verdict | Evidence, float], ...] = ()
        self.ended: tuple[Ended, ...] = ()
        self.frozen = False

    def copy(self) -> "Worker":
        other = Worker()
        other.turns, other.flights, other.ended, other.frozen = self.turns, self.flights, self.ended, self.frozen
        return other


class World:
    """One world; `breach` is the first promise that it broke."""

    __slots__ = ("accepted", "breach", "brokerage", "db", "promises", "scenario", "stages", "workers")

    def __init__(self, scenario: Scenario) -> None:
        profile = scenario.profile
        self.scenario = scenario
        self.stages = stages_of(profile, scenario.workers)
        self.db = Database()
        self.db.urgent = URGENT
        self.brokerage = Brokerage(profile.late_s, profile.key_life_s + profile.memory_more_s, profile.sweep_s)
        self.workers = [Worker() for _ in range(scenario.workers)]
        self.promises = Promises()
        self.accepted = 0
        self.breach: Breach | None = None

    def copy(self) -> "World":
        other = World.__new__(World)
        other.scenario, other.stages, other.accepted, other.breach = (
            self.scenario, self.stages, self.accepted, self.breach,
        )  # fmt: skip
        other.db, other.brokerage, other.promises = self.db.copy(), self.brokerage.copy(), self.promises.copy()
        other.workers = [worker.copy() for worker in self.workers]
        return other

    def apply(self, action: Action) -> bool:
        """Do one action and check every promise; False where nothing could be done."""
        doors.CLOCK.world_at_s, self.stages.engine.db = self.db.at_s, self.db
        done = bool(_ACTIONS[str(action[0])](self, *action[1:]))
        if done and self.breach is None:
            self.breach = self.promises.check(self.db, self.brokerage)
        return done

    def accept(self) -> bool:
        if self.accepted >= len(self.scenario.commands):
            return False
        accept(self.db, self.scenario.commands[self.accepted])
        self.accepted += 1
        return True

    def claim(self, number: int, fate: str = "well", limit: int = ALL) -> bool:
        worker, engine = self.workers[number], self.stages.engine
        if worker.frozen:
            return False
        woken = wake_lanes(self.db)
        if not any(lane.state == "ready" for lane in self.db.lanes.values()):
            return woken > 0
        engine.fate = fate
        try:
            turns = doors.run(self.stages.claims[number].claim(limit)).turns
        except ClaimUnsureError as error:
            worker.ended += tuple(error.ended)
        else:
            worker.turns += tuple(turns)
        return True

    def send(self, number: int, index: int, fate: str = "well") -> bool:
        """Carry out one turn: the call leaves unless it is too late; its answer comes now, at the deadline, or never."""
        worker, at_s = self.workers[number], self.db.at_s
        if worker.frozen or index >= len(worker.turns):
            return False
        turn = worker.turns[index]
        worker.turns = worker.turns[:index] + worker.turns[index + 1 :]
        call = self._call(turn)
        if turn.kind == LOOK:
            found: Verdict | Evidence = self.brokerage.look(call) if fate == "well" else UNREADABLE
        elif at_s >= instant(turn.send_before_s):
            found = TOO_LATE
        else:
            if turn.kind == EXPIRY and call.hour_s is not None and at_s < call.hour_s:
                self.breach = Breach("early", f"the end of {name(call.command_id)} was asked for before its hour")
            found = self.brokerage.receive(call, fate, at_s)
            if found is NO_ANSWER or fate == "slow":
                worker.flights += ((turn, found, instant(at_s + turn.deadline_s)),)
                return True
        worker.ended += (Ended(turn, found, at_s),)
        return True

    def _call(self, turn: Turn) -> Call:
        call = call_of(turn)
        if turn.kind == EXPIRY:
            expires_at = self.db.commands[call.command_id].expires_at
            return call if expires_at is None else call._replace(hour_s=seconds(expires_at))
        return call

    def finish(self, number: int, fate: str = "well") -> bool:
        worker = self.workers[number]
        if worker.frozen or not worker.ended:
            return False
        self.stages.engine.fate = fate
        try:
            doors.run(self.stages.finish.finish(worker.ended))
        except PartUnavailableError:
            return True
        worker.ended = ()
        return True

    def reclaim(self) -> bool:
        now = self.db.now
        if not any(lane.lease_until is not None and lane.lease_until < now for lane in self.db.lanes.values()):
            return False
        return doors.run(reclaim(self.stages.engine, self.stages.settings)) > 0

    def due(self) -> bool:
        if not self.db.timers:
            return False
        return doors.run(wake_due(self.stages.engine))[0] > 0

    def over(self) -> bool:
        if not self.db.timers:
            return False
        return doors.run(end_watched(self.stages.engine, self.stages.settings)) > 0

    def tell(self) -> bool:
        if not self.db.doubts:
            return False
        return doors.run(tell_doubts(self.stages.engine, self.stages.settings)) > 0

    def watch(self) -> bool:
        """Look again at what is parked or was judged by absence."""
        if not self.db.watches:
            return False
        taken = doors.run(take_watches(self.db, ALL, LOOK_EVERY))
        for command_id, account_no in taken:
            command = self.db.commands[command_id]
            call = Call(command_id, account_no, command.command_type, False, False, Numbers(), None)
            evidence = self.brokerage.look(call)
            if isinstance(evidence, Seen):
                doors.run(self.stages.watch._seen(command_id, account_no, evidence))
        return bool(taken)

    def crash(self, number: int) -> bool:
        """SIGKILL: what was in memory is gone, and a fresh worker takes its place."""
        worker = self.workers[number]
        if not (worker.turns or worker.flights or worker.ended or worker.frozen):
            return False
        self.workers[number] = Worker()
        return True

    def freeze(self, number: int) -> bool:
        worker = self.workers[number]
        if worker.frozen or not (worker.turns or worker.flights or worker.ended):
            return False
        worker.frozen = True
        return True

    def thaw(self, number: int) -> bool:
        worker = self.workers[number]
        was, worker.frozen = worker.frozen, False
        self._land(worker)
        return was

    def late(self, index: int) -> bool:
        if index >= len(self.brokerage.pending):
            return False
        self.brokerage.apply_late(index, self.db.at_s)
        return True

    def fill(self) -> bool:
        return self.brokerage.fill()

    def person(self, index: int, resend: int = 0) -> bool:
        """Let a person find out the truth about a doubt and say it."""
        doubtful = sorted({command_id for command_id, is_expiry in self.db.doubts if not is_expiry})
        if index >= len(doubtful):
            return False
        command_id = doubtful[index]
        if self.brokerage.applied(command_id):
            kind = REGISTRY[self.db.commands[command_id].command_type].makes
            number = self.brokerage.numbers_of(command_id).get(kind or "") if not resend else None
            answer: Applied | NotApplied = Applied(number, number_unknown=number is None)
        else:
            answer = NotApplied(resend=bool(resend))
        said = Said(command_id, answer, "a person", "looked it up")
        try:
            doors.run(resolve(self.stages.engine, self.stages.settings, said))
        except RefusedByGuardError:
            return False
        return True

    def time(self, by_s: float) -> bool:
        """Let time pass; what the brokerage had to do in it is done, and calls whose deadline came have ended."""
        self.db.pass_time(instant(self.db.at_s + by_s))
        doors.CLOCK.world_at_s = self.db.at_s
        self.brokerage.pass_time(self.db.at_s)
        for worker in self.workers:
            if not worker.frozen:
                self._land(worker)
        return True

    def next(self) -> bool:
        """Let time pass to the next instant at which something may change."""
        at = self.instants()
        return bool(at) and self.time(min(at) - self.db.at_s)

    def _land(self, worker: Worker) -> None:
        now_s = self.db.at_s
        landed = [flight for flight in worker.flights if flight[2] <= now_s]
        worker.flights = tuple(flight for flight in worker.flights if flight[2] > now_s)
        worker.ended += tuple(Ended(turn, found, now_s) for turn, found, _ in landed)

    def instants(self) -> list[float]:
        """The instants ahead at which a lane, a timer, a call or the brokerage may move, in seconds."""
        db, found = self.db, []
        for lane in db.lanes.values():
            if lane.state == "held" and lane.wake_at is not None:
                found.append(seconds(lane.wake_at))
            elif lane.state == "leased" and lane.lease_until is not None:
                found.append(seconds(lane.lease_until) + self.scenario.profile.moment_s)
        found += [seconds(timer.wake_at) for timer in db.timers.values() if timer.state == "armed"]
        grace = self.scenario.profile.grace_s
        found += [seconds(timer.due_at) + grace for timer in db.timers.values() if timer.kind == "watch"]
        found += [pending.until_s for pending in self.brokerage.pending]
        for worker in self.workers:
            found += [flight[2] for flight in worker.flights]
            found += [turn.send_before_s for turn in worker.turns]
        return [at_s for at_s in found if instant(at_s) > db.at_s]


def seconds(at: datetime) -> float:
    """Seconds since the world began."""
    return (at - BEGINNING).total_seconds()


_ACTIONS = {
    word: getattr(World, word)
    for word in (
        "accept", "claim", "send", "finish", "reclaim", "due", "over", "tell", "watch", "crash", "freeze", "thaw",
        "late", "fill", "person", "time", "next",
    )
}  # fmt: skip
