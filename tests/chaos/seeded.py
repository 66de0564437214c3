"""Seeded chaos: `python -m tests.chaos.seeded --seed N` or `--runs N [--at-once K]`.

One run is one seed: commands of all types from a producer that waits for Kafka, several workers behind lossy wires, a
plan of what goes wrong. Then everything recovers, every command is answered or parked, and the measure is taken.
"""

import argparse
import asyncio
import json
import logging
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from queue import SimpleQueue
from random import Random  # noqa: TID251 - chance comes from a printed seed

import psycopg
from aiokafka.errors import KafkaError

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.errors import PartsError
from sandbox.parts.kafka import Kafka
from sandbox.parts.ports import free_port
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Programs
from sandbox.parts.together import start_all
from tests.chaos.fleet import Fleet
from tests.chaos.schedule import Plan, drawn
from tests.chaos.storm import Ground, Storm
from tests.support.brokerage import SandboxClient
from tests.support.database import Databases
from tests.support.kafka import Topics, delete_topics
from tests.support.measure import Measure, Told, measure
from tests.support.nursery import Nursery
from tests.support.stuck import stuck
from tests.support.worker import CHECKOUT

FOLDER = CHECKOUT / ".chaos"
REST_DEADLINE_S = 20
_BROKERAGE_KEYS = ("--app-key", "test-key", "--app-secret", "test-secret", "--access-token", "test-token")


@dataclass(frozen=True)
class Run:
    """What became of a seed."""

    seed: int
    plan: Plan
    found: Measure
    stuck: list[str]
    besides: list[str]
    summary: str

    def is_clean(self) -> bool:
        return self.found.is_clean() and not self.stuck and not self.besides

    def differences(self) -> str:
        """Tell all that was found, by kind."""
        return "\n".join([str(self.found), *(f"stuck: {one}" for one in self.stuck), *self.besides])

    def figures(self) -> dict[str, int]:
        """Count by the seven names, and what was found besides; a command without a word is stuck like a row."""
        counted = {field.name: len(getattr(self.found, field.name)) for field in fields(self.found)}
        counted["stuck"] = counted.pop("unanswered") + len(self.stuck)
        return {**counted, "besides": len(self.besides)}


def run_seed(seed: int, ground: Ground, programs: Programs, nursery: Nursery) -> Run:
    """Run one seed to its end and take the measure."""
    chance = Random(seed)  # noqa: S311 - chaos needs no secrets
    plan = drawn(chance, seed)
    began_s = time.monotonic()
    prefix = f"c{seed}-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        url = stack.enter_context(Databases(ground.postgres.url).migrated())
        options = ["--latency-ms", str(plan.latency_ms), "--latency-jitter-ms", str(plan.latency_ms)]
        brokerage = Brokerage(programs, [*_BROKERAGE_KEYS, *options, "--sweep-delay-s", str(plan.sweep_delay_s)])
        brokerage.start()
        stack.callback(brokerage.kill)
        storm = Storm(seed, plan, ground, Topics.with_prefix(prefix), SandboxClient(brokerage.url))
        stack.callback(lambda: asyncio.run(delete_topics(ground.kafka.bootstrap, prefix)))
        storm.prepare(stack, nursery, url)
        told, besides = asyncio.run(storm.run(chance))
        found, left = measure(told), _stuck(url)
        counted = ", ".join(f"{count} {name}" for name, count in sorted(storm.counts.items()))
        types = ", ".join(f"{count} {kind}" for kind, count in Counter(o["type"] for o in told.outcomes).most_common())
        codes = Counter(o["error"]["code"] for o in told.outcomes if o["type"] == "command.rejected")
        refused = ", ".join(f"{count} {code}" for code, count in codes.most_common())
        summary = f"{time.monotonic() - began_s:.0f} s: {counted}; {len(told.calls)} calls; outcomes: {types}; rejected for {refused or 'nothing'}"
        run = Run(seed, plan, found, left, besides, summary)
        if not run.is_clean():
            _keep(run, told, storm.fleet)
    return run


def _stuck(url: str) -> list[str]:
    """Tell of rows that wait without a named wake-up, once the database has come to rest."""
    give_up_at = time.monotonic() + REST_DEADLINE_S
    with psycopg.connect(url, autocommit=True) as connection:
        while (left := list(stuck(connection))) and time.monotonic() < give_up_at:
            time.sleep(0.5)
    return left


def _keep(run: Run, told: Told, fleet: Fleet) -> None:
    """Leave what there is to look at in .chaos/SEED."""
    folder = FOLDER / str(run.seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "plan.txt").write_text(f"{run.plan}\n")
    (folder / "measure.txt").write_text(f"{run.differences()}\n{run.summary}\n")
    for field in fields(told):
        (folder / f"{field.name}.json").write_text(json.dumps(getattr(told, field.name), default=vars, indent=1))
    for log in fleet.logs:
        shutil.copy(log, folder / f"{log.parent.name}.log")


class Arena:
    """What runs share: programs, a nursery, a Kafka with as many detours as runs at once, a Postgres."""

    def __init__(self, stack: ExitStack, at_once: int) -> None:
        self._programs = stack.enter_context(Programs())
        self._nursery = Nursery(self._programs)
        self._detours: SimpleQueue[int] = SimpleQueue()
        ports = [free_port() for _ in range(at_once)]
        self._kafka, self._postgres = _started(self._programs, ports)
        for port in ports:
            self._detours.put(port)

    def run(self, seed: int) -> Run:
        """Run a seed; a run that broke off before its measure could be taken says so."""
        plan = drawn(Random(seed), seed)  # noqa: S311
        try:
            return self._run(seed, plan)
        except* (AssertionError, PartsError, KafkaError, psycopg.Error, OSError, subprocess.TimeoutExpired) as errors:
            told = "; ".join(f"{error!r}" for error in _leaves(errors))
        nothing = Measure(**{field.name: [] for field in fields(Measure)})
        return Run(seed, plan, nothing, [], [f"broke off: {told}"], "")

    def _run(self, seed: int, plan: Plan) -> Run:
        if plan.has_own_parts:
            with Programs() as programs:
                detour = free_port()
                kafka, postgres = _started(programs, [detour])
                return run_seed(seed, Ground(kafka, postgres, detour), programs, self._nursery)
        with self._detour() as detour:
            return run_seed(seed, Ground(self._kafka, self._postgres, detour), self._programs, self._nursery)

    @contextmanager
    def _detour(self) -> Iterator[int]:
        detour = self._detours.get()
        try:
            yield detour
        finally:
            self._detours.put(detour)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _started(programs: Programs, detours: Sequence[int]) -> tuple[Kafka, Postgres]:
    kafka, postgres = Kafka(programs, detours=detours), Postgres(programs)
    start_all(programs, [kafka.start, postgres.start])
    return kafka, postgres


def run_seeds(seeds: Sequence[int], at_once: int) -> Iterator[Run]:
    """Run seeds, so many at once, and give each as it ends."""
    with ExitStack() as stack:
        arena = Arena(stack, at_once)
        pool = ThreadPoolExecutor(at_once)
        try:
            for done in as_completed([pool.submit(arena.run, seed) for seed in seeds]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def story(run: Run) -> str:
    """Say what a run found; with the plan and how to run it again where it found anything."""
    if run.is_clean():
        return f"seed {run.seed}: clean, {run.summary}"
    return (
        f"seed {run.seed}: NOT clean, {run.summary}\n{run.plan}\n{run.differences()}\nagain: make chaos SEED={run.seed}"
    )


def figures(runs: Sequence[Run]) -> str:
    """Sum up the figures over all runs and say what their number proves."""
    sums: Counter[str] = Counter()
    for run in runs:
        sums.update(run.figures())
    told = ", ".join(f"{name} {count}" for name, count in sums.items())
    clean = sum(run.is_clean() for run in runs)
    bound = f"; none in n runs: at 95 % the rate is below 3/n = {3 / len(runs):.3f}" if clean == len(runs) else ""
    return f"n = {len(runs)} runs, {clean} clean: {told}{bound}"


def main() -> int:
    """Run the seeds that are asked for; 1 when any run found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.seeded", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, help="this one seed")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds, from a fresh one on")
    parser.add_argument("--first", type=int, help="the first seed of --runs")
    parser.add_argument("--at-once", type=int, default=3, help="runs at once")
    given = parser.parse_args()
    first = given.first if given.first is not None else secrets.randbelow(10**6)
    seeds = [given.seed] if given.seed is not None else list(range(first, first + given.runs))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # our own clients meet the outages too
    _say(f"seeds {seeds[0]} to {seeds[-1]}")
    runs = []
    for run in run_seeds(seeds, min(given.at_once, len(seeds))):
        runs.append(run)
        _say(story(run))
    _say(figures(runs))
    return 0 if all(run.is_clean() for run in runs) else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
