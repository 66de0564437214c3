"""Intake on a real Kafka: what is sent is stored once, whatever goes wrong between."""

import asyncio
import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from faststream import AckPolicy

from tests.integration.kafka.conftest import Make, Settings, make_topic
from tests.integration.kafka.store import Store, running, until
from worker.clock import boot_s
from worker.kafka.broker import Intake, Pace
from worker.kafka.headers import RawBatch, RawName
from worker.kafka.positions import Places
from worker.kafka.producer import producer_options
from worker.kafka.tolerant import Slice
from worker.ledger.positions import Position, ReasonKind

QUICK = Pace(poll_wait_ms=100, recheck_s=0.2, back_off_min_s=0.01, back_off_max_s=0.1)


async def send(upstream: AIOKafkaProducer, topic: str, count: int, partition: int | None = None) -> None:
    futures = [
        await upstream.send(topic, b"v%d" % n, b"k%d" % n, partition=partition, headers=[("h", None)])
        for n in range(count)
    ]
    for future in futures:
        await future


async def make_topic_again(admin: AIOKafkaAdminClient, name: str) -> None:
    while True:  # until the deletion is through
        response = await admin.create_topics([NewTopic(name, 2, 1)])
        if for_code(response.topic_errors[0][1]) is not TopicAlreadyExistsError:
            break
    await make_topic(admin, NewTopic(name, 2, 1))


async def test_what_is_sent_is_stored_and_committed(topics: Settings, upstream: AIOKafkaProducer) -> None:
    for name in topics.commands:
        await send(upstream, name, 20)
    store = Store()
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


class Poison(RawBatch):
    """Records with header names that are not UTF-8, compressed as a producer of another language would."""

    def __init__(self, codec: int, values: list[bytes | None]) -> None:
        BatchBuilder.__init__(self, 0, 0)
        self._builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, -1, 0, 1_000_000)
        for value in values:
            self.append(
                timestamp=1, key=None, value=value, headers=[(RawName(b"\xff\xfe"), None), (RawName(b"ok"), b"\xff")]
            )
        self.close()


@pytest.mark.parametrize(("name", "codec"), [(None, 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)])
async def test_each_codec_with_header_names_that_are_not_text_between_good_records(
    topics: Settings, make_producer: Make, name: str | None, codec: int
) -> None:
    upstream = await make_producer(compression_type=name)
    topic = topics.topic_orders
    await send(upstream, topic, 20, partition=0)
    await (await upstream.send_batch(Poison(codec, [b"p" * 500, None, b"p"]), topic, partition=0))
    await send(upstream, topic, 20, partition=0)
    await send(upstream, topic, 20, partition=1)
    store = Store()
    async with running(Intake(topics, store, QUICK)):
        await until(lambda: len(store.records) == 63)
    assert len(set(store.places())) == 63
    odd = [r for r in store.records if r.headers and r.headers[0][0] == b"\xff\xfe"]
    assert [(r.offset, r.key, r.value) for r in odd] == [(20, None, b"p" * 500), (21, None, None), (22, None, b"p")]
    assert odd[0].headers == ((b"\xff\xfe", None), (b"ok", b"\xff"))


async def test_control_records_leave_gaps_and_aborted_records_are_never_stored(
    topics: Settings, make_producer: Make
) -> None:
    upstream = await make_producer(transactional_id=f"tx-{topics.kafka_group_id}")
    store = Store()
    async with running(Intake(topics, store, QUICK)):
        for number in range(4):
            await upstream.begin_transaction()
            await upstream.send_and_wait(topics.topic_orders, b"%d" % number, partition=0)
            await (upstream.abort_transaction() if number % 2 else upstream.commit_transaction())
        await until(lambda: len(store.records) == 2)
    assert store.values() == [b"0", b"2"]
    async with running(again := Intake(topics, store, QUICK)):  # a later start: the next offset has no record
        await upstream.begin_transaction()
        await upstream.send_and_wait(topics.topic_orders, b"last", partition=0)
        await upstream.commit_transaction()
        await until(lambda: len(store.records) == 3)
        assert not again.refusals()


async def test_aborted_records_among_odd_header_names_are_never_stored(topics: Settings, make_producer: Make) -> None:
    plain = await make_producer()
    upstream = await make_producer(transactional_id=f"tx-{topics.kafka_group_id}")
    await upstream.begin_transaction()
    await upstream.send_and_wait(topics.topic_orders, b"aborted", partition=0)
    await upstream.abort_transaction()
    await (await plain.send_batch(Poison(0, [b"odd"]), topics.topic_orders, partition=0))
    store = Store()
    async with running(Intake(topics, store, QUICK)):
        await until(lambda: store.records)
    assert store.values() == [b"odd"]


async def test_a_rebalance_under_load_stores_each_offset_once(topics: Settings, upstream: AIOKafkaProducer) -> None:
    store = Store()
    first, second, third = (Intake(topics, store, QUICK) for _ in range(3))
    async with running(first):
        await send(upstream, topics.topic_orders, 300)
        async with running(second):
            for name in topics.commands:
                await send(upstream, name, 300)
            async with running(third):
                await send(upstream, topics.topic_freezes, 300)
        await send(upstream, topics.topic_adjustments, 300)
        await until(lambda: len(store.records) == 1800)
    assert len(set(store.places())) == len(store.records) == 1800


async def test_another_intake_that_moved_the_row_is_followed(topics: Settings, upstream: AIOKafkaProducer) -> None:
    """Two groups are two intakes that both believe to own every partition: a zombie and its successor."""
    store = Store()
    zombie = replace(topics, kafka_group_id=f"{topics.kafka_group_id}-zombie")
    rare = replace(QUICK, recheck_s=60.0)  # only the compare-and-set can tell them
    one, other = Intake(topics, store, rare), Intake(zombie, store, rare)
    async with running(one, other):
        await until(lambda: one.lags() and other.lags())
        sent, give_up_at = 0, time.monotonic() + 60
        while sent < 600 or (not store.lost_places and time.monotonic() < give_up_at):  # until both have read one batch
            await send(upstream, topics.topic_orders, 30)
            sent += 30
        await until(lambda: len(store.records) >= sent)
    assert len(set(store.places())) == len(store.records) == sent
    assert store.lost_places


async def test_a_topic_that_was_made_again_is_refused_until_adopted_and_others_go_on(
    topics: Settings, upstream: AIOKafkaProducer, admin: AIOKafkaAdminClient
) -> None:
    store, remade = Store(), topics.topic_orders
    await send(upstream, remade, 10, partition=0)
    async with running(Intake(topics, store, QUICK)):
        await until(lambda: len(store.records) == 10)
    await admin.delete_topics([remade])
    await make_topic_again(admin, remade)
    for number in range(15):
        await upstream.send_and_wait(remade, b"other%d" % number, partition=0)
    async with running(intake := Intake(topics, store, QUICK)):
        await until(lambda: (remade, 0) in intake.refusals())
        assert intake.refusals()[remade, 0].kind is ReasonKind.NOT_THE_SAME_TOPIC
        await send(upstream, topics.topic_freezes, 5)
        await until(lambda: len(store.records) == 15)
        store.rows[remade, 0] = Position(0, epoch=1)  # adopt, while it runs
        await until(lambda: len(store.records) == 30)
        assert not intake.refusals()


async def test_a_topic_made_again_while_it_is_read_is_refused(
    topics: Settings, upstream: AIOKafkaProducer, admin: AIOKafkaAdminClient
) -> None:
    store, remade = Store(), topics.topic_orders
    await send(upstream, remade, 10, partition=0)
    async with running(intake := Intake(topics, store, QUICK)):
        await until(lambda: len(store.records) == 10)
        await admin.delete_topics([remade])
        await make_topic_again(admin, remade)
        new_offset = 10
        while new_offset >= 10:  # the broker still takes records for the topic that was deleted
            new_offset = (await upstream.send_and_wait(remade, b"last", partition=0)).offset
        await upstream.send_and_wait(remade, b"other", partition=0)
        await until(lambda: (remade, 0) in intake.refusals(), 60)
        await send(upstream, topics.topic_freezes, 5)
        await until(lambda: any(place[0] == topics.topic_freezes for place in store.places()))
    assert b"other" not in store.values()


async def test_a_range_that_was_removed_unread_is_refused_by_name(
    topics: Settings, upstream: AIOKafkaProducer, admin: AIOKafkaAdminClient
) -> None:
    store, topic = Store(), topics.topic_orders
    await send(upstream, topic, 10, partition=0)
    async with running(Intake(topics, store, QUICK)):
        await until(lambda: len(store.records) == 10)
    await send(upstream, topic, 10, partition=0)
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(15)})
    async with running(intake := Intake(topics, store, QUICK)):
        await until(lambda: (topic, 0) in intake.refusals())
        reason = intake.refusals()[topic, 0]
    assert reason.kind is ReasonKind.RANGE_LOST
    assert "10 to 14" in reason.sentence
    assert len(store.records) == 10


async def test_a_log_that_begins_later_is_read_from_its_beginning_when_never_read(
    topics: Settings, upstream: AIOKafkaProducer, admin: AIOKafkaAdminClient
) -> None:
    await send(upstream, topics.topic_orders, 10, partition=0)
    await admin.delete_records({TopicPartition(topics.topic_orders, 0): RecordsToDelete(4)})
    store = Store()
    async with running(Intake(topics, store, QUICK)):
        await until(lambda: len(store.records) == 6)
    assert store.places()[0][2] == 4


async def test_a_stopped_partition_waits_for_resume_and_others_go_on(
    topics: Settings, upstream: AIOKafkaProducer
) -> None:
    store, key = Store(), (topics.topic_orders, 0)
    store.rows[key] = Position(0, stopped_reason="1,000 refusals in a row")
    async with running(intake := Intake(topics, store, QUICK)):
        await send(upstream, topics.topic_orders, 5, partition=0)
        await send(upstream, topics.topic_orders, 5, partition=1)
        await until(lambda: len(store.records) == 5)
        assert intake.refusals()[key].kind is ReasonKind.STOPPED
        store.rows[key] = Position(0)
        await until(lambda: len(store.records) == 10)


async def test_what_was_stored_of_each_partition_is_looked_at_together_and_before_one_is_read(
    topics: Settings, upstream: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each look but the first would wait behind the client's fetch of what is placed already."""
    store = Store()
    for partition in (0, 1):
        await send(upstream, topics.topic_orders, 5, partition)
    async with running(Intake(topics, store, QUICK)):
        await until(lambda: len(store.records) == 10)
    both, look, placed = asyncio.Barrier(2), Places.look, list[TopicPartition]()

    async def look_together(self: Places, tp: TopicPartition, offset: int) -> Slice:
        await both.wait()
        seen = await look(self, tp, offset)
        placed.extend(self.placed)
        return seen

    monkeypatch.setattr(Places, "look", look_together)
    async with running(Intake(topics, store, QUICK)):
        await send(upstream, topics.topic_orders, 5, 0)
        await until(lambda: len(store.records) == 15)
    assert placed == [], "the topics without a record, too, wait until all are seen"


async def test_a_fetch_that_died_silently_is_noticed(topics: Settings, upstream: AIOKafkaProducer) -> None:
    store = Store()
    async with running(intake := Intake(topics, store, replace(QUICK, stall_s=1.0))):
        await send(upstream, topics.topic_orders, 5)
        await until(lambda: len(store.records) == 5)
        dead = intake._session
        dead.subscriber.consumer._fetcher._fetch_task.cancel()
        for _ in range(2):  # the first may still come with the fetch that was under way
            await send(upstream, topics.topic_orders, 5, partition=0)
        await until(lambda: len(store.records) == 15)
        assert intake._session is not dead


async def test_while_too_much_waits_nothing_is_read_and_nobody_takes_it_for_a_fetch_that_died(
    topics: Settings, upstream: AIOKafkaProducer
) -> None:
    store, full = Store(), False
    pace = replace(QUICK, stall_s=0.3)
    async with running(intake := Intake(topics, store, pace, is_full=lambda: full)):
        await send(upstream, topics.topic_orders, 5)
        await until(lambda: len(store.records) == 5)
        full = True
        await until(lambda: intake.full)
        session = intake._session
        await send(upstream, topics.topic_orders, 5)
        await until(lambda: sum(intake.lags().values()) == 5)
        since_s = boot_s()
        await until(lambda: boot_s() - since_s > 4 * pace.stall_s)
        assert (len(store.records), intake._session) == (5, session)
        full = False
        await until(lambda: len(store.records) == 10)
        assert not intake.full
        assert intake._session is session


async def test_every_unsafe_default_is_set(topics: Settings) -> None:
    async with running(intake := Intake(topics, Store(), QUICK)):
        await until(lambda: intake.connected and intake._session.places)
        subscriber = intake._session.subscriber
        consumer = subscriber.consumer
        assert consumer._enable_auto_commit is False
        assert consumer._auto_offset_reset == "none"
        assert consumer._isolation_level == "read_committed"
        assert consumer._check_crcs is True
        assert consumer._max_poll_interval_ms > 1000 * QUICK.accept_deadline_s
        assert consumer._client._topics == set(topics.commands)
        broker = intake._session.broker
        assert broker.config.broker_config.allow_auto_create_topics is False
        assert broker.config.broker_config.consumer_only is True
        assert broker.config.fd_config.use_fastdepends is False
        assert subscriber.ack_policy is AckPolicy.MANUAL
        assert type(subscriber).__name__ == "BatchSubscriber"
        assert len(broker.subscribers) == 1


def test_the_producer_sets_every_unsafe_default(settings: Settings) -> None:
    options = producer_options(settings)
    assert options["acks"] == "all"
    assert options["enable_idempotence"] is True
    assert "transactional_id" not in options
    assert options["max_request_size"] > 1_048_576 + 65_536


async def test_a_refused_partition_that_the_group_never_committed_slows_no_other(
    topics: Settings, upstream: AIOKafkaProducer
) -> None:
    store = Store()
    store.rows[topics.topic_orders, 0] = Position(5, 4, b"")  # beyond the log's end
    slow = replace(QUICK, back_off_min_s=20.0, back_off_max_s=20.0)  # one poll that raises would be seen
    async with running(intake := Intake(topics, store, slow)):
        await until(intake.refusals)
        for _ in range(10):
            await send(upstream, topics.topic_freezes, 1)
            count = len(store.records)
            await until(lambda count=count: len(store.records) > count, 5)
