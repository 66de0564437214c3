"""Commands per second through a running worker: from the first accepted to the last outcome that a consumer has."""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from benchmarks.batches import Feed
from benchmarks.commands import Given, commands
from benchmarks.usage import cpu_s
from sandbox.parts import Parts, Program
from worker import clock

OUTCOMES_TOPIC = "ledger.outcomes.v1"
WARM_UP = 1000
DEADLINE_S = 300


@dataclass(frozen=True, slots=True)
class Passed:
    """One measured run; `cpu_s` per part, None where the system does not tell."""

    commands: int
    took_s: float
    cpu_s: dict[str, float | None]

    @property
    def per_s(self) -> float:
        """Commands per second."""
        return self.commands / self.took_s


async def pass_through(
    parts: Parts, worker: Program, brokerage: Program, name: str, count: int, accounts: int
) -> Passed:
    """Produce the commands, consume their outcomes; RuntimeError unless each has exactly one, and it says succeeded."""
    consumer = AIOKafkaConsumer(
        OUTCOMES_TOPIC, bootstrap_servers=parts.kafka.bootstrap, group_id=None, fetch_max_wait_ms=50
    )
    async with consumer, Feed(parts.kafka.bootstrap) as feed:
        await consumer.seek_to_end()
        for partition in consumer.assignment():
            await consumer.position(partition)
        await _round(feed, consumer, list(commands(f"{name} warm-up", WARM_UP, accounts)))
        given = list(commands(name, count, accounts))
        programs = {
            "worker": worker,
            "brokerage": brokerage,
            "postgres": parts.postgres.program,
            "kafka": parts.kafka.program,
        }
        before = {part: cpu_s(program.pid) for part, program in programs.items()}
        began_s, ended_s = await _round(feed, consumer, given)
        after = {part: cpu_s(program.pid) for part, program in programs.items()}
    used = {part: None if a is None else a - (before[part] or 0.0) for part, a in after.items()}
    return Passed(count, ended_s - began_s, used)


async def _round(feed: Feed, consumer: AIOKafkaConsumer, given: list[Given]) -> tuple[float, float]:
    """Return the unix seconds of the first acceptance and of the last outcome's arrival here."""
    batches = await feed.batches(given)
    async with asyncio.timeout(DEADLINE_S):
        found, _ = await asyncio.gather(_outcomes(consumer, len(given)), feed.send(batches))
    ended_s = clock.wall_s() if not found else found[-1][1]
    read = [json.loads(record.value) for record, _ in found]
    _check(given, read)
    return min(datetime.fromisoformat(one["timing"]["accepted_at"]).timestamp() for one in read), ended_s


async def _outcomes(consumer: AIOKafkaConsumer, count: int) -> list[tuple[ConsumerRecord, float]]:
    found: list[tuple[ConsumerRecord, float]] = []
    while len(found) < count:
        fetched = await consumer.getmany(timeout_ms=200)
        now_s = clock.wall_s()
        found += [(record, now_s) for records in fetched.values() for record in records]
    return found


def _check(given: list[Given], read: list[dict[str, object]]) -> None:
    succeeded = [UUID(str(one["command_id"])) for one in read if one["type"] == "command.succeeded"]
    if len(succeeded) != len(given) or {one.command_id for one in given} != set(succeeded):
        raise RuntimeError(f"{len(given)} commands gave {len(succeeded)} successes among {len(read)} outcomes")
