"""Fifth stage: what came of many turns, recorded in one database transaction, whatever became of their leases.

The fence guards the lane, not the facts: an answer is always recorded by the worker that got it. Whether it also moves
the lane depends on whether that worker still holds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.errors import DataRefusedError
from worker.ledger.decide import DOUBTED, Attempt, Decision, Park, Reject, Send, Succeed
from worker.ledger.expiry import End, decide_expiry
from worker.ledger.lanes import LaneState
from worker.ledger.verdicts import InDoubt, Unreadable
from worker.observe.logs import ids
from worker.observe.metrics import Metrics
from worker.pipeline.report import report, report_row
from worker.pipeline.turn import EXPIRE, EXPIRY, LOOK, WRITE, Ended, count, weigh
from worker.settings import Settings
from worker.store.attempts import report_attempts
from worker.store.conclude import DONE, Batch, Conclusion, clear_doubt, conclude, doubt_expiry, end_adjustment
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.store.lanes import read_adjusting
from worker.store.references import Ending, read_endings
from worker.store.rest import lock_lanes
from worker.store.rows import CommandRow, History

ANSWER_REFUSED = InDoubt("answer_refused", "the answer could not be stored")
LOOK_REFUSED = Unreadable("what the look showed could not be stored")


@dataclass(frozen=True, slots=True)
class Read:
    """What was read, under the lanes' locks, of commands that had been tried before or that another has taken over."""

    commands: dict[UUID, CommandRow]
    histories: dict[UUID, History]
    expiries: dict[UUID, History]
    adjustments: dict[UUID, Ending]
    endings: dict[UUID, Ending]


@dataclass(slots=True)
class Tally:
    """What is counted once it is committed."""

    concluded: list[Conclusion] = field(default_factory=list)
    lateness_s: list[float] = field(default_factory=list)
    fences_lost: int = 0
    lane_ready: bool = False


class Finish:
    """Records ended turns."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        metrics: Metrics,
        log: FilteringBoundLogger,
        traced: Callable[[Sequence[Ended], Sequence[Conclusion]], None] | None = None,
    ) -> None:
        self._engine, self._settings, self._metrics, self._log = engine, settings, metrics, log
        self._traced = traced

    async def finish(self, ended: Sequence[Ended]) -> bool:
        """Record these turns; returns whether one of their lanes is ready again.

        May be called again with the same ones after PartUnavailableError.

        What the database refuses for its data is looked for by halves; the culprit's answer is left out and it is in
        doubt, so that it is parked or resent as any doubt and stops nobody else.
        """
        first, others = _one_of_each_lane(ended)
        if others:
            return await self._finish_both(first, others)
        try:
            async with transaction(self._engine) as connection:
                tally = await self._record(connection, ended)
        except DataRefusedError as error:
            if len(ended) > 1:
                middle = len(ended) // 2
                return await self._finish_both(ended[:middle], ended[middle:])
            [culprit] = ended
            if culprit.found in (ANSWER_REFUSED, LOOK_REFUSED):
                raise
            self._log.error("finish.quarantined", **ids(culprit.turn.command), why=str(error))
            unreadable = LOOK_REFUSED if culprit.turn.kind == LOOK else ANSWER_REFUSED
            return await self.finish([Ended(culprit.turn, unreadable, culprit.ended_s)])
        self._count(tally)
        if self._traced is not None:
            self._traced(ended, tally.concluded)
        return tally.lane_ready

    async def _finish_both(self, first: Sequence[Ended], then: Sequence[Ended]) -> bool:
        return any([await self.finish(first), await self.finish(then)])

    async def _record(self, connection: AsyncConnection, ended: Sequence[Ended]) -> Tally:
        # read before the database's time is, which does not go on while locks are waited for: no horizon comes too early
        boot_s = clock.boot_s()
        lanes, now = await lock_lanes(connection, {e.turn.command.account_no for e in ended})
        at = {e.turn.attempt_id: now - timedelta(seconds=max(0.0, boot_s - e.ended_s)) for e in ended}
        reports = {e.turn.attempt_id: report_row(e, at[e.turn.attempt_id], self._settings) for e in ended}
        recorded = await report_attempts(connection, list(reports.values()))
        # a claim that was rolled back has no attempt, and the next claim of its lane has the same fence
        held = {
            e.turn.attempt_id
            for e in ended
            if e.turn.attempt_id in recorded
            and (lane := lanes[e.turn.command.account_no]).state == LaneState.LEASED
            and lane.fence == e.turn.fence
        }
        read = await self._read(connection, ended, held)
        batch, tally = Batch(lanes, now, timedelta(seconds=self._settings.in_doubt_notice_s)), Tally()
        for e in ended:
            holds = e.turn.attempt_id in held
            if not holds:
                tally.fences_lost += 1
                if e.turn.attempt_id not in recorded:
                    continue
            if e.turn.kind == EXPIRY:
                self._expiry(batch, tally, e, read, holds=holds)
            else:
                attempt = report(e, reports[e.turn.attempt_id]) if e.turn.kind == WRITE else None
                self._command(batch, tally, e, attempt, read, holds=holds)
        await batch.write(connection)
        tally.lane_ready = any(lane.state == LaneState.READY for lane in lanes.values())
        return tally

    async def _read(self, connection: AsyncConnection, ended: Sequence[Ended], held: set[UUID]) -> Read:
        again = {
            e.turn.command.command_id
            for e in ended
            if e.turn.kind != EXPIRY and (e.turn.attempt_id not in held or e.turn.number > 1 or e.turn.kind == LOOK)
        }
        lapsing = {e.turn.command.command_id for e in ended if e.turn.kind == EXPIRY}
        adjusting = await read_adjusting(connection, command_ids=lapsing, adjust_nos=())
        enders = [e.turn.command for e in ended if e.turn.kind != EXPIRY and e.turn.operation.ends_adjustment]
        return Read(
            commands=await read_commands(connection, again),
            histories=await read_histories(connection, again),
            expiries=await read_histories(connection, lapsing, expiry=True),
            adjustments={adjustment.command_id: (adjustment, command) for adjustment, command in adjusting},
            endings=await read_endings(connection, enders),
        )

    def _command(
        self, batch: Batch, tally: Tally, ended: Ended, attempt: Attempt | None, read: Read, *, holds: bool
    ) -> None:
        turn = ended.turn
        command = read.commands.get(turn.command.command_id, turn.command)
        history = read.histories.get(command.command_id)
        if history is None:
            history = History((attempt,) if attempt else ())
        ends = read.endings.get(command.command_id)
        occurred_at = attempt.reported_at if attempt else None
        conclusion = weigh(
            command, history.attempts, history.looks, self._settings, batch.now, occurred_at=occurred_at, ends=ends
        )
        if holds:
            if command.state in (*DONE, "parked"):
                lane = batch.lanes[command.account_no]
                batch.rest(command.account_no, lane.wake_at, reason=lane.hold_reason or "")
            else:
                conclude(batch, conclusion, turn_ends=True)
                tally.concluded.append(conclusion)
            return
        if command.state == "sending":
            return  # the lane's present owner has a call out for it, and will find this among the attempts
        self._late(batch, tally, conclusion)

    def _late(self, batch: Batch, tally: Tally, conclusion: Conclusion) -> None:
        """Use an answer as evidence that came after its lane was taken over."""
        command, decision = conclusion.command, conclusion.decision
        if command.state in DONE:
            if isinstance(decision, Succeed) and command.state == "rejected":
                self._contradicted(command, decision)
                conclude(batch, conclusion, turn_ends=False)
            return
        if command.state == "parked" and not isinstance(decision, Succeed | Reject):
            if not any(a.known in DOUBTED for a in conclusion.attempts):
                clear_doubt(batch, conclusion, "it was never sent after all")
            return
        if isinstance(decision, Succeed | Reject | Park):
            batch.facts.looks_left.append({"command_id": command.command_id, "decided_at": batch.now})
        conclude(batch, conclusion, turn_ends=False)
        tally.concluded.append(conclusion)

    def _contradicted(self, command: CommandRow, decision: Decision) -> None:
        self._metrics.contradictions.labels(command.command_type).inc()
        self._log.error("finish.contradicted", **ids(command), recorded=command.state, shown=str(decision))

    def _expiry(self, batch: Batch, tally: Tally, ended: Ended, read: Read, *, holds: bool) -> None:
        """Record an expiry; it holds no lane: where it is not over, its timer waits alone."""
        command_id = ended.turn.command.command_id
        attempts = read.expiries[command_id].attempts
        lane = batch.lanes[ended.turn.command.account_no]
        if command_id in read.adjustments:
            adjustment, command = read.adjustments[command_id]
            grace = timedelta(seconds=self._settings.sweep_grace_s)
            step = decide_expiry(
                attempts,
                adjustment.expires_at,
                grace,
                batch.now,
                command_doubted=adjustment.command_doubted,
                fired_at=adjustment.fired_at,
            )
            told = Conclusion(command, Send(batch.now, ""), attempts, attempts[-1].reported_at or batch.now, EXPIRE)
            if isinstance(step, End):
                end_adjustment(batch, lane, told, adjustment, step.ended_by, step.basis)
                if step.ended_by == "timer":
                    tally.lateness_s.append((told.occurred_at - adjustment.expires_at).total_seconds())
            elif adjustment.ended_by is None:
                batch.facts.timers_rearmed.append({"command_id": command_id, "wake_at": step.at})
                doubt_expiry(batch, told, step.reason)
        if holds:
            batch.rest(lane.account_no, lane.wake_at, reason=lane.hold_reason or "")

    def _count(self, tally: Tally) -> None:
        count(self._metrics, tally.concluded)
        for late_s in tally.lateness_s:
            self._metrics.lateness_s.observe(max(0.0, late_s))
        if tally.fences_lost:
            self._metrics.fences_lost.inc(tally.fences_lost)


def _one_of_each_lane(ended: Sequence[Ended]) -> tuple[Sequence[Ended], Sequence[Ended]]:
    """Part the first turn of each lane from the rest: what follows from one must see what followed from the one before.

    A worker has two turns of one lane when it lost the first to a lease that ran out and then took the lane again.
    """
    first: dict[str, Ended] = {}
    others = [e for e in ended if first.setdefault(e.turn.command.account_no, e) is not e]
    return (list(first.values()), others) if others else (ended, ())
