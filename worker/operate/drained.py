"""`topics apply --drained`: partitions are added where somebody says that nothing is under way any more."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from worker import clock
from worker.kafka.topics import Difference, Step, open_topics
from worker.settings import Settings
from worker.store.adoptions import read_now
from worker.store.audit import Action, note
from worker.store.engine import transaction
from worker.store.facts import Facts


async def apply_drained(
    engine: AsyncEngine, settings: Settings, actor: str, reason: str
) -> tuple[Sequence[Difference], Sequence[Difference]]:
    """Mend what can be mended, partitions included; returns what was, and what is left.

    The audit is committed before Kafka is asked, for the two cannot be one: a change that Kafka then refuses stands in it
    as one that was tried, and none is made that is not in it. Nothing to mend, nothing in the audit.
    """
    async with open_topics(settings) as topics:
        planned = [one for one in await topics.plan() if one.step is not Step.NONE]
        if planned:
            await _note(engine, planned, actor, reason)
        return await topics.apply(drained=True), await topics.plan()


async def _note(engine: AsyncEngine, planned: Sequence[Difference], actor: str, reason: str) -> None:
    before = {f"{one.topic.name}: {one.what}": one.found for one in planned}
    after = {f"{one.topic.name}: {one.what}": one.wanted for one in planned}
    facts = Facts()
    async with transaction(engine) as connection:
        action = Action(actor, "topics.apply", reason, "topics", before, after)
        note(facts, clock.new_id(), action, await read_now(connection))
        await facts.write(connection)
