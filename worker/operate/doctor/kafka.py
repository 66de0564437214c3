"""Kafka: the cluster and its topics, and whether what it keeps and what the database knows fit together."""

from dataclasses import replace

from worker.errors import LedgerWorkerError, RightMissingError
from worker.kafka.past import open_past
from worker.kafka.topics import open_topics
from worker.ledger.positions import Position, ReasonKind, TopicPartition
from worker.operate.doctor.check import Check
from worker.operate.witnesses import find_witnesses
from worker.settings import Settings
from worker.store.engine import opened, transaction
from worker.store.offsets import read_positions

LAG_MAX = 10_000
GRANT = "grant the worker's user what docs/security-kafka.md lists"


async def examine_kafka(settings: Settings) -> list[Check]:
    """Look at the brokers, and at the topics as against the manifest."""
    checks: list[Check] = []
    try:
        async with open_topics(settings) as topics:
            brokers, release = await topics.describe_brokers()
            there = f"{settings.kafka_bootstrap_servers}, {brokers} broker{'s' if brokers > 1 else ''}, {release}"
            checks.append(Check("kafka", ok=True, says=there))
            lacking = await topics.missing_rights()
            allowed = "; ".join(lacking) or "Kafka allows this user all that the worker does"
            checks.append(Check("rights", not lacking, allowed, GRANT))
            differing = await topics.verify()
    except RightMissingError as error:
        return [*checks, Check("topics", ok=False, says=str(error), do=GRANT)]
    except LedgerWorkerError as error:
        return [Check("kafka", ok=False, says=str(error), do="start Kafka, or correct LEDGER_KAFKA_*")]
    told = "; ".join(difference.sentence for difference in differing)
    return [
        *checks,
        Check("topics", not differing, told or "as the manifest says", "see `ledger-worker topics plan`"),
    ]


async def examine_fit(settings: Settings) -> list[Check]:
    """Compare stored places with the topics: whether they hold, what is not read yet, what the database has forgotten.

    Says nothing of topics that are missing; that is said already.
    """
    try:
        async with opened(settings.database_url.get_secret_value()) as engine, transaction(engine) as connection:
            stored = await read_positions(connection)
        ours = {p: replace(at, stopped_reason=None) for p, at in stored.items() if p[0] in settings.command_topics}
        async with open_topics(settings) as topics:
            if any(difference.loses for difference in await topics.verify()):
                return []
            reasons = [r for r in (await topics.inspect(ours)).values() if r.kind is not ReasonKind.STOPPED]
        said = "; ".join(reason.sentence for reason in reasons) or "every stored place holds"
        places = Check("places", not reasons, said, "see the runbook, then `ledger-worker topics adopt`")
        return [places, await _lag(settings, ours), await _memory(settings)]
    except RightMissingError as error:
        return [Check("places", ok=False, says=str(error), do=GRANT)]
    except LedgerWorkerError as error:
        return [Check("places", ok=False, says=str(error), do="look again")]


async def _lag(settings: Settings, stored: dict[TopicPartition, Position]) -> Check:
    async with open_past(settings) as past:
        readers, ends = await past.members(), await past.ends(settings.command_topics)
    lags = dict.fromkeys(settings.command_topics, 0)
    for place, (start, end) in ends.items():
        lags[place[0]] += max(0, end - (stored[place].next_offset if place in stored else start))
    total = sum(lags.values())
    return Check(
        "lag",
        not total or (bool(readers) and total <= LAG_MAX),
        f"{', '.join(f'{topic} {lag}' for topic, lag in lags.items())} records not read; {readers} workers read",
        "see that a worker with the role intake runs: its log, /readyz, and the line intake here",
    )


async def _memory(settings: Settings) -> Check:
    """Say whether Kafka knows of commits that the database does not."""
    async with opened(settings.database_url.get_secret_value()) as engine, open_past(settings) as past:
        found = await find_witnesses(engine, settings, past)
    told = "; ".join(found) or "the database knows what Kafka knows of"
    return Check("memory", not found, told, "see docs/runbooks/restored-database.md, then `ledger-worker recover`")
