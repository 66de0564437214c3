"""A Kafka that is killed and comes back under a running intake and producer."""

from asyncio import to_thread
from collections.abc import Callable
from dataclasses import replace

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from sandbox.parts.kafka import Kafka
from tests.integration.kafka.conftest import Settings, make_topic
from tests.integration.kafka.store import Store, running, until
from worker.kafka.broker import Intake, Pace
from worker.kafka.producer import Message, Producer, Sent, Unavailable

QUICK = Pace(poll_wait_ms=100, recheck_s=0.2, back_off_min_s=0.01, back_off_max_s=0.1)


async def test_a_killed_kafka_is_noticed_and_reading_and_writing_go_on_when_it_is_back(
    settings: Settings, own_kafka: Callable[[], Kafka]
) -> None:
    broker = await to_thread(own_kafka)
    mine = replace(settings, kafka_bootstrap_servers=broker.bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    for name in mine.commands:
        await make_topic(admin, NewTopic(name, 2, 1))
    await admin.close()
    store, producer = Store(), Producer(mine, deadline_s=5)
    messages = [Message(mine.topic_orders, b"k%d" % n, b"v") for n in range(50)]
    async with running(intake := Intake(mine, store, QUICK)):
        first = await producer.send(messages)
        await until(lambda: len(store.records) == 50)
        await to_thread(broker.kill)
        during = await producer.send(messages)
        await until(lambda: not intake.connected)
        await to_thread(broker.start)
        await until(lambda: intake.connected, 60)
        after = await producer.send(messages)
        await until(lambda: len(store.records) >= 100, 60)
    await producer.close()
    assert {type(r) for r in first} == {type(r) for r in after} == {Sent}
    assert {type(r) for r in during} == {Unavailable}
    assert len(set(store.places())) == len(store.records)
