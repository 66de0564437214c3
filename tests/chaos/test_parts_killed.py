"""Kafka or Postgres is killed with -9 and started again while commands flow; the worker stays and recovers by itself."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from tests.chaos.conftest import CHAOS, Database, assert_clean, hear
from tests.support import SandboxClient, Topics, WorkerProcess, wait_until_async
from tests.support.kafka import Sent
from tests.support.worker import clean_env, run_worker_cli
from tests.support.workload import keyed_workload, seeded

Start = Callable[..., WorkerProcess]
COMMANDS_COUNT = 500
PIECE = 25
CPU_PART_MAX = 0.5
"""Of one core; a worker that waits for a part uses a few hundredths."""
OUTAGE_MIN_S = 4


@pytest.fixture
def own_broker(own_kafka: Callable[[], Kafka]) -> Kafka:
    return own_kafka()


@pytest.fixture
def own_server(own_postgres: Callable[[], Postgres]) -> Postgres:
    return own_postgres()


@pytest.fixture
def brokerage(start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
    return SandboxClient(start_brokerage("--latency-ms", "20", "--latency-jitter-ms", "20").url)


class TestKafka:
    @pytest.fixture
    def kafka(self, own_broker: Kafka) -> str:
        return own_broker.bootstrap

    async def test_nothing_is_lost_or_doubled_when_kafka_is_killed_under_load(
        self,
        own_broker: Kafka,
        applied_topics: Topics,
        brokerage: SandboxClient,
        database: Database,
        start_worker: Start,
    ) -> None:
        worker = start_worker(settings=CHAOS)
        commands = keyed_workload(seeded(), 50, COMMANDS_COUNT)
        async with produced_slowly(own_broker.bootstrap, applied_topics, commands, brokerage) as sent:
            await wait_until_async(lambda: database.finished() > 50)
            await outage(worker, own_broker, "Kafka")
        told = await hear(own_broker.bootstrap, applied_topics, brokerage, commands, sent)
        assert_clean(told)


class TestPostgres:
    @pytest.fixture
    def database_url(self, own_server: Postgres) -> str:
        done = run_worker_cli("migrate", env=clean_env({"LEDGER_DATABASE_URL": own_server.url}))
        assert done.returncode == 0, done.stderr
        return own_server.url

    async def test_nothing_is_lost_or_doubled_when_postgres_is_killed_under_load(
        self,
        kafka: str,
        own_server: Postgres,
        applied_topics: Topics,
        brokerage: SandboxClient,
        database: Database,
        start_worker: Start,
    ) -> None:
        worker = start_worker(settings=CHAOS)
        commands = keyed_workload(seeded(), 50, COMMANDS_COUNT)
        async with produced_slowly(kafka, applied_topics, commands, brokerage) as sent:
            await wait_until_async(lambda: database.finished() > 50)
            await outage(worker, own_server, "Postgres")
        told = await hear(kafka, applied_topics, brokerage, commands, sent)
        assert_clean(told)


@asynccontextmanager
async def produced_slowly(
    bootstrap: str, topics: Topics, commands: Sequence[dict[str, Any]], brokerage: SandboxClient
) -> AsyncIterator[list[Sent]]:
    """Produce in pieces beside the block, each when the one before it is half done; all are out when the block has ended."""
    sent: list[Sent] = []
    hurry = asyncio.Event()

    async def produce_pieces(producer: AIOKafkaProducer) -> None:
        for start in range(0, len(commands), PIECE):
            done = start - PIECE // 2
            await wait_until_async(lambda: hurry.is_set() or len(brokerage.effects()) >= done, 90)  # noqa: B023
            for one in commands[start : start + PIECE]:
                topic, key = topics.for_type(one["type"]), one["account_no"].encode()
                place = await producer.send_and_wait(topic, json.dumps(one).encode(), key)
                sent.append(Sent(place.topic, place.partition, place.offset))

    # one producer all the time: it waits for a Kafka that is away, and begins nothing anew
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    async with producer, asyncio.TaskGroup() as group:
        group.create_task(produce_pieces(producer))
        yield sent
        hurry.set()


async def outage(worker: WorkerProcess, part: Kafka | Postgres, name: str) -> None:
    """Kill a part, see the worker say so without spinning, start the part again, see the worker recover: the same process."""
    pid = worker.program.pid
    part.kill()
    began_s, cpu_s = time.monotonic(), cpu_used_s(pid)
    await wait_until_async(lambda: worker.get("/readyz")[0] == 503, message="/readyz answers 503")
    await wait_until_async(lambda: time.monotonic() - began_s > OUTAGE_MIN_S)
    status, body = worker.get("/readyz")
    assert status == 503
    assert name in json.dumps(json.loads(body)), "the reason names the part"
    assert worker.get("/livez")[0] == 200, "a part that is away is no reason to kill the worker"
    used_s, lasted_s = cpu_used_s(pid) - cpu_s, time.monotonic() - began_s
    assert used_s < lasted_s * CPU_PART_MAX, f"it spins: {used_s:.1f} s of CPU in {lasted_s:.1f} s"
    await asyncio.to_thread(part.start)
    await wait_until_async(worker.is_ready, 60, lambda: f"/readyz answers 200: {worker.get('/readyz')}")
    assert (worker.program.is_running(), worker.program.pid) == (True, pid)


def cpu_used_s(pid: int) -> float:
    """Return the processor time that a process has used, from Linux's /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
