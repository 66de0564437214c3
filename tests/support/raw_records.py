"""Records down to the bytes of their header names, which aiokafka's own clients take and give as text only."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient

from tests.support.kafka import Sent
from worker.kafka.headers import RawBatch
from worker.kafka.tolerant import read_slice
from worker.ledger.records import Headers, RawRecord

_FETCH_BYTES = 8_000_000


@dataclass(frozen=True)
class Raw:
    """One record to write."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def write_raw(bootstrap: str, records: Iterable[Raw]) -> list[Sent]:
    """Write records one after the other, each acknowledged before the next."""
    return asyncio.run(_write(bootstrap, records))


async def _write(bootstrap: str, records: Iterable[Raw]) -> list[Sent]:
    sent = []
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for one in records:
            batch = RawBatch(one.key, one.value, int(time.time() * 1000), one.headers)  # noqa: TID251
            done = await (await producer.send_batch(batch, one.topic, partition=one.partition))
            sent.append(Sent(done.topic, done.partition, done.offset))
    return sent


def read_raw(bootstrap: str, topic: str, count: int, deadline_s: float = 30) -> list[RawRecord]:
    """Read a topic from its beginning until there are `count` records; AssertionError at the deadline."""
    return asyncio.run(_read(bootstrap, topic, count, deadline_s))


async def _read(bootstrap: str, topic: str, count: int, deadline_s: float) -> list[RawRecord]:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        await client.set_topics([topic])
        partitions = sorted(client.cluster.partitions_for_topic(topic) or ())
        ends = dict.fromkeys(partitions, 0)
        seen: list[RawRecord] = []
        give_up_at = time.monotonic() + deadline_s
        while len(seen) < count:
            assert time.monotonic() < give_up_at, f"{len(seen)} of {count} records on {topic} after {deadline_s} s"
            for partition in partitions:
                found = await read_slice(client, topic, partition, ends[partition], _FETCH_BYTES)
                seen += found.records
                ends[partition] = found.next_offset
    finally:
        await client.close()
    return seen


def headers_of(record: RawRecord, names: Sequence[bytes]) -> dict[str, str]:
    """Return the last value of each of these headers as text."""
    return {name.decode(): value.decode() for name, value in record.headers if name in names and value is not None}
