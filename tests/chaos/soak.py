"""The long run: `python -m tests.chaos.soak --minutes 20`. Steady load with faults; what a worker uses must stay flat.

Every few seconds a sample is taken of a worker's memory, connections and open files, of the sizes and dead rows of the
tables, and of how long commands take. The first half is warm-up. Flat means: the median of the last quarter is at most
the third quarter's plus 15 % plus a slack that says what does not matter. Tables that are kept for ever grow with the
commands that were sent, and are judged by bytes per command. A plot of each and `samples.json` are written to .soak/.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random  # noqa: TID251 - chance comes from a printed seed
from statistics import median
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from matplotlib.figure import Figure

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.kafka import Kafka
from sandbox.parts.ports import free_port
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Programs
from sandbox.parts.together import start_all
from tests.chaos.conftest import CHAOS
from tests.chaos.schedule import WIRES, drawn_fault, drawn_spell
from tests.support.brokerage import SandboxClient
from tests.support.commands import new_account
from tests.support.kafka import Topics
from tests.support.measure import TERMINAL
from tests.support.proxy import FAIR, Link, Proxy
from tests.support.worker import CHECKOUT, KEYS, WorkerProcess, clean_env, run_worker_cli
from tests.support.workload import BusyDesk

FOLDER = CHECKOUT / ".soak"
SAMPLE_EVERY_S = 5.0
ACCOUNTS_COUNT = 200
WORKERS_COUNT = 2
RISE_MAX = 0.15
HOT = ("lanes", "timers", "doubts", "parked", "watches", "outbox", "relay_shards", "rate")
_BROKERAGE_KEYS = ("--app-key", "test-key", "--app-secret", "test-secret", "--access-token", "test-token")

Sample = dict[str, float]


@dataclass(frozen=True)
class Judgement:
    """One figure: its medians in the third and the last quarter, and whether that is flat."""

    name: str
    third: float
    last: float
    slack: float

    @property
    def is_flat(self) -> bool:
        return self.last <= self.third * (1 + RISE_MAX) + self.slack

    def __str__(self) -> str:
        verdict = "flat" if self.is_flat else "RISES"
        return f"{verdict:6} {self.name:32} {self.third:14.1f} {self.last:14.1f}  slack {self.slack:g}"


SLACKS: Mapping[str, float] = {
    "memory_mb": 8,
    "connections": 4,
    "open_files": 6,
    "hot_tables_mb": 2,
    "dead_rows": 2000,
    "bytes_per_command": 200,
    "latency_p50_ms": 50,
    "latency_p99_ms": 1000,
    "waiting": 50,
}
"""By how much a figure may rise beyond 15 %: what is below this is noise on a busy machine, in the figure's own unit."""


def judged(samples: Sequence[Sample]) -> list[Judgement]:
    """Compare the last quarter with the third, figure by figure."""
    quarter = len(samples) // 4
    third, last = samples[2 * quarter : 3 * quarter], samples[3 * quarter :]
    names = sorted({name for one in samples for name in one} - {"at_s"})
    found = []
    for name in names:
        before, after = ([one[name] for one in part if name in one] for part in (third, last))
        slack = next(slack for prefix, slack in SLACKS.items() if name.startswith(prefix))
        if before and after:
            found.append(Judgement(name, median(before), median(after), slack))
    return found


class Watcher:
    """Looks at workers and at the database from outside."""

    def __init__(self, workers: Sequence[WorkerProcess], database_url: str) -> None:
        self._workers, self._database_url = workers, database_url

    def sample(self, sent_count: int) -> Sample:
        found: Sample = {}
        for number, worker in enumerate(self._workers):
            if worker.program.is_running():
                found |= _of_process(number, worker.program.pid)
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            own = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, 'ledger-worker')"
            found["connections_postgres"] = _number(connection, own)
            sizes = "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE relname = ANY(%s)"
            found["hot_tables_mb"] = _number(connection, sizes, list(HOT)) / 1e6
            dead = "SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE relname = ANY(%s)"
            found["dead_rows_hot"] = _number(connection, dead, list(HOT))
            kept = "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE relname <> ALL(%s)"
            found["bytes_per_command"] = _number(connection, kept, list(HOT)) / max(1, sent_count)
            waiting = "SELECT count(*) FROM commands WHERE state IN ('queued', 'sending', 'in_doubt')"
            found["waiting"] = _number(connection, waiting)
        return found


def _number(connection: "psycopg.Connection[Any]", statement: str, *values: Any) -> float:
    row = connection.execute(statement, values).fetchone()
    return float(row[0] or 0) if row else 0.0


def _of_process(number: int, pid: int) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    resident_kb = int(status.partition("VmRSS:")[2].split()[0])
    targets = list(_targets(pid))
    return {
        f"memory_mb_{number}": resident_kb / 1024,
        f"open_files_{number}": float(len(targets)),
        f"connections_{number}": float(sum(target.startswith("socket:") for target in targets)),
    }


def _targets(pid: int) -> Iterator[str]:
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            yield str(one.readlink())


class Load:
    """A steady producer and a consumer that notes how long each command took."""

    def __init__(self, bootstrap: str, topics: Topics, chance: Random, per_s: float) -> None:
        self._bootstrap, self._topics, self._chance, self._per_s = bootstrap, topics, chance, per_s
        self._sent_at: dict[str, float] = {}
        self._latencies_s: list[float] = []
        self.sent_count = 0
        self.stopping = asyncio.Event()

    def take_latencies(self) -> Sample:
        """Return p50 and p99 of what was answered since the last call, in ms."""
        taken, self._latencies_s = sorted(self._latencies_s), []
        if not taken:
            return {}
        at = {"p50": len(taken) // 2, "p99": min(len(taken) - 1, len(taken) * 99 // 100)}
        return {f"latency_{name}_ms": taken[index] * 1000 for name, index in at.items()}

    def unanswered(self) -> int:
        """Count commands without a terminal outcome."""
        return len(self._sent_at)

    async def produce(self) -> None:
        """Send at a steady rate until stopped."""
        desks = [BusyDesk(self._chance, new_account()) for _ in range(ACCOUNTS_COUNT)]
        began_s = time.monotonic()
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap, enable_idempotence=True) as producer:
            while not self.stopping.is_set():
                now = datetime.now(UTC)  # noqa: TID251
                command = self._chance.choice(desks).next_command_at(now)
                topic = self._topics.for_type(command["type"])
                self._sent_at[command["command_id"]] = time.monotonic()
                await producer.send(topic, json.dumps(command).encode(), command["account_no"].encode())
                self.sent_count += 1
                await asyncio.sleep(max(0.0, began_s + self.sent_count / self._per_s - time.monotonic()))

    async def consume(self) -> None:
        """Note terminal outcomes until cancelled; what is parked is not waited for."""
        consumer = AIOKafkaConsumer(
            self._topics.outcomes, bootstrap_servers=self._bootstrap, auto_offset_reset="earliest"
        )
        async with consumer:
            while True:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    for record in batch:
                        self._note(json.loads(record.value))

    def _note(self, outcome: Mapping[str, Any]) -> None:
        if outcome["type"] in TERMINAL | {"command.parked"}:
            sent_at = self._sent_at.pop(outcome["command_id"], None)
            if sent_at is not None and outcome["type"] in TERMINAL:
                self._latencies_s.append(time.monotonic() - sent_at)


async def go_wrong(chance: Random, wires: Mapping[str, Link], brokerage: SandboxClient) -> None:
    """Faults at the same rate all the time, until cancelled."""
    while True:
        await asyncio.sleep(chance.uniform(1, 4))
        if chance.random() < 0.5:
            fault = drawn_fault(chance)
            meant = {} if fault.operation is None else {"operation": fault.operation}
            await asyncio.to_thread(brokerage.fault, fault.kind, times=fault.times, delay_s=fault.delay_s, **meant)
            continue
        spell = drawn_spell(chance, chance.choice(WIRES))
        await asyncio.to_thread(wires[spell.wire].tell, spell.weather)
        await asyncio.sleep(min(spell.lasts_s, 1.0))
        await asyncio.to_thread(wires[spell.wire].tell, FAIR)


async def soak(load: Load, watcher: Watcher, wrong: Any, seconds: float) -> list[Sample]:
    """Load, go wrong and sample for so long; then let it come to rest."""
    samples: list[Sample] = []
    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        producing, consuming = group.create_task(load.produce()), group.create_task(load.consume())
        wronging = group.create_task(wrong)
        while (at_s := time.monotonic() - began_s) < seconds:
            await asyncio.sleep(SAMPLE_EVERY_S)
            found = await asyncio.to_thread(watcher.sample, load.sent_count)
            samples.append({"at_s": at_s, **found, **load.take_latencies()})
        wronging.cancel()
        load.stopping.set()
        await producing
        give_up_at = time.monotonic() + 120
        while load.unanswered() and time.monotonic() < give_up_at:  # noqa: ASYNC110 - what is waited for lies in Kafka
            await asyncio.sleep(0.5)
        consuming.cancel()
    return samples


def plot(samples: Sequence[Sample], folder: Path) -> list[Path]:
    """Write one PNG per figure, over minutes; the second half is marked."""
    written = []
    for name in sorted({name for one in samples for name in one} - {"at_s"}):
        points = [(one["at_s"] / 60, one[name]) for one in samples if name in one]
        figure = Figure(figsize=(8, 3), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.axvspan(samples[-1]["at_s"] / 120, samples[-1]["at_s"] / 60, alpha=0.08)
        axes.set(title=name, xlabel="minutes", ylim=(0, None))
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=110)
        written.append(path)
    return written


def run(minutes: float, per_s: float, seed: int) -> int:
    """Start all, soak, write, judge; 1 when a figure rises, a worker died or a command is unanswered."""
    with ExitStack() as stack:
        programs, proxy = stack.enter_context(Programs()), stack.enter_context(Proxy())
        detour = free_port()
        kafka, postgres = Kafka(programs, detours=[detour]), Postgres(programs)
        brokerage = Brokerage(programs, [*_BROKERAGE_KEYS, "--latency-ms", "5", "--sweep-delay-s", "1.5"])
        start_all(programs, [kafka.start, postgres.start, brokerage.start])
        address = urlsplit(postgres.url)
        user, _, server = address.netloc.rpartition("@")
        wires = {
            "kafka": proxy.link(kafka.behind(detour), detour),
            "postgres": proxy.link(server),
            "brokerage": proxy.link(urlsplit(brokerage.url).netloc),
        }
        topics = Topics.with_prefix("soak")
        env = clean_env(
            {
                **CHAOS,
                **KEYS,
                **topics.env(),
                "LEDGER_EXPIRES_AHEAD_MIN_S": "0.5",
                "LEDGER_SWEEP_GRACE_S": "4",
                "LEDGER_KAFKA_BOOTSTRAP_SERVERS": wires["kafka"].host_port,
                "LEDGER_DATABASE_URL": urlunsplit(address._replace(netloc=f"{user}@{wires['postgres'].host_port}")),
                "LEDGER_WHALE_BASE_URL": f"http://{wires['brokerage'].host_port}",
                "LEDGER_LOG_FORMAT": "json",
            }
        )
        for arguments in (("migrate",), ("topics", "apply")):
            done = run_worker_cli(*arguments, env=env, deadline_s=180)
            assert done.returncode == 0, done.stderr
        workers = [WorkerProcess(programs, env) for _ in range(WORKERS_COUNT)]
        for worker in workers:
            worker.wait_ready()
        chance = Random(seed)  # noqa: S311
        load = Load(kafka.bootstrap, topics, chance, per_s)
        wrong = go_wrong(Random(seed + 1), wires, SandboxClient(brokerage.url))  # noqa: S311
        samples = asyncio.run(soak(load, Watcher(workers, postgres.url), wrong, minutes * 60))
        died = [f"worker {n} died{w.program.last_lines()}" for n, w in enumerate(workers) if not w.program.is_running()]
    return _tell(samples, load, died, seed)


def _tell(samples: Sequence[Sample], load: Load, died: Sequence[str], seed: int) -> int:
    FOLDER.mkdir(exist_ok=True)
    judgements = judged(samples)
    told = {"seed": seed, "samples": samples, "judgements": [asdict(one) | {"flat": one.is_flat} for one in judgements]}
    (FOLDER / "samples.json").write_text(json.dumps(told, indent=1) + "\n")
    plots = plot(samples, FOLDER)
    lines = [f"seed {seed}, {load.sent_count} commands, {len(samples)} samples, {len(plots)} plots in {FOLDER.name}/"]
    lines += [f"       {'':32} {'third quarter':>14} {'last quarter':>14}", *map(str, judgements), *died]
    if load.unanswered():
        lines.append(f"{load.unanswered()} commands have no terminal outcome and are not parked")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(died or load.unanswered() or not all(one.is_flat for one in judgements)))


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--per-s", type=float, default=20, help="commands per second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    return run(given.minutes, given.per_s, given.seed)


if __name__ == "__main__":
    sys.exit(main())
