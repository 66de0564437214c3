"""Third stage: lanes whose turn it is are leased, and what each will send is written down before anything is sent.

One database transaction for many lanes. What needs no call (too late, a reference that cannot be used, a doubt whose
horizon has passed) is concluded here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.errors import DataRefusedError, PartUnavailableError
from worker.ledger.brakes import LOOK_AGAIN_AFTER, Brake, Brakes
from worker.ledger.decide import DOUBTED, RECOVERED, LookAt, Park, Send, Wait
from worker.ledger.expiry import End, decide_expiry
from worker.ledger.limits import of_open_doubts, read_limits
from worker.ledger.verdicts import NotSent, Numbers, Request, Unreadable
from worker.observe.logs import ids
from worker.pipeline.policy import UNBOUNDED, Allowance, Repeats, objection
from worker.pipeline.turn import EXPIRE, EXPIRY, LOOK, WRITE, Ended, Turn, deadline_s, late_apply, weigh
from worker.settings import Settings
from worker.store.attempts import open_attempts
from worker.store.blobs import members, to_json
from worker.store.brakes import pause_burdened, pause_doubtful, read_brakes
from worker.store.conclude import Batch, Conclusion, conclude, end_adjustment
from worker.store.engine import transaction
from worker.store.lanes import lease_ready, put_off_first, read_heads
from worker.store.limits import count_sent, read_used
from worker.store.references import Ending, Target, Unusable, read_endings, resolve
from worker.store.rows import CommandRow, Head, LaneRow
from worker.whale.operations import REGISTRY, Intent, Operation, Variants, tag

PUT_OFF = timedelta(seconds=60)
CROWDED = "as much of what is in doubt is being asked about as may be at once"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a round of claims gave: turns to carry out, what needed none, and how many lanes were looked at.

    `more`: fewer were looked at than might have been, and others may be ready.
    """

    turns: Sequence[Turn]
    lanes: int
    concluded: Sequence[Conclusion] = ()
    more: bool = False


class ClaimUnsureError(PartUnavailableError):
    """The commit's answer was lost: these turns may be leased to us, but nothing of them was sent."""

    def __init__(self, message: str, ended: Sequence[Ended]) -> None:
        super().__init__(message)
        self.ended = ended


class Claim:
    """Takes turns for one worker process, which `owner` names."""

    def __init__(self, engine: AsyncEngine, settings: Settings, owner: UUID, log: FilteringBoundLogger) -> None:
        self._engine, self._settings, self._owner, self._log = engine, settings, owner, log
        self._variants = Variants(settings.whale_api_version, settings.whale_temp_route, settings.whale_withdraw_ids)
        self._lease = timedelta(seconds=settings.lane_lease_s)
        self._limits = read_limits(settings.limits) if settings.limits else None

    async def claim(self, limit: int, *, urgent_only: bool = False, repeats: Repeats = UNBOUNDED) -> Claimed:
        """Take up to `limit` lanes. Raises ClaimUnsureError where it is not known whether they were taken.

        Where the database refuses what a claim would write, lanes are taken one by one, and the one to blame is put off:
        it stops nobody else.
        """
        try:
            return await self._claim(limit, repeats, urgent_only=urgent_only)
        except DataRefusedError as error:
            if limit > 1:
                return replace(await self.claim(1, urgent_only=urgent_only, repeats=repeats), more=True)
            async with transaction(self._engine) as connection:
                account_no = await put_off_first(
                    connection, PUT_OFF, f"the claim cannot be written: {error}", urgent_only=urgent_only
                )
            self._log.error("claim.put_off", account_no=account_no, why=str(error))
            return Claimed((), 1, more=True)

    async def _claim(self, limit: int, repeats: Repeats, *, urgent_only: bool) -> Claimed:
        began_s = clock.boot_s()
        turns: list[Turn] = []
        concluded: list[Conclusion] = []
        try:
            async with transaction(self._engine) as connection:
                lanes, now = await lease_ready(
                    connection,
                    limit,
                    owner=self._owner,
                    lease_s=self._settings.lane_lease_s,
                    urgent_only=urgent_only,
                )
                if lanes:
                    turns, concluded = await self._take(connection, lanes, now, began_s, repeats)
        except PartUnavailableError as error:
            raise ClaimUnsureError(str(error), [_unsent(turn) for turn in turns]) from error
        return Claimed(turns, len(lanes), concluded)

    async def _take(
        self, connection: AsyncConnection, lanes: dict[str, LaneRow], now: datetime, began_s: float, repeats: Repeats
    ) -> tuple[list[Turn], list[Conclusion]]:
        notice_after = timedelta(seconds=self._settings.in_doubt_notice_s)
        batch = Batch(lanes, now, notice_after)
        heads = await read_heads(connection, lanes)
        for account_no, lane in lanes.items():
            if account_no not in heads or _is_held(lane, heads[account_no], now):
                batch.rest(account_no, lane.wake_at, reason=lane.hold_reason or "")
        heads = {account_no: head for account_no, head in heads.items() if account_no not in batch.resting}
        ending = [h.command for h in heads.values() if _operation_of(h).ends_adjustment and h.adjustment is None]
        endings = await read_endings(connection, ending)
        referring = [(h.command, r) for h in heads.values() if (r := _reference_of(h)) is not None]
        targets = await resolve(connection, referring)
        allowance = await self._allowance(connection, heads, now, repeats)
        turns: list[Turn] = []
        concluded: list[Conclusion] = []
        for head in heads.values():
            turn: Turn | Conclusion | None
            if head.adjustment is not None:
                turn = self._expiry(batch, head, allowance, began_s)
            else:
                ends = endings.get(head.command.command_id)
                turn = self._command(batch, head, targets.get(head.command.command_id), ends, allowance, began_s)
            if isinstance(turn, Conclusion):
                concluded.append(turn)
            elif turn is not None:
                turns.append(turn)
        await open_attempts(connection, [self._attempt_row(turn) for turn in turns])
        await batch.write(connection)
        if allowance.counted:
            await count_sent(connection, allowance.counted, now)
        return turns, concluded

    async def _allowance(
        self, connection: AsyncConnection, heads: dict[str, Head], now: datetime, repeats: Repeats
    ) -> Allowance:
        """Read what is stopped, and what went out on this day where that is limited."""
        brakes = await read_brakes(connection, list(heads))
        paused = await self._pause_doubtful(connection)
        if paused:
            brakes = Brakes.of((*brakes.found, *paused))
        allowance = Allowance(brakes, self._limits, repeats)
        wanted = allowance.wanted(
            [h.command for h in heads.values() if h.adjustment is None and not h.command.attempts]
        )
        if wanted:
            allowance.used = await read_used(connection, wanted, now)
        return allowance

    async def _pause_doubtful(self, connection: AsyncConnection) -> list[Brake]:
        """Pause operations of which too many commands, or too much, is in doubt; returns what was paused now."""
        paused: list[Brake] = []
        doubts_max, limits = self._settings.open_doubts_max, of_open_doubts(self._limits or {})
        if doubts_max is not None:
            paused += await pause_doubtful(connection, list(REGISTRY), doubts_max)
        if limits:
            paused += await pause_burdened(connection, limits)
        for one in paused:
            self._log.error("claim.paused", operation=one.subject, why=one.reason)
        return paused

    def _expiry(self, batch: Batch, head: Head, allowance: Allowance, began_s: float) -> Turn | None:
        adjustment, attempts = head.adjustment, head.history.attempts
        if adjustment is None or adjustment.adjust_no is None:
            raise RuntimeError(f"{head.command.command_id} has no adjustment that could be ended")
        grace = timedelta(seconds=self._settings.sweep_grace_s)
        step = decide_expiry(
            attempts,
            adjustment.expires_at,
            grace,
            batch.now,
            command_doubted=adjustment.command_doubted,
            fired_at=adjustment.fired_at,
        )
        match step:
            case End():
                told = Conclusion(head.command, Send(batch.now, ""), attempts, batch.now, EXPIRE)
                end_adjustment(batch, head.lane, told, adjustment, step.ended_by, step.basis)
            case Send() if step.at > batch.now:
                batch.facts.timers_rearmed.append({"command_id": adjustment.command_id, "wake_at": step.at})
            case Send() if allowance.brakes.on_expiry() is not None:
                # no timer is made due while this lasts, and this one is as soon as it ends
                batch.facts.timers_rearmed.append({"command_id": adjustment.command_id, "wake_at": batch.now})
            case Send() if any(a.known in DOUBTED for a in attempts) and not allowance.may_repeat():
                batch.facts.timers_rearmed.append(
                    {"command_id": adjustment.command_id, "wake_at": _later(batch, allowance)}
                )
            case Send():
                payload = {"op_user": adjustment.op_user}
                target = Numbers(adjust_no=adjustment.adjust_no)
                intent = Intent(adjustment.command_id, adjustment.account_no, payload, None, target)
                return self._turn(batch, head, EXPIRY, intent, began_s, None)
        batch.rest(head.lane.account_no, head.lane.wake_at, reason=head.lane.hold_reason or "")
        return None

    def _command(
        self,
        batch: Batch,
        head: Head,
        target: Target | Unusable | None,
        ends: Ending | None,
        allowance: Allowance,
        began_s: float,
    ) -> Turn | Conclusion | None:
        command, history = head.command, head.history
        conclusion = weigh(command, history.attempts, history.looks, self._settings, batch.now, ends=ends)
        intent = _intent(command, target, history.attempts[-1].numbers if history.attempts else None)
        decision = conclusion.decision
        if history.attempts and isinstance(decision, Send | LookAt):
            decision = self._unguided(head, intent, batch.now) or decision
            conclusion = conclusion._replace(decision=decision)
        match decision:
            case LookAt() if decision.at <= batch.now:
                if allowance.may_repeat():
                    return self._turn(batch, head, LOOK, intent, began_s, None)
                batch.rest(command.account_no, _later(batch, allowance), urgent=True, reason=CROWDED)
                return None
            case Send() if decision.at <= batch.now:
                doubted = any(a.known in DOUBTED for a in history.attempts)
                stopped = allowance.brakes.on_write(command.account_no, command.command_type, doubted=doubted)
                if stopped is not None:
                    urgent = _operation_of(head).urgent
                    batch.rest(command.account_no, batch.now + LOOK_AGAIN_AFTER, urgent=urgent, reason=stopped)
                    return None
                if doubted and allowance.may_repeat():
                    return self._turn(batch, head, WRITE, intent, began_s, decision.no_later_than)
                if doubted:
                    batch.rest(command.account_no, _later(batch, allowance), reason=CROWDED)
                    return None
                built = objection(
                    command, target, ends, intent, self._settings, self._variants, batch.now
                ) or self._built(head, intent)
                if isinstance(built, Request) and not command.attempts:
                    built = allowance.take(command) or built
                if isinstance(built, Request):
                    return self._turn(batch, head, WRITE, intent, began_s, command.not_after, built)
                conclusion = conclusion._replace(decision=built)
            case _:
                pass
        conclude(batch, conclusion, turn_ends=True)
        return conclusion

    def _built(self, head: Head, intent: Intent) -> Request | Park:
        """Make the request, or say why none can be made; a person must see that, and no other lane waits for it."""
        try:
            return _operation_of(head).build(intent, self._variants)
        except (KeyError, TypeError, ValueError) as error:
            self._log.exception("claim.unbuildable", **ids(head.command))
            return Park(f"no request can be made of it: {error}", in_doubt=False)

    def _unguided(self, head: Head, intent: Intent, now: datetime) -> Wait | Park | None:
        """Say why a doubt that `recover` made leads nowhere: what was sent is forgotten, and it cannot be made anew."""
        doubts = [a for a in head.history.attempts if a.known in DOUBTED]
        recovered = [a.horizon_at for a in doubts if a.rule == RECOVERED]
        if head.history.request is not None or not recovered:
            return None
        if _operation_of(head).reference is not None and intent.target in (None, Numbers()):
            why = "what it refers to is not known, nor what was sent"
        elif isinstance(built := self._built(head, intent), Park):
            why = built.reason
        else:
            return None
        return Wait(max(recovered), why) if now < max(recovered) else Park(why, in_doubt=True)

    def _turn(
        self,
        batch: Batch,
        head: Head,
        kind: str,
        intent: Intent,
        began_s: float,
        no_later_than: datetime | None,
        built: Request | None = None,
    ) -> Turn:
        """Make the turn of a leased lane; `send_before` is counted from before the claim's own statement."""
        lane, operation = head.lane, _operation_of(head)
        window_s = call_s = deadline_s(operation, self._settings)
        if no_later_than is not None:
            window_s = min(window_s, (no_later_than - batch.now).total_seconds())
        if kind != EXPIRY:
            lane.head_position = head.command.position
            lane.wake_at = lane.hold_reason = None
        history = head.history
        request = None if kind == LOOK else history.request or built or operation.build(intent, self._variants)
        return Turn(
            kind=kind,
            command=head.command,
            operation=operation,
            attempt_id=clock.new_id(),
            # after `recover` the attempts that are known need not begin with the first
            number=len(history.looks) + 1 if kind == LOOK else max([a.number for a in history.attempts], default=0) + 1,
            fence=lane.fence,
            opened_at=batch.now,
            horizon_at=batch.now + self._lease + late_apply(operation, self._settings),
            request=request,
            intent=intent,
            tried=history,
            send_before_s=began_s + window_s,
            deadline_s=call_s,
        )

    def _attempt_row(self, turn: Turn) -> dict[str, object]:
        request = turn.request
        row: dict[str, object] = {
            "attempt_id": turn.attempt_id,
            "command_id": turn.command.command_id,
            "account_no": turn.command.account_no,
            "kind": turn.kind,
            "number": turn.number,
            "operation": turn.operation.command_type,
            "fence": turn.fence,
            "owner": self._owner,
            "opened_at": turn.opened_at,
            "send_before_at": turn.opened_at + timedelta(seconds=turn.deadline_s),
            "lease_until": turn.opened_at + self._lease,
            "horizon_at": turn.horizon_at,
            "numbers": to_json(members(turn.intent.target)) if turn.intent.target else None,
        }
        if request is not None:
            row |= {"method": request.method, "path": request.path, "query": request.query, "body": request.body}
        return row


def _later(batch: Batch, allowance: Allowance) -> datetime:
    return batch.now + timedelta(seconds=clock.jitter(allowance.repeats.later_min_s, allowance.repeats.later_max_s))


def _unsent(turn: Turn) -> Ended:
    why = "the database did not say whether the turn was taken"
    found = Unreadable(why) if turn.kind == LOOK else NotSent("claim_unsure", why)
    return Ended(turn, found, clock.boot_s())


def _is_held(lane: LaneRow, head: Head, now: datetime) -> bool:
    """Tell whether a lane made ready for an expiry that is gone again is still held by its command."""
    return head.adjustment is None and lane.wake_at is not None and lane.wake_at > now


def _operation_of(head: Head) -> Operation:
    return REGISTRY[EXPIRE if head.adjustment is not None else head.command.command_type]


def _reference_of(head: Head) -> str | None:
    return None if head.adjustment is not None else REGISTRY[head.command.command_type].reference


def _intent(command: CommandRow, target: Target | Unusable | None, named: Numbers | None) -> Intent:
    found = target if isinstance(target, Target) else None
    return Intent(
        command_id=command.command_id,
        account_no=command.account_no,
        payload=command.payload,
        expires_at=command.expires_at,
        target=found.numbers if found else named,
        target_tag=tag(found.made_by) if found and found.made_by else None,
    )
