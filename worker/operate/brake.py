"""The hand on the brake: a person stops everything, one operation, one partition's intake or one account, and lets go.

Each is one row, written with its audit in one database transaction; letting go wakes the lanes that rest behind it in
the same one. Nothing that was accepted is lost meanwhile: it waits in Postgres.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.times import written
from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.kafka.topics import open_topics
from worker.ledger.brakes import ACCOUNT, ALL, DOUBTS, EXPIRE, OPERATION, Brake
from worker.settings import Settings
from worker.store.adoptions import read_now
from worker.store.audit import Action, note
from worker.store.brakes import (
    Kept,
    count_due_expiries,
    count_held,
    note_doubts_seen,
    read_brake,
    read_pauses,
    set_brake,
    take_brake,
    wake_held,
)
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.intake import read_stop, read_stopped, start_intake, stop_intake
from worker.store.rest import lock_lanes

PARTITION = "partition"


@dataclass(frozen=True, slots=True)
class Stop:
    """What is meant: everything, an operation, an account, or (as `topic`, `partition`) one partition's intake."""

    kind: str
    subject: str = ""
    topic: str = ""
    partition: int = 0

    def name(self) -> str:
        """Return what is meant, in words."""
        if self.kind == PARTITION:
            return f"intake of {self.topic}[{self.partition}]"
        return f"account {self.subject}" if self.kind == ACCOUNT else Brake(self.kind, self.subject, "").name()

    def fields(self) -> dict[str, Any]:
        """Return what is meant, for machines: its kind, and what it is by the names that commands have for it."""
        match self.kind:
            case "partition":
                return {"kind": PARTITION, "topic": self.topic, "partition": self.partition}
            case "account":
                return {"kind": ACCOUNT, "account_no": self.subject}
            case "all":
                return {"kind": ALL}
            case _:
                return {"kind": OPERATION, "operation": self.subject}

    def mark(self) -> str:
        """Return how the hold reasons of the lanes behind it begin."""
        return Brake(self.kind, self.subject, "").mark()

    def word(self) -> str:
        """Return what it is called while it is stopped."""
        return {ACCOUNT: "held", PARTITION: "stopped"}.get(self.kind, "paused")


@dataclass(frozen=True, slots=True)
class By:
    """Who acts, and why."""

    actor: str
    reason: str


async def list_stopped(connection: AsyncConnection) -> list[dict[str, Any]]:
    """List what is paused and whose intake is stopped; accounts that are held have a list of their own."""
    pauses = [
        {
            **Stop(one.kind, one.subject).fields(),
            "subject": one.brake().name(),
            "since_at": written(one.set_at),
            "by": one.set_by,
            "reason": one.reason,
            "lanes_waiting": await count_held(connection, one.brake().mark()),
        }
        for one in await read_pauses(connection)
    ]
    stopped = [
        {
            **Stop(PARTITION, topic=topic, partition=partition).fields(),
            "subject": f"{topic}[{partition}]",
            "since_at": None,
            "by": None,
            "reason": reason,
        }
        for topic, partition, reason in await read_stopped(connection)
    ]
    return [*pauses, *({**one, "lanes_waiting": None} for one in stopped)]


async def preview_stop(engine: AsyncEngine, settings: Settings, stop: Stop) -> str:
    """Say what `stop_now` would do. Raises as it does and changes nothing."""
    async with transaction(engine) as connection:
        await _guard_free(connection, settings, stop)
        told = f"Stops {stop.name()}: {_effect(stop)}"
        if stop.kind == ALL or stop == Stop(OPERATION, EXPIRE):
            told += " " + await _due(connection)
    return told


async def stop_now(engine: AsyncEngine, settings: Settings, stop: Stop, by: By) -> Mapping[str, Any]:
    """Stop it; returns what is so now. In effect at the next claim of every worker, or the next batch of intake.

    Raises RefusedByGuardError where it is stopped already, NothingMatchedError for a partition that does not exist.
    """
    start = await _log_start(engine, settings, stop)
    async with transaction(engine) as connection:
        if stop.kind == PARTITION:
            done = await stop_intake(
                connection, stop.topic, stop.partition, f"paused by {by.actor}: {by.reason}", start
            )
        else:
            if stop.kind == ACCOUNT:
                await lock_lanes(connection, [stop.subject])  # a claim that has it in hand ends first
            done = await set_brake(connection, stop.kind, stop.subject, by.actor, by.reason)
        if not done:
            await _guard_free(connection, settings, stop)
            raise RefusedByGuardError(f"{stop.name()} was {stop.word()} and let go at this moment; look again")
        after: dict[str, Any] = {"stopped": stop.name(), **stop.fields(), "by": by.actor}
        if stop.kind == ALL or stop == Stop(OPERATION, EXPIRE):
            after["expiries_due"] = dict(await count_due_expiries(connection))
        action = "accounts.hold" if stop.kind == ACCOUNT else "pause"
        await _write_audit(connection, Action(by.actor, action, by.reason, stop.name(), {"stopped": None}, after))
    return after


async def preview_release(engine: AsyncEngine, stop: Stop) -> str:
    """Say what `release` would do. Raises as it does and changes nothing."""
    async with transaction(engine) as connection:
        if stop.kind == PARTITION:
            reason = await read_stop(connection, stop.topic, stop.partition)
            if reason is None:
                raise _nothing(stop)
            return f"Lets {stop.name()} go on, which is stopped: {reason}."
        kept = await _kept(connection, stop)
        if not kept:
            raise _nothing(stop)
        waiting = await count_held(connection, stop.mark())
    told = "; ".join(f"{stop.word()} by {one.set_by} since {written(one.set_at)}: {one.reason}" for one in kept)
    return f"Lets {stop.name()} go on ({told}); {waiting} accounts wait for it."


async def release(engine: AsyncEngine, stop: Stop, by: By) -> Mapping[str, Any]:
    """Let it go on and wake what waits for it. Raises NothingMatchedError where it is not stopped."""
    async with transaction(engine) as connection:
        if stop.kind == PARTITION:
            reason = await start_intake(connection, stop.topic, stop.partition)
            before: dict[str, Any] = {"reason": reason}
            found, woken = reason is not None, 0
        else:
            if stop.kind == ACCOUNT:
                await lock_lanes(connection, [stop.subject])  # as `stop_now` does, before the brake
            kinds = (OPERATION, DOUBTS) if stop.kind == OPERATION else (stop.kind,)
            taken = [one for kind in kinds if (one := await take_brake(connection, kind, stop.subject))]
            if any(one.kind == DOUBTS for one in taken):
                await note_doubts_seen(connection, stop.subject)
            before = {"stopped": [_row(one) for one in taken]}
            account_no = stop.subject if stop.kind == ACCOUNT else None
            found, woken = bool(taken), await wake_held(connection, stop.mark(), account_no)
        if not found:
            raise _nothing(stop)
        after = {"released": stop.name(), **stop.fields(), "by": by.actor, "lanes_woken": woken}
        action = "accounts.release" if stop.kind == ACCOUNT else "resume"
        await _write_audit(connection, Action(by.actor, action, by.reason, stop.name(), before, after))
    return after


async def _guard_free(connection: AsyncConnection, settings: Settings, stop: Stop) -> None:
    if stop.kind == PARTITION:
        if stop.topic not in settings.command_topics:
            raise NothingMatchedError(
                f"{stop.topic} is no command topic; those are {', '.join(settings.command_topics)}"
            )
        reason = await read_stop(connection, stop.topic, stop.partition)
        if reason is not None:
            raise RefusedByGuardError(f"{stop.name()} is stopped already: {reason}")
        return
    kept = await read_brake(connection, stop.kind, stop.subject)
    if kept is not None:
        told = f"by {kept.set_by} since {written(kept.set_at)}: {kept.reason}"
        raise RefusedByGuardError(f"{stop.name()} is {stop.word()} already, {told}")


async def _log_start(engine: AsyncEngine, settings: Settings, stop: Stop) -> int | None:
    """Say where a partition begins that was never read: its row is made as intake would make it."""
    if stop.kind != PARTITION:
        return None
    async with transaction(engine) as connection:
        await _guard_free(connection, settings, stop)
        if await read_stopped(connection, stop.topic, stop.partition, any_row=True):
            return None
    async with open_topics(settings) as topics:
        ends = await topics.topic_ends([stop.topic])
    if (stop.topic, stop.partition) not in ends:
        raise NothingMatchedError(f"Kafka has no {stop.topic}[{stop.partition}]")
    return ends[stop.topic, stop.partition][0]


async def _kept(connection: AsyncConnection, stop: Stop) -> list[Kept]:
    kinds = (OPERATION, DOUBTS) if stop.kind == OPERATION else (stop.kind,)
    return [one for kind in kinds if (one := await read_brake(connection, kind, stop.subject))]


def _nothing(stop: Stop) -> NothingMatchedError:
    return NothingMatchedError(f"{stop.name()} is not {stop.word()}; see `ledger-worker pause --list`")


def _effect(stop: Stop) -> str:
    match stop.kind:
        case "partition":
            return "its records stay in Kafka, no other partition notices."
        case "account":
            return "its commands and resends wait, looks and expiries go on, other accounts do not notice."
        case "all":
            return "no call goes out but looks; records are still taken in, outcomes still published."
        case _:
            return "its calls and resends wait, and what is behind them in their accounts; looks go on."


async def _due(connection: AsyncConnection) -> str:
    due = await count_due_expiries(connection)
    return f"Expiries wait too: {due['now']} due now, {due['within_the_hour']} within the next hour."


def _row(kept: Kept) -> dict[str, str]:
    return {"kind": kept.kind, "by": kept.set_by, "since_at": written(kept.set_at), "reason": kept.reason}


async def _write_audit(connection: AsyncConnection, action: Action) -> None:
    facts = Facts()
    note(facts, clock.new_id(), action, await read_now(connection))
    await facts.write(connection)
