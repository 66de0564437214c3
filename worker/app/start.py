"""What must hold before a worker starts; each refusal is one sentence that says what to do."""

import asyncio
from collections.abc import Mapping
from importlib import import_module

from worker.errors import RevisionError, RightMissingError, SettingsError, TopicsError
from worker.kafka.topics import open_topics
from worker.ledger.positions import Position, ReasonKind, TopicPartition
from worker.operate.witnesses import refuse_forgotten
from worker.settings import Settings
from worker.store.engine import opened, transaction
from worker.store.offsets import read_positions
from worker.store.revision import look


async def check_start(settings: Settings) -> None:
    """Look at the database's revision, the topics and the stored positions.

    Raises SettingsError where a setting asks for packages that are not installed, PartUnavailableError when Postgres or Kafka does not answer, RightMissingError naming all that Kafka does not
    allow us, RevisionError or TopicsError when what is there
    would lose order or data, ForgottenError when Kafka knows of commits that the database does not.
    """
    _check_packages(settings)
    url = settings.database_url.get_secret_value()
    misfit = (await asyncio.to_thread(look, url)).misfit()
    if misfit is not None:
        raise RevisionError(misfit)
    async with opened(url) as engine:
        async with transaction(engine) as connection:
            positions = await read_positions(connection)
        await _check_topics(settings, positions)
        await refuse_forgotten(engine, settings)


def _check_packages(settings: Settings) -> None:
    if settings.traces:
        try:
            import_module("worker.observe.traces")
        except ImportError as error:
            raise SettingsError(
                f"LEDGER_TRACES is true, but OpenTelemetry is not installed ({error}): install ledger-worker[traces], or unset it"
            ) from error


async def _check_topics(settings: Settings, positions: Mapping[TopicPartition, Position]) -> None:
    async with open_topics(settings) as topics:
        lacking = await topics.missing_rights()
        if lacking:
            raise RightMissingError("; ".join(lacking))
        losing = [difference for difference in await topics.verify() if difference.loses]
        if losing:
            told = "; ".join(difference.sentence for difference in losing)
            raise TopicsError(f"{told}; run `ledger-worker topics plan`")
        refused = (await topics.inspect(positions)).values()
        lost = [reason.sentence for reason in refused if reason.kind is not ReasonKind.STOPPED]
        if lost:
            raise TopicsError("; ".join(lost))
