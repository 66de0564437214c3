"""Engines in processes of their own: they meet only in Postgres."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.parts.brokerage import Brokerage
from tests.chaos.conftest import CHAOS, Database, assert_clean, hear
from tests.support import (
    SandboxClient,
    Topics,
    WorkerProcess,
    new_account,
    new_command,
    produce_commands,
    wait_until,
)
from tests.support.measure import EXPIRED
from tests.support.workload import keyed_workload, seeded

Start = Callable[..., WorkerProcess]
PUBLISHED = "SELECT count(*) FROM publications"


@pytest.fixture
def brokerage(start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
    return SandboxClient(start_brokerage("--latency-ms", "15", "--latency-jitter-ms", "15").url)


def start_all(start_worker: Start, *roles: str, settings: dict[str, str] = CHAOS) -> list[WorkerProcess]:
    workers = [start_worker("--role", role, settings=settings, wait=False) for role in roles]
    return [worker.wait_ready() for worker in workers]


async def test_each_account_s_outcomes_are_first_seen_in_sequence_with_several_relays_one_killed_one_frozen(
    kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
) -> None:
    start_all(start_worker, "intake,lanes,timers")
    relays = start_all(start_worker, "relay", "relay", "relay")
    commands = keyed_workload(seeded(), 40, 600)
    sent = await produce_commands(kafka, applied_topics, commands)
    wait_until(lambda: database.scalar(PUBLISHED) > 100)
    owners = "SELECT count(DISTINCT owner) FROM relay_shards"
    assert database.scalar(owners) == 3, "the relays share the outbox"
    relays[0].sigkill()
    relays[1].sigstop()
    wait_until(lambda: database.scalar(owners) == 1, 45, "the last relay takes what the others held")
    relays[1].sigcont()
    told = await hear(kafka, applied_topics, brokerage, commands, sent)
    assert_clean(told)


async def test_four_processes_of_one_role_each_do_the_whole_work(
    kafka: str, applied_topics: Topics, brokerage: SandboxClient, start_worker: Start
) -> None:
    quick = {**CHAOS, "LEDGER_EXPIRES_AHEAD_MIN_S": "0.5"}
    workers = start_all(start_worker, "intake", "lanes", "timers", "relay", settings=quick)
    hour = (datetime.now(UTC) + timedelta(seconds=4)).replace(microsecond=0)  # noqa: TID251
    adjusting = new_command("temp.adjust", new_account(), {"expires_at": hour.isoformat()})
    commands = [*keyed_workload(seeded(), 10, 60), adjusting]
    for worker in workers:
        assert worker.program.is_running()
    sent = await produce_commands(kafka, applied_topics, commands)
    told = await hear(
        kafka, applied_topics, brokerage, commands, sent, until=lambda seen: any(one["type"] == EXPIRED for one in seen)
    )
    assert_clean(told)
    assert [worker.sigterm() for worker in workers] == [0, 0, 0, 0]
