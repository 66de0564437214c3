"""Writing commands and reading whatever a topic holds."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.waiting import wait_until_async


@dataclass(frozen=True)
class Topics:
    """The names of one test's topics."""

    adjustments: str
    freezes: str
    orders: str
    outcomes: str
    dead_letters: str
    audit: str

    @classmethod
    def with_prefix(cls, prefix: str) -> "Topics":
        return cls(**{field.name: f"{prefix}.{field.name.replace('_', '-')}" for field in fields(cls)})

    def names(self) -> list[str]:
        return [getattr(self, field.name) for field in fields(self)]

    def env(self) -> dict[str, str]:
        return {f"LEDGER_TOPIC_{field.name.upper()}": getattr(self, field.name) for field in fields(self)}

    def for_type(self, type_: str) -> str:
        """The command topic that a type belongs to."""
        if type_ in {"cash.freeze", "cash.unfreeze", "cash.debit_frozen"}:
            return self.freezes
        return self.orders if type_.startswith("order.") else self.adjustments


@dataclass(frozen=True)
class Sent:
    """Where a record went."""

    topic: str
    partition: int
    offset: int


async def create_topics(bootstrap: str, names: Iterable[str], partitions: int = 1) -> None:
    """Make plain topics, and wait until the broker tells of them; a test of the worker uses `topics apply` instead."""
    wanted = set(names)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()

    async def told() -> bool:
        return wanted <= set(await admin.list_topics())

    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in wanted])
        await wait_until_async(told)
    finally:
        await admin.close()


async def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete every topic whose name begins so, and wait until the broker tells of none: one made again is another."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()

    async def told() -> list[str]:
        return [name for name in await admin.list_topics() if name.startswith(prefix)]

    async def gone() -> bool:
        return not await told()

    try:
        doomed = await told()
        if doomed:
            await admin.delete_topics(doomed)
            await wait_until_async(gone)
    finally:
        await admin.close()


async def produce(
    bootstrap: str,
    records: Iterable[tuple[str, bytes | None, bytes | None, Sequence[tuple[str, bytes]]]],
    **options: Any,
) -> list[Sent]:
    """Write (topic, key, value, headers) as they are, in this order, and wait until all are acknowledged."""
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=5, **options
    ) as producer:
        waiting = [
            await producer.send(topic, value=value, key=key, headers=list(headers))
            for topic, key, value, headers in records
        ]
        return [Sent(sent.topic, sent.partition, sent.offset) for sent in await asyncio.gather(*waiting)]


async def produce_commands(bootstrap: str, topics: Topics, commands: Iterable[Mapping[str, Any]]) -> list[Sent]:
    """Write each command to its topic under its account, in this order."""
    return await produce(
        bootstrap,
        [(topics.for_type(one["type"]), one["account_no"].encode(), json.dumps(one).encode(), ()) for one in commands],
    )


async def read_records(
    bootstrap: str,
    topic: str,
    until: Callable[[list[ConsumerRecord]], bool],
    deadline_s: float = 30,
) -> list[ConsumerRecord]:
    """Read a topic from its beginning until the records seen satisfy `until`; AssertionError at the deadline."""
    seen: list[ConsumerRecord] = []
    give_up_at = time.monotonic() + deadline_s
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", group_id=None)
    async with consumer:
        while not until(seen):
            if time.monotonic() > give_up_at:
                raise AssertionError(
                    f"not within {deadline_s} s on {topic}; {len(seen)} records were read: {seen[-20:]}"
                )
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                seen.extend(batch)
    return seen


async def read_outcomes(
    bootstrap: str,
    topics: Topics,
    until: Callable[[list[dict[str, Any]]], bool],
    deadline_s: float = 30,
) -> list[dict[str, Any]]:
    """Read the outcomes topic from its beginning, as JSON, until those seen satisfy `until`."""
    read: list[dict[str, Any]] = []

    def is_over(records: list[ConsumerRecord]) -> bool:
        read.extend(json.loads(one.value) for one in records[len(read) :])
        return until(read)

    await read_records(bootstrap, topics.outcomes, is_over, deadline_s)
    return read


def terminal(outcomes: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the first terminal outcome of each command, by its id."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in outcomes:
        if one["type"] in {"command.succeeded", "command.rejected"}:
            found.setdefault(one["command_id"], one)
    return found


def all_answered(commands: Iterable[Mapping[str, Any]]) -> Callable[[list[dict[str, Any]]], bool]:
    """Return a condition for `read_outcomes`: every one of these commands has a terminal outcome."""
    wanted = {one["command_id"] for one in commands}
    return lambda outcomes: wanted <= terminal(outcomes).keys()
