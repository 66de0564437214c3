"""Several workers, killed at random."""

from collections import Counter
from collections.abc import Callable

import pytest

from sandbox.parts.brokerage import Brokerage
from tests.chaos.conftest import CHAOS, Database, assert_clean, gate, hear
from tests.support import SandboxClient, Topics, WorkerProcess, produce_commands, wait_until
from tests.support.measure import UNDECIDED
from tests.support.workload import keyed_workload, seeded

COMMANDS_COUNT = 2000
ACCOUNTS_COUNT = 100
WORKERS_COUNT = 3


@pytest.fixture
def brokerage(start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
    return SandboxClient(start_brokerage("--latency-ms", "80", "--latency-jitter-ms", "80").url)


async def test_nothing_is_lost_doubled_or_misordered_while_workers_are_killed(
    kafka: str,
    applied_topics: Topics,
    brokerage: SandboxClient,
    database: Database,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    chance = seeded()
    commands = keyed_workload(chance, ACCOUNTS_COUNT, COMMANDS_COUNT)
    workers = [start_worker(settings=CHAOS, wait=False) for _ in range(WORKERS_COUNT)]
    for worker in workers:
        worker.wait_ready()
    sent = await produce_commands(kafka, applied_topics, commands)
    kills_count, mark = 0, chance.randint(50, 250)
    while mark < COMMANDS_COUNT * 9 // 10:
        wait_until(lambda: database.finished() >= mark, 60, lambda: f"{database.finished()} of {mark} finished")  # noqa: B023
        victim = chance.randrange(WORKERS_COUNT)
        kills_count += database.finished() < COMMANDS_COUNT
        workers[victim].sigkill()
        workers[victim] = start_worker(settings=CHAOS, wait=False)
        mark += chance.randint(250, 400)
    told = await hear(kafka, applied_topics, brokerage, commands, sent)
    assert_clean(told)
    types = Counter(one["type"] for one in told.outcomes)
    print(f"{kills_count} kills, {len(told.calls)} calls, {len(told.effects)} effects, outcomes: {dict(types)}")  # noqa: T201
    assert kills_count >= 4
    assert types["command.rejected"] + types[UNDECIDED] < COMMANDS_COUNT // 10, "the brokerage refuses nothing of this"


async def test_a_record_is_read_again_when_its_worker_is_killed_before_it_was_stored(
    kafka: str,
    applied_topics: Topics,
    brokerage: SandboxClient,
    database: Database,
    start_worker: Callable[..., WorkerProcess],
) -> None:
    victim = start_worker(settings=CHAOS)
    commands = keyed_workload(seeded(), 5, 20)
    with gate(database, "commands", at_commit=False) as waiting:
        sent = await produce_commands(kafka, applied_topics, commands)
        wait_until(waiting)
        victim.sigkill()
    start_worker(settings=CHAOS)
    told = await hear(kafka, applied_topics, brokerage, commands, sent)
    assert_clean(told)
