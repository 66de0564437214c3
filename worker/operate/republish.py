"""Publishes the stored outcomes of a plan's range again, the same ids and bytes, for a downstream that lost them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import LedgerWorkerError, NothingMatchedError, PartUnavailableError, RefusedByGuardError
from worker.kafka.producer import Message, Permanent, Producer, SendResult, Sent
from worker.kafka.topics import open_topics
from worker.operate.pace import Pace
from worker.operate.replay_run import How, find_plan, note_run
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.replays import Plan, Run, begin_run, move_run, only_run, read_run
from worker.store.republished import (
    Stored,
    count_noted,
    count_outcomes,
    count_pruned,
    forget_outcomes,
    gather_outcomes,
    read_outcomes,
)

PAGE = 500


async def republish(engine: AsyncEngine, settings: Settings, plan_id: UUID, to_topic: str, how: How) -> dict[str, Any]:
    """Publish what is left to publish and return how many went out, and how many wait for the relay's first time.

    Raises RefusedByGuardError for a topic of ours that is not for outcomes, TopicsError for one that does not exist,
    NothingMatchedError where the range has no outcome, PartUnavailableError where Kafka went away: run it again.
    """
    not_for_outcomes = {*settings.command_topics, settings.topic_dead_letters, settings.topic_audit}
    if to_topic in not_for_outcomes:
        raise RefusedByGuardError(f"{to_topic} is not for outcomes; nothing was published")
    plan = await find_plan(engine, plan_id)
    async with open_topics(settings) as topics:
        await topics.topic_ends([to_topic])
    async with only_run(engine, plan_id):
        async with transaction(engine) as connection:
            run = await read_run(connection, plan_id, to_topic)
            goes_on = run is not None and run.ended_at is None
            published, waiting = await count_outcomes(connection, plan)
            pruned = await count_pruned(connection, plan)
        if pruned and not goes_on:
            raise RefusedByGuardError(
                f"the outcomes of {pruned} records of plan {plan_id} were pruned; plan a range that begins later"
            )
        if not published and not goes_on:
            raise NothingMatchedError(f"plan {plan_id} has no outcome that was published")
        how.confirm(f"This publishes {published} outcomes to {to_topic} again; consumers drop them by event_id.")
        republishing = _Republishing(engine, plan, to_topic, how)
        await republishing.begin(anew=not goes_on)
        producer = Producer(settings)
        try:
            counts = await republishing.publish(producer)
        finally:
            await producer.close()
    return {**counts, "not_yet_published": waiting}


class _Republishing:
    """One run under way."""

    def __init__(self, engine: AsyncEngine, plan: Plan, to_topic: str, how: How) -> None:
        self._engine, self._plan, self._to_topic, self._how = engine, plan, to_topic, how
        self._run = Run({}, {}, None)
        self._total = 0

    async def begin(self, *, anew: bool) -> None:
        """Begin, noting what goes out, or go on; with its audit."""
        plan, how = self._plan, self._how
        async with transaction(self._engine) as connection:
            await begin_run(connection, plan.plan_id, self._to_topic, how.actor, how.reason)
            if anew:
                await gather_outcomes(connection, plan, self._to_topic)
            self._total = await count_noted(connection, plan.plan_id, self._to_topic)
            self._run = await read_run(connection, plan.plan_id, self._to_topic) or self._run
            after = {"to_topic": self._to_topic, "outcomes": self._total}
            await note_run(connection, plan, how, "replay.republish", dict(self._run.counts), after)

    async def publish(self, producer: Producer) -> dict[str, Any]:
        """Publish what is left and end the run."""
        pace = Pace(self._how.rate)
        while True:
            async with transaction(self._engine) as connection:
                page = await read_outcomes(connection, self._plan.plan_id, self._to_topic, self._at, PAGE)
            if not page:
                break
            for part in pace.parts(page):
                await self._send(producer, part)
                self._how.advance(self._at, self._total)
                await pace.after(len(part))
        plan_id, counts = self._plan.plan_id, {"published": self._total}
        async with transaction(self._engine) as connection:
            await move_run(connection, plan_id, self._to_topic, self._run, replace(self._run, counts=counts), ends=True)
            await forget_outcomes(connection, plan_id, self._to_topic)
            after = {"to_topic": self._to_topic, **counts}
            await note_run(connection, self._plan, self._how, "replay.end", {"outcomes": self._total}, after)
        return counts

    @property
    def _at(self) -> int:
        return self._run.progress.get("number", 0)

    async def _send(self, producer: Producer, part: Sequence[Stored]) -> None:
        """Send a part and note how much of it Kafka has, from its beginning; what is behind is sent again."""
        messages = [Message(self._to_topic, row.key, row.value, row.headers, row.timestamp_ms) for row in part]
        results = await producer.send(messages)
        count = next((at for at, result in enumerate(results) if not isinstance(result, Sent)), len(part))
        if count:
            number = part[count - 1].number
            after = Run({"number": number}, {"published": number}, None)
            async with transaction(self._engine) as connection:
                await move_run(connection, self._plan.plan_id, self._to_topic, self._run, after)
            self._run = after
        if count < len(part):
            raise _error(results[count])


def _error(result: SendResult) -> LedgerWorkerError:
    told = getattr(result, "message", str(result))
    if isinstance(result, Permanent):
        return LedgerWorkerError(f"{told}; what came before it was published")
    return PartUnavailableError(f"{told}; run it again to go on")
