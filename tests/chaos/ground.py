"""What all crash runs stand on: one Kafka, one Postgres, one brokerage, one zygote; and a place of its own for each run.

A place is a database and a topic prefix. Runs follow one another there, on accounts of their own; the worker that has
recovered from one run dies in the next.
"""

import asyncio
import json
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.group import LeaveGroupRequest

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.programs import Programs
from tests.chaos.forks import Zygote, open_zygote
from tests.support import SandboxClient, wait_until_async
from tests.support.database import Databases
from tests.support.kafka import Sent, Topics, delete_topics
from tests.support.worker import KEYS, clean_env
from worker.kafka.topics import open_topics
from worker.settings import Settings

Json = dict[str, Any]
LEASE_S = 6.0
SWEEP_DELAY_S = 3
SETTINGS = {
    "LEDGER_WHALE_TIMEOUT_S": "2",
    "LEDGER_LANE_LEASE_S": str(LEASE_S),
    "LEDGER_LATE_APPLY_S": "0.5",
    "LEDGER_IN_DOUBT_NOTICE_S": "0.5",
    "LEDGER_WHALE_KEY_LIFE_S": "120",
    "LEDGER_SWEEP_GRACE_S": "4",
    "LEDGER_EXPIRES_AHEAD_MIN_S": "0.5",
    "LEDGER_DRAIN_S": "10",
    "LEDGER_WHALE_RATE_PER_S": "2000",
    "LEDGER_WHALE_IN_FLIGHT_MAX": "16",
    "LEDGER_HTTP_HOST": "127.0.0.1",
    "LEDGER_HTTP_PORT": "0",
    "LEDGER_ACTOR": "tester",
    "LEDGER_LOG_FORMAT": "json",
    **KEYS,
}
"""Doubts, leases and hours that end within seconds; the sandbox's sweep comes between an hour and its grace."""
_BROKERAGE = ("--app-key", "test-key", "--app-secret", "test-secret", "--access-token", "test-token")


@dataclass
class Place:
    """One database and topic prefix, and what was heard of its accounts."""

    env: dict[str, str]
    topics: Topics
    group_id: str
    database: "psycopg.AsyncConnection[tuple[Any, ...]]"
    heard: dict[str, list[Json]] = field(default_factory=lambda: defaultdict(list))
    told_stuck: set[str] = field(default_factory=set)

    @property
    def database_url(self) -> str:
        """Where its rows are."""
        return self.env["LEDGER_DATABASE_URL"]

    async def reconnect(self) -> None:
        """Connect anew after the database was away."""
        self.database = await psycopg.AsyncConnection.connect(self.database_url, autocommit=True)

    async def close(self) -> None:
        """Disconnect."""
        await self.database.close()

    async def scalar(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row."""
        row = await (await self.database.execute(statement, values)).fetchone()
        return None if row is None else row[0]


@dataclass
class Ground:
    """The shared parts, and the clients that the runner has on them."""

    brokerage: SandboxClient
    zygote: Zygote
    producer: AIOKafkaProducer
    admin: AIOKafkaAdminClient
    places: list[Place]

    async def send(self, place: Place, commands: Iterable[Json]) -> list[Sent]:
        """Write commands to their topics, in this sequence, and wait until Kafka has them."""
        waiting = [
            await self.producer.send(
                place.topics.for_type(one["type"]), json.dumps(one).encode(), one["account_no"].encode()
            )
            for one in commands
        ]
        return [Sent(sent.topic, sent.partition, sent.offset) for sent in await asyncio.gather(*waiting)]

    async def bury(self, place: Place) -> None:
        """Tell Kafka that the group's members are dead, which it finds out by itself after their session's ten seconds."""
        node = await wait_until_async(lambda: self._coordinator(place), message="Kafka names the group's coordinator")
        (answer,) = await self.admin.describe_consumer_groups([place.group_id], node)
        for member in answer.groups[0][5]:
            await self.admin._send_request(LeaveGroupRequest(place.group_id, member[0]), node)

    async def _coordinator(self, place: Place) -> int | None:
        try:
            return int(await self.admin.find_coordinator(place.group_id))
        except GroupCoordinatorNotAvailableError:  # the first group of a young broker
            return None


@asynccontextmanager
async def open_ground(
    bootstrap: str, databases: Databases, places_count: int, brokerage_options: Sequence[str] = ()
) -> AsyncIterator[Ground]:
    """Make so many places on a running Kafka and Postgres; all is gone afterwards."""
    async with AsyncExitStack() as stack:
        programs = stack.enter_context(Programs())
        zygote = await stack.enter_async_context(open_zygote(programs))
        brokerage = Brokerage(programs, [*_BROKERAGE, "--sweep-delay-s", str(SWEEP_DELAY_S), *brokerage_options])
        await asyncio.to_thread(brokerage.start)
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        stack.push_async_callback(admin.close)
        producer = await stack.enter_async_context(
            AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
        )
        opening = (_open_place(bootstrap, databases, brokerage.url) for _ in range(places_count))
        places = await asyncio.gather(*map(stack.enter_async_context, opening))
        listening = asyncio.ensure_future(_listen(bootstrap, places))
        try:
            yield Ground(SandboxClient(brokerage.url), zygote, producer, admin, places)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


@asynccontextmanager
async def _open_place(bootstrap: str, databases: Databases, brokerage_url: str) -> AsyncIterator[Place]:
    prefix = f"c{secrets.token_hex(5)}"
    topics = Topics.with_prefix(prefix)
    async with AsyncExitStack() as stack:
        migrated = databases.migrated()
        url = await asyncio.to_thread(migrated.__enter__)
        stack.callback(migrated.__exit__, None, None, None)
        env = clean_env(
            {
                "LEDGER_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
                "LEDGER_KAFKA_GROUP_ID": f"{prefix}.worker",
                "LEDGER_DATABASE_URL": url,
                "LEDGER_WHALE_BASE_URL": brokerage_url,
                **topics.env(),
                **SETTINGS,
            }
        )
        async with open_topics(Settings.from_env(env)) as made:
            await made.apply(drained=False)
        stack.push_async_callback(delete_topics, bootstrap, prefix)
        place = Place(env, topics, f"{prefix}.worker", await psycopg.AsyncConnection.connect(url, autocommit=True))
        stack.push_async_callback(place.close)
        yield place


async def _listen(bootstrap: str, places: list[Place]) -> None:
    """Hear the outcomes of all places, each from its topic's beginning."""
    by_topic = {place.topics.outcomes: place for place in places}
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest") as consumer:
        partitions = []
        for topic in by_topic:
            await consumer._client.force_metadata_update()
            numbers = await consumer._client._wait_on_metadata(topic)
            partitions += [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    outcome = json.loads(record.value)
                    by_topic[tp.topic].heard[outcome["account_no"]].append(outcome)
