"""Commands at a steady rate, and when the outcome of each was with a consumer."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.commands import Given
from worker import clock

TERMINAL = ("command.succeeded", "command.rejected")
DEADLINE_S = 600


@dataclass(frozen=True, slots=True)
class Passage:
    """One command: when it was handed to Kafka, when its terminal outcome was here, in unix seconds, and that outcome."""

    account_no: str
    sent_s: float
    arrived_s: float
    outcome: dict[str, Any]

    @property
    def took_ms(self) -> float:
        """Milliseconds from the one to the other."""
        return (self.arrived_s - self.sent_s) * 1000


class Follower:
    """Follows a topic of outcomes from where it ends."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def until(
        self, count: int, types: Sequence[str] = TERMINAL, ids: Collection[str] | None = None
    ) -> list[tuple[float, dict[str, Any]]]:
        """Wait for so many outcomes of these types, of these commands where named: (unix seconds of arrival, outcome).

        TimeoutError after `DEADLINE_S`.
        """
        found: list[tuple[float, bytes]] = []
        wanted = [f'"type":"{name}"'.encode() for name in types]
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < count:
                fetched = await self._consumer.getmany(timeout_ms=200)
                now_s = clock.wall_s()
                values = (record.value for records in fetched.values() for record in records)
                told = [value for value in values if any(one in value for one in wanted)]
                found += [(now_s, one) for one in told if ids is None or json.loads(one)["command_id"] in ids]
        return [(at_s, json.loads(value)) for at_s, value in found]


@asynccontextmanager
async def following(bootstrap: str, topic: str) -> AsyncIterator[Follower]:
    """Follow from what comes after this moment."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=None, fetch_max_wait_ms=50)
    async with consumer:
        await consumer.seek_to_end()
        for partition in consumer.assignment():
            await consumer.position(partition)
        yield Follower(consumer)


async def pass_at_rate(bootstrap: str, topics: tuple[str, str], given: Iterable[Given], per_s: float) -> list[Passage]:
    """Send the commands one by one at this rate and wait for all their outcomes. `topics`: of commands, of outcomes."""
    commands = list(given)
    sent: dict[str, tuple[str, float]] = {}
    async with (
        following(bootstrap, topics[1]) as follower,
        AIOKafkaProducer(bootstrap_servers=bootstrap) as producer,
        asyncio.TaskGroup() as group,
    ):
        arriving = group.create_task(follower.until(len(commands), ids={str(one.command_id) for one in commands}))
        began_s = clock.boot_s()
        for number, one in enumerate(commands):
            await asyncio.sleep(max(0.0, began_s + number / per_s - clock.boot_s()))
            sent[str(one.command_id)] = (one.account_no, clock.wall_s())
            await producer.send(topics[0], one.value, one.account_no.encode())
        await arriving
    return [Passage(*sent[outcome["command_id"]], at_s, outcome) for at_s, outcome in arriving.result()]


def percentile(values: Iterable[float], part: float) -> float:
    """Return the value that `part` of them do not exceed, such as 0.99. ValueError where there are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
