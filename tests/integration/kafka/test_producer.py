"""The relay's producer on a real Kafka."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner

from tests.integration.kafka.conftest import Settings
from worker.kafka.producer import Message, Permanent, Producer, Sent, Unavailable
from worker.kafka.topics import open_topics
from worker.ledger.records import RawRecord


@pytest.fixture
async def producer(settings: Settings) -> AsyncIterator[Producer]:
    made = Producer(settings, deadline_s=10)
    yield made
    await made.close()


async def read_back(settings: Settings, topic: str, sent: Sent) -> RawRecord:
    async with open_topics(settings) as topics:
        record = await topics.read_one((topic, sent.partition), sent.offset)
    assert record is not None
    return record


async def test_each_message_goes_where_its_own_key_says(topics: Settings, producer: Producer) -> None:
    keys = [b"H%d" % n for n in range(30)]
    results = await producer.send([Message(topics.topic_orders, key, b"{}") for key in keys])
    wanted = [DefaultPartitioner()(key, [0, 1], [0, 1]) for key in keys]
    assert [r.partition for r in results if isinstance(r, Sent)] == wanted
    assert set(wanted) == {0, 1}


async def test_each_of_many_is_told_its_own_place_and_a_keys_are_in_their_sequence(
    topics: Settings, producer: Producer
) -> None:
    """More than one batch of a partition takes, some with a header name that is no text, to two topics by turns."""
    names = topics.topic_orders, topics.topic_adjustments
    sent = [
        Message(names[n % 2], b"H%d" % (n % 7), b"%d " % n + b"x" * 4_000, ((b"\xff" if n % 50 == 0 else "n", b""),))
        for n in range(400)
    ]
    results = await producer.send(sent)
    places = [(m.topic, r.partition, r.offset) for m, r in zip(sent, results, strict=True) if isinstance(r, Sent)]
    assert len(set(places)) == len(sent)
    async with open_topics(topics) as reader:
        for message, (topic, partition, offset) in zip(sent, places, strict=True):
            record = await reader.read_one((topic, partition), offset)
            assert record is not None
            assert (record.key, record.value) == (message.key, message.value)
    by_key: dict[tuple[str, bytes | None], list[int]] = defaultdict(list)
    for message, (topic, _, offset) in zip(sent, places, strict=True):
        by_key[topic, message.key].append(offset)
    assert all(offsets == sorted(offsets) for offsets in by_key.values())


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k", b"v", ((b"\xff\xfe", b"\x00"), ("ok", b"1"), (b"null", None))),
        (None, b"v", ((b"\xc3", b""),)),
        (b"k", None, ((b"\xff", b"1"),)),
        (None, None, ()),
        (None, None, ((b"\x80", None),)),
        (b"k", b"", (("plain", b"\xff"),)),
    ],
)
async def test_a_dead_letter_keeps_key_value_and_header_bytes(
    topics: Settings,
    producer: Producer,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str | bytes, bytes | None], ...],
) -> None:
    (sent,) = await producer.send([Message(topics.topic_orders, key, value, headers, 1_700_000_000_123)])
    assert isinstance(sent, Sent), sent
    record = await read_back(topics, topics.topic_orders, sent)
    assert (record.key, record.value, record.timestamp_ms) == (key, value, 1_700_000_000_123)
    assert record.headers == tuple((n.encode() if isinstance(n, str) else n, v) for n, v in headers)


async def test_one_message_too_large_is_permanent_and_the_others_arrive(
    topics: Settings, admin: AIOKafkaAdminClient, producer: Producer
) -> None:
    small = f"{topics.topic_orders}-small"
    await admin.create_topics([NewTopic(small, 1, 1, topic_configs={"max.message.bytes": "10000"})])
    large = b"x" * 2_000_000
    results = await producer.send(
        [
            Message(topics.topic_orders, b"a", b"1"),
            Message(topics.topic_orders, b"a", large),
            Message(small, b"a", b"x" * 50_000),
            Message(topics.topic_orders, b"a", large, ((b"\xff", b""),)),
            Message(topics.topic_orders, b"a", b"2"),
        ]
    )
    assert [type(r) for r in results] == [Sent, Permanent, Permanent, Permanent, Sent]


async def test_a_kafka_that_is_away_is_told_within_the_deadline(settings: Settings) -> None:
    producer = Producer(replace(settings, kafka_bootstrap_servers="127.0.0.1:9"), deadline_s=1)
    (result,) = await producer.send([Message("any", b"k", b"v")])
    assert isinstance(result, Unavailable)
    assert "127.0.0.1:9" in result.message


async def test_a_missing_topic_is_told_within_the_deadline_and_the_next_call_works(topics: Settings) -> None:
    producer = Producer(topics, deadline_s=2)
    (result,) = await producer.send([Message("no-such-topic", b"k", b"v")])
    assert isinstance(result, Unavailable)
    (result,) = await producer.send([Message(topics.topic_orders, b"k", b"v")])
    assert isinstance(result, Sent)
    await producer.close()
