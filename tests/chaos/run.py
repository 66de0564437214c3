"""One run of the crash matrix: a worker dies at a point, a fresh one recovers, and what became of it all is measured."""

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from uuid import UUID

import psycopg
from aiokafka.errors import KafkaError

from tests.chaos.crashing import Order
from tests.chaos.forks import ForkedWorker
from tests.chaos.ground import Ground, Json, Place
from tests.chaos.points import Point
from tests.chaos.scenarios import Play, play
from tests.support import wait_until_async
from tests.support.kafka import Sent
from tests.support.measure import TERMINAL, UNDECIDED, Measure, Told, measure
from tests.support.stuck import stuck
from worker.errors import LedgerWorkerError
from worker.operate.resolve import Applied, Said, resolve
from worker.settings import Settings
from worker.store.engine import opened

DEADLINE_S = 240
LOOK_EVERY_S = 0.15
PATIENCE = (1, 3, 9)
_ARMED = "SELECT count(*) FROM timers WHERE command_id = ANY(%s) AND due_at > now() + interval '0.5 s'"
_PARKED = "SELECT count(*) FROM commands WHERE command_id = ANY(%s) AND state = 'parked'"
_REJECTED = "SELECT count(*) FROM commands WHERE command_id = ANY(%s) AND state = 'rejected'"
_CORRECTED = "SELECT count(*) FROM outcomes WHERE command_id = ANY(%s) AND type = 'command.corrected'"
AMISS = (AssertionError, TimeoutError, OSError, LedgerWorkerError, KafkaError, psycopg.Error)
"""What ends one run and not the others."""
_ACCEPTED = "SELECT count(*) FROM command_ids WHERE command_id = ANY(%s)"
_UNDECIDED = "SELECT count(*) FROM commands WHERE command_id = ANY(%s) AND state IN ('queued', 'sending', 'in_doubt')"
_UNPUBLISHED = "SELECT count(*) FROM outbox"
_LEASED = "SELECT count(*) FROM lanes WHERE account_no = ANY(%s) AND state = 'leased'"
_RECLAIMED = "SELECT count(*) FROM attempts WHERE account_no = ANY(%s) AND rule = 'owner_silent'"
_UNREST = """
    SELECT (SELECT count(*) FROM commands WHERE account_no = ANY(%(a)s) AND state IN ('queued', 'sending', 'in_doubt'))
         + (SELECT count(*) FROM lanes WHERE account_no = ANY(%(a)s) AND state <> 'idle')
         + (SELECT count(*) FROM outbox WHERE ordered_by = ANY(%(a)s))
         + (SELECT count(*) FROM timers WHERE account_no = ANY(%(a)s) AND due_at < now() + interval '10 minutes')
"""
_TOLD = "SELECT coalesce(sum(account_seq), 0) FROM lanes WHERE account_no = ANY(%s)"


@dataclass(frozen=True)
class Run:
    """One cell of the matrix."""

    point: Point
    type_: str
    hit: int

    @property
    def again(self) -> str:
        """The command that runs this cell alone."""
        return f"python -m tests.chaos.matrix --points {self.point.name} --types {self.type_} --hits {self.hit}"

    def order(self) -> Order:
        """Say where the worker dies. A point passed once in a life is passed in a later life or moment instead."""
        hit, spoil = 1 if self.point.once else self.hit, self.point.spoil
        spoilt = {"spoil_at": spoil.at, "spoil_how": spoil.how, "spoil_times": spoil.times} if spoil else {}
        return Order(self.point.at, hit, counted=self.point.counted, **spoilt)


@dataclass(frozen=True)
class Finding:
    """What came of a run: the measure where it got so far, rows that wait for nothing, and what went wrong before."""

    run: Run
    seconds: float
    kills: int
    measure: Measure | None = None
    stuck: Sequence[str] = ()
    problem: str = ""

    def is_clean(self) -> bool:
        """Say whether it got to its end and nothing was amiss."""
        return not self.problem and not self.stuck and self.measure is not None and self.measure.is_clean()

    def stories(self) -> list[str]:
        """Return everything that was amiss, each with its kind."""
        told = [f"problem: {self.problem}"] if self.problem else []
        told += [f"stuck: {story}" for story in self.stuck]
        if self.measure is not None:
            kinds = [field.name for field in fields(self.measure)]
            told += [f"{kind}: {story}" for kind in kinds for story in getattr(self.measure, kind)]
        return told


class Runner:
    """Does runs at one place, one after the other."""

    def __init__(self, ground: Ground, place: Place) -> None:
        self._ground, self._place = ground, place
        self._worker: ForkedWorker | None = None
        self._sent: list[tuple[Json, Sent]] = []
        self._kills = 0

    async def run(self, run: Run) -> Finding:
        """Do one run; never raises for what goes wrong in it."""
        began_s = time.monotonic()
        self._sent, self._kills = [], 0
        problem, found, waiting = "", None, list[str]()
        try:
            made = await self._lead(run)
            await self._die(run, made)
            await self._start()
            await self._rest(made)
        except AMISS as error:
            problem = f"{error or repr(error)}{self._worker.last_lines() if self._worker else ''}"
        try:
            if problem:
                await self.close()
            found = await self._measure()
            waiting = await asyncio.to_thread(self._read_stuck)
            await self._forget_watches()
        except AMISS as error:
            problem = problem or f"it could not be measured: {error!r}"
        return Finding(run, time.monotonic() - began_s, self._kills, found, waiting, problem)

    async def close(self) -> None:
        """End the worker that is left."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end(signal.SIGKILL)
            await self._ground.bury(self._place)

    async def _die(self, run: Run, made: Play) -> None:
        """Let a worker go on to the point and see it die there."""
        match run.point.scenario:
            case "starting":
                await self._die_starting(run, made)
            case "draining":
                await self._die_draining(run, made)
            case "orphaned":
                await self._die_reclaiming(run, made)
            case _:
                worker = await self._start()
                worker.order(run.order())
                await self._send_wave(made.waves[0], worker)
                if run.point.name.startswith("mark."):
                    await self._see_published(made.waves[0], worker)
                await self._send_wave(made.waves[1], worker)
                await self._see_die(worker, run)
        if run.point.scenario == "set-aside":  # as an operator does after seeing to what Kafka refused
            await self._place.database.execute("UPDATE outbox SET set_aside_reason = NULL")

    async def _lead(self, run: Run) -> Play:
        """Bring a worker as far as the scenario says; on a machine that is too slow for its hours, with later ones."""
        before: list[Json] = []
        for patience in PATIENCE:
            made = await asyncio.to_thread(play, run.point, run.type_, self._ground.brokerage, patience)
            await self._prepare(made)
            if await self._is_ahead(made):
                made.first = before + made.first
                return made
            before += [*made.doubtful, *made.first]
        raise AssertionError("the hours of this run were over before it began, each time")

    async def _is_ahead(self, made: Play) -> bool:
        """Say whether what shall happen later has not happened yet."""
        lapsing = [one["command_id"] for one, _ in made.also if one["type"] == "temp.adjust"]
        late = [one["command_id"] for one, _ in made.also if one["type"] == "order.place"]
        return (
            await self._place.scalar(_ARMED, lapsing) == len(lapsing)
            and await self._place.scalar(_REJECTED, late) == len(late)
            and await self._place.scalar(_CORRECTED, late) == 0
        )

    async def _prepare(self, made: Play) -> None:
        """Bring about what the commands need, by a worker that nothing happens to."""
        if not made.first and not made.doubtful:
            return
        await self._start()
        await self._send([*made.doubtful, *made.first])
        await self._decided([*made.doubtful, *made.first])
        for command in made.doubtful:
            if command["type"] == "temp.adjust" and await self._place.scalar(_PARKED, _ids([command])):
                await self._book_without_number(command)

    async def _book_without_number(self, command: Json) -> None:
        settings = Settings.from_env(self._place.env)
        said = Said(UUID(command["command_id"]), Applied(number_unknown=True), "tester", "its number is lost")
        async with opened(self._place.database_url) as engine:
            await resolve(engine, settings, said)

    async def _die_starting(self, run: Run, made: Play) -> None:
        await self._stop()
        await self._send([*made.waves[0], *made.waves[1]])
        for _ in range(run.hit):
            worker = await self._ground.zygote.start(self._place.env, run.order())
            await self._see_die(worker, run)

    async def _die_draining(self, run: Run, made: Play) -> None:
        worker = await self._start()
        worker.order(run.order())
        for wave in made.waves[: run.hit]:
            await self._send_wave(wave, worker)
        worker.send(signal.SIGTERM)
        await self._see_die(worker, run)
        for wave in made.waves[run.hit :]:
            await self._send(wave)

    async def _die_reclaiming(self, run: Run, made: Play) -> None:
        """Let others die with calls in flight, as often as the point must be hit, under the eyes of a worker that lives."""
        await self._stop()
        watcher = await self._ground.zygote.start(self._place.env, roles="timers,relay")
        waves = list(made.waves)
        for number in range(run.hit):
            if number:
                await self._until(lambda: self._is_reclaimed(made, watcher), "lanes are reclaimed")
            if watcher.ended.done():
                break
            await self._send(waves.pop(0))
            await self._kill_in_flight(made)
            if number == 0:
                watcher.order(run.order())
        await self._see_die(watcher, run)
        for wave in waves:
            await self._send(wave)

    async def _is_reclaimed(self, made: Play, watcher: ForkedWorker) -> bool:
        return watcher.ended.done() or bool(await self._place.scalar(_RECLAIMED, made.accounts))

    async def _kill_in_flight(self, made: Play) -> None:
        victim = await self._ground.zygote.start(self._place.env, roles="intake,lanes")

        async def holds_lanes() -> bool:
            if not await self._place.scalar(_LEASED, made.accounts):
                return False
            victim.send(signal.SIGSTOP)  # what it holds now it keeps
            if await self._place.scalar(_LEASED, made.accounts):
                return True
            victim.send(signal.SIGCONT)
            return False

        await self._until(holds_lanes, "a worker has calls in flight")
        assert await victim.end(signal.SIGKILL) == -signal.SIGKILL
        self._kills += 1
        await self._ground.bury(self._place)

    async def _see_die(self, worker: ForkedWorker, run: Run) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                status = await asyncio.shield(worker.ended)
        except TimeoutError:
            raise AssertionError(f"the worker never got to hit {run.hit} of {run.point.name}") from None
        self._worker = None if worker is self._worker else self._worker
        note = worker.struck()
        died = status == -signal.SIGKILL and note is not None and note["at"] == run.point.at
        assert died, f"the worker did not die at {run.point.name} but ended with {status}{worker.last_lines()}"
        self._kills += 1
        await self._ground.bury(self._place)

    async def _start(self) -> ForkedWorker:
        """Return the worker that nothing happens to yet; starts one where there is none."""
        if self._worker is None:
            self._worker = await self._ground.zygote.start(self._place.env)
        return self._worker

    async def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            status = await worker.end(signal.SIGTERM)
            assert status == 0, f"a worker that was asked to end did so with {status}{worker.last_lines()}"

    async def _send(self, commands: Sequence[Json]) -> None:
        self._sent += zip(commands, await self._ground.send(self._place, commands), strict=True)

    async def _send_wave(self, wave: Sequence[Json], worker: ForkedWorker) -> None:
        """Send, and wait until it is stored or the worker is dead: the next wave is another batch."""
        await self._send(wave)
        ids = _ids(wave)

        async def is_over() -> bool:
            return worker.ended.done() or await self._place.scalar(_ACCEPTED, ids) == len(ids)

        await self._until(is_over, f"{len(ids)} commands are stored")

    async def _see_published(self, wave: Sequence[Json], worker: ForkedWorker) -> None:
        """Wait until the outcomes of a wave are marked, or the worker is dead: those of the next go in another round."""
        ids = _ids(wave)

        async def is_over() -> bool:
            if worker.ended.done():
                return True
            return await self._place.scalar(_UNDECIDED, ids) == 0 and await self._place.scalar(_UNPUBLISHED) == 0

        await self._until(is_over, f"the outcomes of {len(ids)} commands are published")

    async def _decided(self, commands: Sequence[Json]) -> None:
        ids = _ids(commands)

        async def are_decided() -> bool:
            if await self._place.scalar(_ACCEPTED, ids) < len(ids):
                return False
            return bool(await self._place.scalar(_UNDECIDED, ids) == 0)

        await self._until(are_decided, f"{len(ids)} commands are decided")

    async def _rest(self, made: Play) -> None:
        """Wait until everything is decided, recorded, published and heard."""
        ids, accounts = _ids(made.commands), made.accounts

        async def rests() -> bool:
            if await self._place.scalar(_ACCEPTED, ids) < len(ids):
                return False
            cursor = await self._place.database.execute(_UNREST, {"a": accounts})
            row = await cursor.fetchone()
            return row is not None and row[0] == 0 and await self._is_heard(made)

        await self._until(rests, "everything is over")

    async def _is_heard(self, made: Play) -> bool:
        heard = {one["event_id"]: one for account_no in made.accounts for one in self._place.heard[account_no]}
        if len(heard) < await self._place.scalar(_TOLD, made.accounts):
            return False
        types = {(one["command_id"], one["type"]) for one in heard.values()}
        wanted = [(one, TERMINAL | {UNDECIDED}) for one in made.commands] + made.also
        return all(any((one["command_id"], kind) in types for kind in kinds) for one, kinds in wanted)

    async def _until(self, condition: object, message: str) -> None:
        await wait_until_async(condition, DEADLINE_S, message, LOOK_EVERY_S)  # type: ignore[arg-type]

    async def _measure(self) -> Measure:
        """Compare all that was sent in this run with what was done and heard, whether it got to its end or not."""
        brokerage = self._ground.brokerage
        accounts = sorted({one["account_no"] for one, _ in self._sent})

        def read() -> tuple[list[Json], list[Json]]:
            effects = [one for account_no in accounts for one in brokerage.effects(account_no=account_no)]
            return effects, [one for account_no in accounts for one in brokerage.calls(account_no=account_no)]

        async def calls_ended() -> bool:
            _, calls = await asyncio.to_thread(read)
            return all(call["answered_at"] or call["fault"] for call in calls)

        await self._until(calls_ended, "the brokerage has answered all calls")
        effects, calls = await asyncio.to_thread(read)
        outcomes = [one for account_no in accounts for one in self._place.heard[account_no]]
        commands, sent = [one for one, _ in self._sent], [place for _, place in self._sent]
        return measure(Told(commands, sent, effects, calls, outcomes))

    def _read_stuck(self) -> list[str]:
        """Return what waits for nothing and was not told of after an earlier run at this place."""
        with psycopg.connect(self._place.database_url, autocommit=True) as connection:
            new = [story for story in stuck(connection) if story not in self._place.told_stuck]
        self._place.told_stuck.update(new)
        return new

    async def _forget_watches(self) -> None:
        """Take away what the machine would look at for 24 hours more: it would only slow down the runs to come."""
        await self._place.database.execute("DELETE FROM watches")


def _ids(commands: Sequence[Json]) -> list[str]:
    return [one["command_id"] for one in commands]
