"""One database under load, and the workers of several releases that take turns at it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from aiokafka import AIOKafkaProducer

from tests.chaos.conftest import Database
from tests.chaos.releases import Release
from tests.support import SandboxClient, Topics, WorkerProcess, new_account, wait_until
from tests.support.kafka import Sent
from tests.support.workload import BusyDesk, seeded

PACE_S = 0.03
ACCOUNTS_COUNT = 12
COMMANDS_PER_FAULT = 12
LASTS_S = (2, 4)
"""So long lives a temporary adjustment of this load: each release ends some that another has booked."""
FAULTS = ("drop_answer", "error_after", "delay", "rate_limited", "drop_request", "late_apply")
BIT = 20
"""Commands that are finished before a release is believed to work."""
AT_WORK = """
    SELECT DISTINCT application_name FROM pg_stat_activity
    WHERE datname = current_database() AND starts_with(application_name, 'ledger-worker')
"""


@dataclass
class Load:
    """What was sent, and where to."""

    commands: list[dict[str, Any]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)

    def types(self) -> set[str]:
        return {one["type"] for one in self.commands}


@asynccontextmanager
async def under_load(kafka: str, topics: Topics, brokerage: SandboxClient) -> AsyncIterator[Load]:
    """Send commands of all types one after the other until the block ends, with a fault of the brokerage now and then."""
    chance, load, over = seeded(), Load(), threading.Event()
    desks = [BusyDesk(chance, new_account(), LASTS_S) for _ in range(ACCOUNTS_COUNT)]
    faults = cycle(FAULTS)

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True) as producer:
            while not over.is_set():
                command = chance.choice(desks).next_command_at(datetime.now(UTC))  # noqa: TID251
                topic, key = topics.for_type(command["type"]), command["account_no"].encode()
                place = await producer.send_and_wait(topic, json.dumps(command).encode(), key)
                load.commands.append(command)
                load.sent.append(Sent(place.topic, place.partition, place.offset))
                if len(load.commands) % COMMANDS_PER_FAULT == 0:
                    await asyncio.to_thread(brokerage.fault, next(faults), delay_s=0.3)
                await asyncio.sleep(PACE_S)

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(send())
        try:
            yield load
        finally:
            over.set()
            await sending
            await asyncio.to_thread(brokerage.clear_faults)


@dataclass
class Rollout:
    """The workers at a database. Each ends by SIGTERM with 0, or the story ends here."""

    database: Database
    env: Mapping[str, str]
    workers: list[WorkerProcess] = field(default_factory=list)

    def start(self, *releases: Release) -> None:
        """Start a worker of each, and wait until all are ready."""
        begun = [release.start(self.env) for release in releases]
        self.workers += begun
        for worker in begun:
            worker.wait_ready()

    def stop(self, count: int) -> None:
        """Stop so many, those first that have worked longest, one after the other; the rest goes on with the work."""
        for worker in self.workers[:count]:
            status = worker.sigterm()
            assert status == 0, f"ended with {status}{worker.program.last_lines()}"
        del self.workers[:count]
        self.work()

    def work(self) -> None:
        """Wait until commands are finished that were not."""
        enough = self.database.finished() + BIT
        wait_until(lambda: self.database.finished() >= enough, 60, "work goes on")

    def at_work(self) -> set[str]:
        """Return the releases that have connections, by what they call them."""
        return {name for (name,) in self.database.rows(AT_WORK)}

    def close(self) -> None:
        for worker in self.workers:
            worker.sigkill()
