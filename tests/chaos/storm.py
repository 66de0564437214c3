"""One seeded run: its commands, the wires before its parts, its workers, and what goes wrong among them."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251 - chance comes from a printed seed
from typing import Any, assert_never
from urllib.parse import urlsplit, urlunsplit

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from tests.chaos.conftest import CHAOS, hear
from tests.chaos.fleet import Fleet, Slot
from tests.chaos.schedule import Blow, Cut, Join, Misbehave, Outage, Plan, Spell, Timeline
from tests.factories import MALFORMED
from tests.support.brokerage import SandboxClient
from tests.support.commands import new_account
from tests.support.kafka import Sent, Topics
from tests.support.measure import EXPIRED, Told
from tests.support.nursery import Nursery
from tests.support.proxy import FAIR, Link, Proxy, Way
from tests.support.worker import KEYS, clean_env
from tests.support.workload import BusyDesk

SENDING_S = 9.0
PIECES = 30
RECOVERY_DEADLINE_S = 300
SETTINGS = {
    **CHAOS,
    "LEDGER_EXPIRES_AHEAD_MIN_S": "0.5",
    "LEDGER_WHALE_TIMEOUT_S": "2",
    "LEDGER_LANE_LEASE_S": "6",
    "LEDGER_LATE_APPLY_S": "3",
    "LEDGER_SWEEP_GRACE_S": "4",
}

Json = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What the producer sends; `command` is None for what is no command, or one again."""

    topic: str
    key: bytes
    value: bytes
    command: Json | None = None


@dataclass(frozen=True)
class Ground:
    """A running Kafka and Postgres, and the port of a forwarder that Kafka knows of."""

    kafka: Kafka
    postgres: Postgres
    detour: int


def workload(chance: Random, topics: Topics, began: datetime) -> list[list[Record]]:
    """Draw the records in the pieces in which they are sent; some of them twice, changed, or unreadable."""
    desks = [BusyDesk(chance, new_account()) for _ in range(chance.randint(10, 20))]
    per_piece = chance.randint(2, 5)
    sent: list[Json] = []
    pieces = []
    for number in range(PIECES):
        now = began + timedelta(seconds=SENDING_S * number / PIECES)
        piece: list[Record] = []
        for _ in range(per_piece):
            command = chance.choice(desks).next_command_at(now)
            sent.append(command)
            piece.append(_record(topics, command, command))
            if chance.random() < 0.04:
                piece.append(_record(topics, chance.choice(sent), None))
            if chance.random() < 0.03:
                piece.append(_record(topics, {**chance.choice(sent), "issued_by": "another-desk"}, None))
            if chance.random() < 0.02:
                value = chance.choice([one for one in MALFORMED.values() if one])
                piece.append(Record(topics.adjustments, command["account_no"].encode(), value))
        pieces.append(piece)
    return pieces


def _record(topics: Topics, written: Json, command: Json | None) -> Record:
    key = written["account_no"].encode()
    return Record(topics.for_type(written["type"]), key, json.dumps(written).encode(), command)


class Storm:
    """One run: its parts, wires and workers."""

    def __init__(self, seed: int, plan: Plan, ground: Ground, topics: Topics, brokerage: SandboxClient) -> None:
        self.seed, self.plan, self.ground = seed, plan, ground
        self.topics, self.brokerage = topics, brokerage
        self.wires: dict[str, Link] = {}
        self.fleet: Fleet
        self.counts: Counter[str] = Counter()

    def prepare(self, stack: ExitStack, nursery: Nursery, database_url: str) -> None:
        """Put wires before the parts and workers behind them."""
        proxy = stack.enter_context(Proxy())
        ground = self.ground
        address = urlsplit(database_url)
        user, _, server = address.netloc.rpartition("@")
        self.wires = {
            "kafka": proxy.link(ground.kafka.behind(ground.detour), ground.detour),
            "postgres": proxy.link(server),
            "brokerage": proxy.link(urlsplit(self.brokerage.url).netloc),
        }
        env = {
            "LEDGER_KAFKA_BOOTSTRAP_SERVERS": self.wires["kafka"].host_port,
            "LEDGER_KAFKA_GROUP_ID": f"{self.topics.outcomes}.worker",
            "LEDGER_DATABASE_URL": urlunsplit(address._replace(netloc=f"{user}@{self.wires['postgres'].host_port}")),
            "LEDGER_WHALE_BASE_URL": f"http://{self.wires['brokerage'].host_port}",
            "LEDGER_WHALE_TEMP_ROUTE": self.plan.temp_route,
            "LEDGER_LOG_FORMAT": "json",
            **KEYS,
            **SETTINGS,
            **self.topics.env(),
        }
        _apply_topics(nursery, clean_env(env))
        self.fleet = Fleet(nursery, clean_env(env), [Slot() for _ in range(3)])
        stack.callback(self.fleet.close)
        for slot in range(self.plan.workers_count):
            self.fleet.start(slot)

    async def run(self, chance: Random) -> tuple[Told, list[str]]:
        """Send while things go wrong, let all recover, and return what was told with what went wrong besides."""
        async with AsyncExitStack() as stack:
            # one producer all the time: it waits for a Kafka that is away, and begins nothing anew
            bootstrap = self.ground.kafka.bootstrap
            producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
            await stack.enter_async_context(producer)
            await asyncio.to_thread(self._wait_ready)
            began_s, began = time.monotonic(), datetime.now(UTC)  # noqa: TID251
            pieces = workload(chance, self.topics, began)
            async with asyncio.TaskGroup() as group:
                supervising = group.create_task(self.fleet.supervise())
                sending = group.create_task(_send(producer, pieces, began_s))
                going_wrong = [group.create_task(self._go_through(one, began_s)) for one in self.plan.timelines]
                sent = await sending
                await asyncio.wait(going_wrong)
                self._mend()
                told = await self._hear(pieces, sent)
                supervising.cancel()
        self.counts["commands"] = len(told.commands)
        idle = [f"the wire to {name} was not used" for name, wire in self.wires.items() if not wire.passed[Way.UP]]
        return told, [*self.fleet.died, *idle, *await self._unheard(pieces)]

    def _wait_ready(self) -> None:
        for slot in self.fleet.slots:
            if slot.worker is not None:
                slot.worker.wait_ready()

    async def _go_through(self, timeline: Timeline, began_s: float) -> None:
        for at_s, event in timeline.events:
            await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
            self.counts[type(event).__name__] += 1
            match event:
                case Spell(wire, weather, lasts_s):
                    await asyncio.to_thread(self.wires[wire].tell, weather)
                    await asyncio.sleep(lasts_s)
                    await asyncio.to_thread(self.wires[wire].tell, FAIR)
                case Cut(wire):
                    await asyncio.to_thread(self.wires[wire].reset)
                case Misbehave(kind, operation, times, delay_s):
                    meant = {} if operation is None else {"operation": operation}
                    await asyncio.to_thread(self.brokerage.fault, kind, times=times, delay_s=delay_s, **meant)
                case Blow():
                    await self._strike(event)
                case Join(slot):
                    await asyncio.to_thread(self.fleet.start, slot)
                case Outage(part, lasts_s):
                    broken = self.ground.kafka if part == "kafka" else self.ground.postgres
                    await asyncio.to_thread(broken.kill)
                    await asyncio.sleep(lasts_s)
                    await asyncio.to_thread(broken.start)
                case _:
                    assert_never(event)

    async def _strike(self, blow: Blow) -> None:
        self.counts[blow.how] += 1
        match blow.how:
            case "freeze":
                self.fleet.freeze(blow.slot)
                await asyncio.sleep(blow.lasts_s)
                self.fleet.thaw(blow.slot)
                return
            case "kill":
                await asyncio.to_thread(self.fleet.kill, blow.slot)
            case "stop":
                await asyncio.to_thread(self.fleet.stop, blow.slot)
            case _:
                assert_never(blow.how)
        await asyncio.sleep(blow.lasts_s)
        await asyncio.to_thread(self.fleet.start, blow.slot)

    def _mend(self) -> None:
        self.brokerage.clear_faults()
        for wire in self.wires.values():
            wire.tell(FAIR)

    async def _hear(self, pieces: Sequence[Sequence[Record]], sent: Mapping[int, Sent]) -> Told:
        records = [one for piece in pieces for one in piece]
        commands = [(one.command, sent[id(one)]) for one in records if one.command is not None]
        return await hear(
            self.ground.kafka.bootstrap,
            self.topics,
            self.brokerage,
            [command for command, _ in commands],
            [place for _, place in commands],
            until=all_ended,
            deadline_s=RECOVERY_DEADLINE_S,
        )

    async def _unheard(self, pieces: Sequence[Sequence[Record]]) -> list[str]:
        """Tell of unreadable records that are not among the dead letters, byte for byte."""
        wanted = Counter(one.value for piece in pieces for one in piece if one.value in MALFORMED.values())
        consumer = AIOKafkaConsumer(
            self.topics.dead_letters, bootstrap_servers=self.ground.kafka.bootstrap, auto_offset_reset="earliest"
        )
        found: Counter[bytes] = Counter()
        give_up_at = time.monotonic() + 20
        async with consumer:
            while wanted - found and time.monotonic() < give_up_at:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found.update({record.value for record in batch})
        missing = {value for value in wanted if value not in found}
        return [f"an unreadable record has no dead letter: {value[:80]!r}" for value in missing]


def _apply_topics(nursery: Nursery, env: Mapping[str, str]) -> None:
    """Make the topics; a Kafka that is busy with other runs may take longer to show them than the command waits."""
    for last in (False, False, True):
        try:
            nursery.run("topics", "apply", env=env)
        except AssertionError:
            if last:
                raise
        else:
            return


def all_ended(outcomes: list[Json]) -> bool:
    """Say whether every temporary adjustment that was booked is told to have ended."""
    booked = {
        one["command_id"]
        for one in outcomes
        if one["type"] == "command.succeeded" and one["command_type"] == "temp.adjust"
    }
    return booked <= {one["command_id"] for one in outcomes if one["type"] == EXPIRED}


async def _send(producer: AIOKafkaProducer, pieces: Sequence[Sequence[Record]], began_s: float) -> dict[int, Sent]:
    sent: dict[int, Sent] = {}
    for number, piece in enumerate(pieces):
        await asyncio.sleep(max(0.0, began_s + SENDING_S * number / len(pieces) - time.monotonic()))
        waiting = [(one, await producer.send(one.topic, one.value, one.key)) for one in piece]
        for one, future in waiting:
            place = await future
            sent[id(one)] = Sent(place.topic, place.partition, place.offset)
    return sent
