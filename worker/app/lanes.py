"""The lanes engine: claims turns while there are permits, carries them out beside each other, records them in groups."""

import asyncio
from collections import deque
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.app.budget import Barred, Permits, Repeating
from worker.errors import PartUnavailableError
from worker.ledger.verdicts import Evidence, NotSent, Verdict
from worker.observe.health import Liveness, Readiness
from worker.observe.logs import ids, is_detailed
from worker.observe.metrics import Metrics
from worker.pipeline.claim import Claim, ClaimUnsureError
from worker.pipeline.effect import Effect
from worker.pipeline.finish import Finish
from worker.pipeline.turn import Ended, Turn, count

IDLE_S = 0.05
AWAY_FIRST_S = 0.1
AWAY_MAX_S = 2.0
PAUSED_CHECK_S = 1.0
UNREACHED_MAX = 3
FLUSH_MAX = 500
UNRECORDED_PER_SLOT = 4
CLAIM_MAX = 200
CLAIM_PART = 4
RECORD_MIN_S = 1.0


class Lanes:
    """One worker's share of all lanes."""

    def __init__(
        self,
        claim: Claim,
        effect: Effect,
        finish: Finish,
        permits: Permits,
        readiness: Readiness,
        liveness: Liveness,
        metrics: Metrics,
        log: FilteringBoundLogger,
        recorded: Callable[[], None],
    ) -> None:
        self._claim, self._effect, self._finish, self._permits = claim, effect, finish, permits
        self._readiness, self._liveness, self._metrics, self._log = readiness, liveness, metrics, log
        self._recorded = recorded
        self._ended: deque[Ended] = deque()
        self._to_record = asyncio.Event()
        self._to_claim = asyncio.Event()
        self._empty = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._claiming = True
        self._left_ready = True
        self._paused_for: tuple[str, str] | None = None
        self._unreached = 0
        self._barred = Barred(metrics)
        self._repeating = Repeating(permits.slots.in_flight_max)
        metrics.answers_unrecorded.set_function(lambda: len(self._ended))
        metrics.calls_in_flight.set_function(lambda: len(self._calls))
        metrics.calls_in_flight_max.set(permits.slots.in_flight_max)

    def wake(self) -> None:
        """Say that a lane may be ready: intake or a timer has just committed."""
        self._to_claim.set()

    async def run(self, stopping: asyncio.Event, drain_s: float) -> None:
        """Work until `stopping`, then let calls in flight end and record them, within `drain_s`."""
        async with asyncio.TaskGroup() as group:
            recording = group.create_task(self._record())
            waiting = group.create_task(self._wake_on(stopping))
            await self._claim_until(stopping, group)
            waiting.cancel()
            await self._drain(drain_s)
            self._claiming = False
            self._to_record.set()
            if self._ended:
                self._log.error("finish.abandoned", count=len(self._ended))
                recording.cancel()

    async def _wake_on(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._to_claim.set()

    async def _claim_until(self, stopping: asyncio.Event, group: asyncio.TaskGroup) -> None:
        away_s = AWAY_FIRST_S
        while not stopping.is_set():
            self._liveness.beat("lanes")
            self._to_claim.clear()
            try:
                if self._paused_for is not None:
                    if not await self._may_resume(*self._paused_for):
                        await _wait_for(stopping, PAUSED_CHECK_S)
                    continue
                taken = await self._claim_once(group)
            except PartUnavailableError as error:
                self._readiness.set("lanes", f"Postgres cannot be reached for claims: {error}")
                self._log.warning("claim.unavailable", why=str(error))
                if isinstance(error, ClaimUnsureError):
                    self._ended.extend(error.ended)
                    self._to_record.set()
                await _wait_for(stopping, away_s)
                away_s = min(AWAY_MAX_S, away_s * 2)
                continue
            away_s = AWAY_FIRST_S
            self._readiness.clear("lanes")
            if not taken:
                await _wait_for(self._to_claim, IDLE_S)

    async def _claim_once(self, group: asyncio.TaskGroup) -> bool:
        """Claim what permits allow; returns whether there may be more at once."""
        room = self._permits.slots.in_flight_max * UNRECORDED_PER_SLOT - len(self._ended)
        urgent, others = await self._permits.available()
        self._barred.note(clock.boot_s(), urgent, others)
        limit = min(urgent if others <= 0 else others, room, CLAIM_MAX)
        self._left_ready = others <= 0 or limit <= 0
        if limit <= 0:
            return False
        with self._metrics.measured("claim") as one:
            claimed = await self._claim.claim(limit, urgent_only=others <= 0, repeats=self._repeating.room())
            one.count = claimed.lanes
        self._left_ready |= claimed.lanes >= limit or claimed.more
        if claimed.concluded:
            count(self._metrics, claimed.concluded)
            self._recorded()
        if is_detailed():
            for told in claimed.concluded:
                self._log.debug("claim.concluded", **ids(told.command), decision=type(told.decision).__name__)
        for turn in claimed.turns:
            self._permits.begin()
            self._repeating.begin(turn)
            call = group.create_task(self._carry_out(turn))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        # a claim for each slot that falls free would cost a database transaction each: the next record wakes this
        filled = claimed.lanes >= limit >= self._permits.slots.in_flight_max // CLAIM_PART
        # what needed no call may have left its lane ready
        return filled or claimed.more or bool(claimed.concluded)

    async def _carry_out(self, turn: Turn) -> None:
        try:
            ended = await self._effect.carry_out(turn)
        finally:
            self._permits.end()
            self._repeating.end(turn)
        if is_detailed():
            found, rule = type(ended.found).__name__, getattr(ended.found, "rule", None)
            self._log.debug(
                "effect.ended", **ids(turn.command), kind=turn.kind, number=turn.number, found=found, rule=rule
            )
        self._pause_if_pointless(turn, ended.found)
        self._ended.append(ended)
        self._to_record.set()

    def _pause_if_pointless(self, turn: Turn, found: Verdict | Evidence) -> None:
        """Stop claiming where every call would come back unsent: refused at the door, or nobody answers it."""
        unsent = isinstance(found, NotSent) and found.rule.endswith("_before_send")
        self._unreached = self._unreached + 1 if unsent else 0
        if not isinstance(found, NotSent) or self._paused_for is not None:
            return
        if found.pause is not None:
            reason = f"calls are paused ({found.pause.value}): {found.message}"
        elif self._unreached >= UNREACHED_MAX:
            reason = f"the brokerage cannot be reached: {found.message}"
        else:
            return
        self._paused_for = (turn.command.account_no, found.message)
        self._readiness.set("whale", reason)
        self._log.error("effect.paused", why=reason)

    async def _may_resume(self, account_no: str, why: str) -> bool:
        """Let calls go on as soon as a signed read is let in again."""
        if await self._effect.check_credentials(account_no) is not None:
            return False
        self._paused_for, self._unreached = None, 0
        self._readiness.clear("whale")
        self._log.info("effect.resumed", after=why)
        return True

    async def _record(self) -> None:
        """Record what has ended, all that gathered during the last record at once. What Postgres cannot take now waits."""
        away_s = AWAY_FIRST_S
        while self._claiming or self._ended:
            if not self._ended:
                self._to_record.clear()
                await self._to_record.wait()
                continue
            batch = [self._ended[i] for i in range(min(len(self._ended), FLUSH_MAX))]
            try:
                with self._metrics.measured("finish") as one:
                    readied = await self._finish.finish(batch)
                    one.count = len(batch)
            except PartUnavailableError as error:
                self._readiness.set("finish", f"Postgres cannot be reached to record answers: {error}")
                self._log.warning("finish.unavailable", why=str(error), waiting=len(self._ended))
                await asyncio.sleep(away_s)
                away_s = min(AWAY_MAX_S, away_s * 2)
                continue
            for _ in batch:
                self._ended.popleft()
            if not self._ended:
                self._empty.set()
            away_s = AWAY_FIRST_S
            self._readiness.clear("finish")
            if readied or self._left_ready:  # else a claim would find nothing, and the next command waits behind it
                self._to_claim.set()
            self._recorded()

    async def _drain(self, drain_s: float) -> None:
        """Let calls end and be recorded; one that does not in time is cut and stays open: reclaim finds it in doubt."""
        until_s = clock.boot_s() + drain_s
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=max(0.0, drain_s))
            for call in late:
                call.cancel()
        self._empty.clear()
        if self._ended:
            try:
                async with asyncio.timeout(max(RECORD_MIN_S, until_s - clock.boot_s())):
                    await self._empty.wait()
            except TimeoutError:
                pass


async def _wait_for(event: asyncio.Event, ceiling_s: float) -> None:
    try:
        async with asyncio.timeout(ceiling_s):
            await event.wait()
    except TimeoutError:
        return
