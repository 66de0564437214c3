"""Does Kafka know of something that the database does not? Then the database has forgotten commits.

Two witnesses: offsets of the group beyond ours, for intake commits there only what the database has stored; outcomes
at the end of the topic that the database does not know, for the relay publishes only what is stored. What was forgotten
without having reached Kafka leaves no witness: a call that was sent and not answered yet, a person's hold.
"""

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import ForgottenError
from worker.kafka.past import Past, open_past
from worker.ledger.heard import hear
from worker.ledger.retention import Aged
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.offsets import read_positions
from worker.store.pruning import read_pruned
from worker.store.recalled import known_events, last_published

TAIL = 50
"""Outcomes looked at, at the end of each partition: more than one, for the last may be a repeat of an older one."""


async def refuse_forgotten(engine: AsyncEngine, settings: Settings) -> None:
    """Raise ForgottenError where a witness says that the database has forgotten commits."""
    async with open_past(settings) as past:
        found = await find_witnesses(engine, settings, past)
    if found:
        raise ForgottenError(
            f"the database has forgotten what it knew: {found[0]}"
            f"{f' (and {len(found) - 1} more such)' if len(found) > 1 else ''}; see docs/runbooks/restored-database.md, "
            "then `ledger-worker recover`"
        )


async def find_witnesses(engine: AsyncEngine, settings: Settings, past: Past) -> list[str]:
    """Return one sentence for each partition that knows more than the database; Kafka is read first, for it is behind."""
    committed = {p: at for p, at in (await past.committed()).items() if p[0] in settings.command_topics}
    ends = await past.ends([*settings.command_topics, settings.topic_outcomes])
    async with transaction(engine) as connection:
        published = await last_published(connection)
    last = {
        # at least what lies behind the last that the database knows: outcomes may have been published again after them
        place: [
            h
            for r in await past.read(
                place, max(start, min(end - TAIL, published.get(place[1], (end, None))[0] + 1)), end
            )
            if (h := hear(r)) is not None
        ]
        for place, (start, end) in ends.items()
        if place[0] == settings.topic_outcomes
    }
    async with transaction(engine) as connection:
        stored = await read_positions(connection)
        known = await known_events(connection, [one.event_id for events in last.values() for one in events])
        pruned = (await read_pruned(connection)).get(Aged.OUTCOMES)
    found = []
    for place, at in sorted(committed.items()):
        ours = stored[place].next_offset if place in stored else 0
        # offsets beyond the log's end are those of a topic that was made again
        if ours < at <= ends.get(place, (0, 0))[1]:
            found.append(f"{place[0]}[{place[1]}] was stored up to offset {at}, and the database knows it up to {ours}")
    for place, events in sorted(last.items()):
        # what was recorded before all that was pruned up to is not missing
        later = [one for one in events if pruned is None or one.recorded_at >= pruned.before_at]
        unknown = [one.event_id for one in later if one.event_id not in known]
        if unknown:
            found.append(f"{place[0]}[{place[1]}] holds outcome {unknown[-1]}, which the database does not know")
    return found
