"""A Postgres that forgets, at a random point of a seeded run: `python -m tests.chaos.forgetting --runs N [--seed S]`.

The worker stores and calls; a base backup is taken, or a standby cut off; the worker goes on, then ends. What is started
afterwards is the older state. `run` must refuse it, `recover` must make it true again, and then the measure is taken.
"""

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - every draw comes from a printed seed
from typing import Any

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Programs
from tests.chaos.conftest import CHAOS, Database, hear
from tests.support import SandboxClient, Topics, WorkerProcess, wait_until_async
from tests.support.kafka import Sent, produce_commands
from tests.support.measure import Measure, Told, measure
from tests.support.nursery import Nursery, shared
from tests.support.parts import KAFKA
from tests.support.upstream import temporary
from tests.support.worker import KEYS, clean_env, run_worker_cli
from tests.support.workload import keyed_workload
from worker.kafka.past import open_past
from worker.settings import Settings

KEYS_OF_SANDBOX = ("--app-key", "test-key", "--app-secret", "test-secret", "--access-token", "test-token")
COMMANDS_COUNT = 80
ACCOUNTS_COUNT = 20
REASON = "the database was restored"
SABOTAGES = {
    "new": """
import worker.operate.recover as broken
async def nothing(connection, rows): pass
async def nobody(connection, told_of):
    return [c for c in await unfinished(connection, told_of) if c.command_id in told_of]
unfinished, broken.read_unfinished, broken.add_doubts = broken.read_unfinished, nobody, nothing
""",
    "sequence": """
import worker.operate.recover as broken
from dataclasses import replace
async def forgetful(connection, heard):
    elsewhere = {key: replace(one, account_seq=one.account_seq + 1_000_000) for key, one in heard.items()}
    highest, fresh = await taken_back(connection, elsewhere)
    return dict.fromkeys(highest, 0), fresh
taken_back, broken.take_back = broken.take_back, forgetful
""",
}
"""What `recover` is run with to see that the measure would find it: put before the command line, in its own process."""


@dataclass
class World:
    """All parts of one run; `server` is whichever Postgres the worker is pointed at."""

    forks: Nursery
    kafka: str
    server: Any  # a Postgres; the tests of Kafka have only its url
    brokerage: SandboxClient
    topics: Topics
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a worker or command line."""
        return clean_env(
            {
                "LEDGER_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
                "LEDGER_KAFKA_GROUP_ID": f"{self.topics.outcomes}.worker",
                "LEDGER_DATABASE_URL": self.server.url,
                "LEDGER_WHALE_BASE_URL": self.brokerage.url,
                "LEDGER_ACTOR": "tester",
                "LEDGER_LOG_FORMAT": "json",
                **KEYS,
                **self.topics.env(),
                **CHAOS,
                "LEDGER_WHALE_KEY_LIFE_S": "600",  # a busy machine takes its time, and what can be asked again should be
                **self.settings,
            }
        )

    @property
    def database(self) -> Database:
        return Database(self.server.url)

    def cli(self, *arguments: str, code: int = 0) -> str:
        """Run `ledger-worker ARGUMENTS`, which must end with this code; returns what it said, stdout last."""
        done = run_worker_cli(*arguments, env=self.env)
        said = f"{done.stderr}\n{done.stdout}"
        assert done.returncode == code, f"{' '.join(arguments)} ended with {done.returncode}: {said}"
        return said

    def start_worker(self, *arguments: str) -> WorkerProcess:
        return WorkerProcess(self.forks, self.env, *arguments).wait_ready()

    def start_pair(self) -> tuple[WorkerProcess, WorkerProcess]:
        """Start one worker that does all but publish, and the relay."""
        worker = WorkerProcess(self.forks, self.env, "--role", "intake,lanes,timers")
        relay = WorkerProcess(self.forks, self.env, "--role", "relay")
        return worker.wait_ready(), relay.wait_ready()


def build(programs: Programs, forks: Nursery, kafka: str) -> World:
    """Start a Postgres and a brokerage of this run's own, and make its topics."""
    server = Postgres(programs)
    server.start()
    options = "--latency-ms", "20", "--latency-jitter-ms", "20"
    brokerage = Brokerage(forks, [*KEYS_OF_SANDBOX, *options])  # type: ignore[arg-type]
    brokerage.start()
    topics = Topics.with_prefix(f"t{secrets.token_hex(5)}")
    world = World(forks, kafka, server, SandboxClient(brokerage.url), topics)
    world.cli("migrate")
    world.cli("topics", "apply")
    return world


def workload(chance: Random, commands_count: int) -> list[dict[str, Any]]:
    """Draw keyed commands of all types, and among them temporary adjustments, which nothing but their record tells apart."""
    commands = keyed_workload(chance, ACCOUNTS_COUNT, commands_count)
    for at in sorted(chance.sample(range(len(commands)), commands_count // 6), reverse=True):
        ahead_s = chance.choice((25, 45, 3600))
        commands.insert(at, temporary(commands[at]["account_no"], ahead_s, remark=f"number {at}"))
    return commands


@dataclass
class Forgot:
    """What was done to a world: the commands, where they went, and how much came between the old state and the end."""

    commands: Sequence[dict[str, Any]]
    sent: Sequence[Sent]
    effects_forgotten: int


@dataclass
class Upstream:
    """Sends the commands of a run in pieces; what is left at the end no worker has seen."""

    world: World
    commands: list[dict[str, Any]]
    sent: list[Sent] = field(default_factory=list)

    async def send(self, part: float) -> None:
        """Send on until this part of all commands is out."""
        piece = self.commands[len(self.sent) : round(len(self.commands) * part)]
        self.sent += await produce_commands(self.world.kafka, self.world.topics, piece)

    async def wait_witness(self) -> None:
        """Wait until Kafka knows that intake has stored all that was sent: else nothing might show that it was forgotten."""
        async with open_past(Settings.from_env(self.world.env)) as past:

            async def all_stored() -> bool:
                return sum((await past.committed()).values()) >= len(self.sent)

            await wait_until_async(all_stored, 60)

    async def wait_effects(self, count: int) -> None:
        await wait_until_async(lambda: len(self.world.brokerage.effects()) >= count, 60)


async def restored(world: World, chance: Random, commands_count: int = COMMANDS_COUNT, *, kill: bool = False) -> Forgot:
    """Work, back up meanwhile, work on, end, restore the backup."""
    upstream = Upstream(world, workload(chance, commands_count))
    worker, relay = world.start_pair()
    await upstream.send(0.4)
    await upstream.wait_effects(chance.randint(1, commands_count // 5))
    async with asyncio.TaskGroup() as group:
        backing_up = group.create_task(asyncio.to_thread(world.server.back_up))
        await upstream.send(0.6)
    seen = len(world.brokerage.effects())
    await work_on(upstream, chance, seen, relay)
    await asyncio.to_thread(end, worker, kill)
    forgotten = len(world.brokerage.effects()) - seen
    await upstream.send(1)
    await asyncio.to_thread(world.server.stop)
    await asyncio.to_thread(world.server.restore, backing_up.result())
    await asyncio.to_thread(world.server.start)
    return Forgot(upstream.commands, upstream.sent, forgotten)


async def promoted(world: World, chance: Random, commands_count: int = COMMANDS_COUNT, *, kill: bool = False) -> Forgot:
    """Work with a standby that is cut off at some point, work on, lose the primary, promote the standby."""
    standby = await asyncio.to_thread(world.server.start_standby)
    upstream = Upstream(world, workload(chance, commands_count))
    worker, relay = world.start_pair()
    await upstream.send(0.6)
    await upstream.wait_effects(chance.randint(1, commands_count // 4))
    await asyncio.to_thread(standby.cut_off)
    seen = len(world.brokerage.effects())
    await work_on(upstream, chance, seen, relay)
    await asyncio.to_thread(world.server.kill)
    await asyncio.to_thread(end, worker, kill)
    forgotten = len(world.brokerage.effects()) - seen
    await upstream.send(1)
    await asyncio.to_thread(standby.promote)
    world.server = standby
    return Forgot(upstream.commands, upstream.sent, forgotten)


async def work_on(upstream: Upstream, chance: Random, seen: int, relay: WorkerProcess) -> None:
    """Let some commands more take effect, a random number; of the last of them nobody is told, for the relay is gone."""
    await upstream.send(0.9)
    await upstream.wait_witness()
    count = len(upstream.commands)
    told = chance.randint(1, 1 + count // 20)
    await upstream.wait_effects(seen + told)
    relay.sigkill()
    await upstream.wait_effects(seen + told + chance.randint(count // 10, count // 6))


def end(worker: WorkerProcess, kill: bool) -> None:
    """End a worker, in order or by SIGKILL."""
    if kill:
        worker.sigkill()
    else:
        worker.sigterm()


async def recover(world: World, sabotage: str = "") -> None:
    """See `run` refuse, recover, and see that there is nothing more to recover."""
    refused = await asyncio.to_thread(world.cli, "run", code=1)
    assert "ledger-worker recover" in refused, refused

    def is_let() -> bool:
        """Ask without a yes: refused, but not because of a killed worker that is still a member of the group."""
        return "still read as group" not in world.cli("recover", "--reason", REASON, code=5)

    await wait_until_async(is_let, 90, message="the killed worker leaves the group")
    if sabotage:
        await asyncio.to_thread(run_broken, world, sabotage)
        return
    await asyncio.to_thread(world.cli, "recover", "--reason", REASON, "--yes")
    await asyncio.to_thread(world.cli, "recover", "--reason", REASON, "--yes", code=3)


def run_broken(world: World, sabotage: str) -> None:
    """Run a `recover` that does not keep one of its promises."""
    program = f"{sabotage}\nimport sys\nfrom worker.__main__ import main\nsys.exit(main())"
    argv = [sys.executable, "-c", program, "recover", "--reason", REASON, "--yes"]
    done = subprocess.run(argv, env=world.env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


async def go_on(world: World, forgot: Forgot) -> tuple[Told, Measure]:
    """Start a worker on the recovered database, wait until all is decided, and measure."""
    worker = world.start_worker()
    told = await hear(world.kafka, world.topics, world.brokerage, forgot.commands, forgot.sent)
    await asyncio.to_thread(worker.sigterm)
    return told, measure(told)


def decided(told: Told) -> dict[str, int]:
    """Count the commands by their last word."""
    last = {one["command_id"]: one["type"] for one in told.outcomes if one["type"].startswith("command.")}
    return {kind: list(last.values()).count(kind) for kind in sorted(set(last.values()))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--sabotage", choices=SABOTAGES, help="see that the measure finds what this breaks")
    given = parser.parse_args()
    first = secrets.randbits(32) if given.seed is None else given.seed
    wrong = 0
    with Programs() as parts:
        bootstrap = os.environ.get(KAFKA) or _start_kafka(parts)
        for seed in range(first, first + given.runs):
            with Programs() as programs, shared().logging_in(programs) as forks:
                world = build(programs, forks, bootstrap)
                wrong += not asyncio.run(_one(world, seed, SABOTAGES.get(given.sabotage, "")))
    sys.stdout.write(f"{given.runs} runs, {wrong} not clean; the first seed was {first}\n")
    return 1 if wrong else 0


def _start_kafka(programs: Programs) -> str:
    kafka = Kafka(programs)
    kafka.start()
    return kafka.bootstrap


async def _one(world: World, seed: int, sabotage: str) -> bool:
    chance = Random(seed)  # noqa: S311 - chaos needs no secrets
    forget = chance.choice((restored, promoted))
    kill = chance.random() < 0.5
    forgot = await forget(world, chance, kill=kill)
    await recover(world, sabotage)
    told, found = await go_on(world, forgot)
    how = f"{forget.__name__}{', killed' if kill else ''}"
    sys.stdout.write(
        f"seed {seed}: {how}, {forgot.effects_forgotten} effects forgotten of {len(told.effects)}, "
        f"{len(forgot.commands)} commands: {decided(told)}\n{found}\n"
    )
    sys.stdout.flush()
    return found.is_clean()


if __name__ == "__main__":
    sys.exit(main())
