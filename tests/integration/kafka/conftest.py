"""A real Kafka, topics of a test's own, and the door's settings for them."""

import os
from asyncio import sleep, timeout
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import count

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

_numbers = count()


@dataclass(frozen=True)
class Settings:
    kafka_bootstrap_servers: str
    kafka_group_id: str
    topic_adjustments: str
    topic_freezes: str
    topic_orders: str
    topic_outcomes: str
    topic_dead_letters: str
    topic_audit: str
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: None = None
    kafka_sasl_username: None = None
    kafka_sasl_password: None = None
    kafka_ssl_cafile: None = None
    kafka_ssl_certfile: None = None
    kafka_ssl_keyfile: None = None

    @property
    def commands(self) -> tuple[str, str, str]:
        return self.topic_adjustments, self.topic_freezes, self.topic_orders


@pytest.fixture
def bootstrap(kafka: str) -> str:
    return kafka


@pytest.fixture
def settings(bootstrap: str) -> Settings:
    """Names that no other test and no other run uses."""
    mark = f"{os.getpid()}-{next(_numbers)}"
    names = ("adjustments", "freezes", "orders", "outcomes", "dead-letters", "audit")
    return Settings(bootstrap, f"group-{mark}", *(f"{name}-{mark}" for name in names))


@pytest.fixture
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    yield client
    await client.close()


@pytest.fixture
async def topics(settings: Settings, admin: AIOKafkaAdminClient) -> Settings:
    """The three command topics, two partitions each."""
    for name in settings.commands:
        await make_topic(admin, NewTopic(name, 2, 1))
    return settings


Make = Callable[..., Awaitable[AIOKafkaProducer]]


@pytest.fixture
async def make_producer(bootstrap: str) -> AsyncIterator[Make]:
    """Upstream's producers."""
    made: list[AIOKafkaProducer] = []

    async def make(**options: object) -> AIOKafkaProducer:
        client = AIOKafkaProducer(bootstrap_servers=bootstrap, **options)
        made.append(client)
        await client.start()
        return client

    yield make
    for client in made:
        await client.stop()


@pytest.fixture
async def upstream(make_producer: Make) -> AIOKafkaProducer:
    return await make_producer()


async def make_topic(admin: AIOKafkaAdminClient, topic: NewTopic) -> None:
    """Create it and wait until the broker shows it: it answers before it has heard of it."""
    await admin.create_topics([topic])
    async with timeout(20):
        while (await admin.describe_topics([topic.name]))[0]["error_code"]:  # noqa: ASYNC110
            await sleep(0.01)
