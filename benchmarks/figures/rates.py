"""Commands per second: over a plain worker, of intake alone, and how soon the first one is done."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import psycopg
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from benchmarks.batches import Feed
from benchmarks.commands import Given, commands
from benchmarks.end_to_end import Passed, pass_through
from benchmarks.figures import Figure
from benchmarks.ground import Ground, new_ground
from benchmarks.running import CHECKOUT, running_worker
from benchmarks.traffic import pass_at_rate
from sandbox.parts import Parts, Program
from worker import clock

ACCOUNTS = 2_000
MEMBERS = 20
INTAKE_BYTES = 500
DEADLINE_S = 600


def over_plain(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure one worker and the plain peer by turns, brokerage at 20 ms."""
    ours, theirs = [], []
    for number in range(runs):
        with new_ground(parts, latency_ms=20) as ground, running_worker(parts, ground.env) as worker:
            ours.append(passed(ground, [worker], f"worker {number}", int(20_000 * scale)).per_s)
        with new_ground(parts, latency_ms=20) as ground, _plain(ground) as peer:
            theirs.append(passed(ground, [peer], f"plain {number}", int(2_000 * scale), warm_up=200).per_s)
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    said = f"{ratio:.1f} times ({median(ours):,.0f}/s over {median(theirs):,.0f}/s, {runs} runs each)"
    return Figure("over a plain worker, 20 ms", said, "20 times", ratio >= 20, {"ours": ours, "theirs": theirs})


def intake(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure records per second from Kafka into Postgres, by a worker that does nothing else."""
    rates, count = [], int(100_000 * scale)
    for number in range(runs):
        with new_ground(parts) as ground:
            given = list(commands(f"intake {number}", count, ACCOUNTS, bytes_each=INTAKE_BYTES))
            with running_worker(parts, ground.env, "--role", "intake"):
                asyncio.run(_feed(ground, given))
                rates.append(_intake_rate(ground, count))
    said = f"{median(rates):,.0f}/s ({min(rates):,.0f} to {max(rates):,.0f}, {runs} runs of {count:,})"
    return Figure("intake alone", said, "15,000/s", median(rates) >= 15_000, {"per_s": rates})


def start(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure from the start of a process to its first effect, on a database that has worked before."""
    took: list[float] = []
    with new_ground(parts) as ground:
        with running_worker(parts, ground.env) as worker:
            passed(ground, [worker], "before", max(1_000, int(2_000 * scale)))
        for number in range(runs * 3):
            given = list(commands(f"start {number}", 1, ACCOUNTS))
            asyncio.run(_feed(ground, given))
            began_s = clock.wall_s()
            with running_worker(parts, ground.env):
                took.append(_sent_s(ground, given[0]) - began_s)
    said = f"{median(took):.2f} s ({min(took):.2f} to {max(took):.2f}, n = {len(took)})"
    return Figure("start to first effect", said, "2 s", median(took) <= 2, {"s": took})


def passed(ground: Ground, workers: list[Program], name: str, count: int, warm_up: int = 1_000) -> Passed:
    """Let so many commands pass through these programs."""
    topics = ground.commands_topic, ground.outcomes_topic
    passing = pass_through(ground.parts, workers, ground.brokerage.program, name, count, ACCOUNTS, topics, warm_up)
    return asyncio.run(passing)


@contextmanager
def _plain(ground: Ground) -> Iterator[Program]:
    argv = [sys.executable, "-m", "benchmarks.peers.plain", "--bootstrap", ground.parts.kafka.bootstrap]
    argv += ["--database", ground.database_url, "--brokerage", ground.brokerage.url, "--members", str(MEMBERS)]
    argv += ["--commands", ground.commands_topic, "--outcomes", ground.outcomes_topic]
    programs = ground.parts.programs
    asyncio.run(_widen(ground))
    peer = programs.start("the plain worker", argv, programs.new_folder("plain") / "plain.log", cwd=CHECKOUT)
    topics = ground.commands_topic, ground.outcomes_topic
    # it tells nobody when it is ready: the first outcome does
    asyncio.run(pass_at_rate(ground.parts.kafka.bootstrap, topics, commands("ready", 1, 1), 1))
    yield peer
    peer.stop(deadline_s=60)


async def _widen(ground: Ground) -> None:
    """Give each member a partition of its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=ground.parts.kafka.bootstrap)
    await admin.start()
    await admin.create_partitions({ground.commands_topic: NewPartitions(MEMBERS)})
    await admin.close()


async def _feed(ground: Ground, given: list[Given]) -> None:
    async with Feed(ground.parts.kafka.bootstrap, ground.commands_topic) as feed:
        await feed.send(await feed.batches(given))


def _intake_rate(ground: Ground, count: int) -> float:
    statement = "SELECT count(*), extract(epoch FROM max(accepted_at) - min(accepted_at)) FROM commands"
    until_s = time.monotonic() + DEADLINE_S
    with psycopg.connect(ground.database_url, autocommit=True) as connection:
        while True:
            row = connection.execute(statement).fetchone()
            if row is not None and row[0] == count:
                return count / float(row[1])
            if time.monotonic() > until_s:
                raise RuntimeError(f"{count} records were not taken within {DEADLINE_S} s")
            time.sleep(0.5)


def _sent_s(ground: Ground, one: Given) -> float:
    """Unix seconds at which the call of a command was begun."""
    statement = "SELECT extract(epoch FROM first_sent_at) FROM commands WHERE command_id = %s AND state = 'succeeded'"
    until_s = time.monotonic() + DEADLINE_S
    with psycopg.connect(ground.database_url, autocommit=True) as connection:
        while time.monotonic() < until_s:
            row = connection.execute(statement, [one.command_id]).fetchone()
            if row is not None:
                return float(row[0])
            time.sleep(0.01)
    raise RuntimeError(f"{one.command_id} was not done within {DEADLINE_S} s")
