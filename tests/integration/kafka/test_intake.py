"""Intake on a real Kafka: what is sent is stored once, whatever goes wrong between."""

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from tests.integration.kafka.conftest import Make, Settings
from tests.integration.kafka.store import Store, running, until
from worker.kafka.broker import Intake, Pace

QUICK = Pace(poll_wait_ms=100, recheck_s=0.2, back_off_min_s=0.01, back_off_max_s=0.1)


async def send(upstream: AIOKafkaProducer, topic: str, count: int, partition: int | None = None) -> None:
    futures = [
        await upstream.send(topic, b"v%d" % n, b"k%d" % n, partition=partition, headers=[("h", None)]) for n in range(count)
    ]
    for future in futures:
        await future


async def test_what_is_sent_is_stored_and_committed(topics: Settings, upstream: AIOKafkaProducer) -> None:
    for name in topics.commands:
        await send(upstream, name, 20)
    store, intake = Store(), None
    intake = Intake(topics, store, QUICK)
    async with running(intake):
        await until(lambda: len(store.records) == 60)
        assert intake.connected
    assert len(set(store.places())) == 60
    assert store.records[0].headers == ((b"h", None),)


async def test_a_store_that_is_away_loses_nothing(topics: Settings, upstream: AIOKafkaProducer) -> None:
    store = Store()
    store.refuse_next = 5
    async with running(Intake(topics, store, QUICK)):
        await send(upstream, topics.topic_orders, 30)
        await until(lambda: len(store.records) == 30)
    assert len(set(store.places())) == 30


async def test_an_answer_lost_after_the_commit_stores_nothing_twice(
    topics: Settings, upstream: AIOKafkaProducer
) -> None:
    await send(upstream, topics.topic_orders, 30)
    store = Store()
    store.crash_next = 1
    async with running(Intake(topics, store, QUICK)):
        await until(lambda: len(store.records) >= 30)
        await send(upstream, topics.topic_orders, 10)
        await until(lambda: len(store.records) >= 40)
    assert len(set(store.places())) == len(store.records) == 40
