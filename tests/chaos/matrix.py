"""The crash matrix: `python -m tests.chaos.matrix [--points P,…] [--types T,…] [--hits 1,2] [--at-once N]`.

Each point, each of the ten command types and each hit is one run on a real Kafka and Postgres. Prints what it does on stderr and
a table at the end; exits 1 when anything was lost, doubled, misordered, false, early, left out or stuck, or a point was not hit.
"""

import argparse
import asyncio
import logging
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import fields

from tests.chaos.ground import Ground, open_ground
from tests.chaos.points import BY_NAME, HITS, POINTS
from tests.chaos.run import Finding, Run, Runner
from tests.chaos.scenarios import TYPES
from tests.support import parts
from tests.support.database import Databases
from tests.support.measure import Measure

AT_ONCE = 16
"""Most of a run is waiting for a dead worker's lease to end."""


def cells(points: Sequence[str], types: Sequence[str], hits: Sequence[int]) -> list[Run]:
    """Return all runs of these points, types and hits."""
    return [Run(BY_NAME[point], type_, hit) for hit in hits for type_ in types for point in points]


def sample() -> list[Run]:
    """Return a run for each point, its type and its hit taken in turn, so that each type is there several times."""
    return [Run(point, TYPES[n % len(TYPES)], HITS[n // len(TYPES) % len(HITS)]) for n, point in enumerate(POINTS)]


async def run_all(ground: Ground, runs: Sequence[Run]) -> AsyncIterator[Finding]:
    """Do these runs, as many at once as there are places; gives each as it ends."""
    waiting, found = list(reversed(runs)), asyncio.Queue[Finding]()

    async def work(runner: Runner) -> None:
        while waiting:
            found.put_nowait(await runner.run(waiting.pop()))
        await runner.close()

    async with asyncio.TaskGroup() as group:
        for place in ground.places:
            group.create_task(work(Runner(ground, place)))
        for _ in runs:
            yield await found.get()


def figures(findings: Sequence[Finding]) -> dict[str, int]:
    """Count the seven figures over all runs; what has no terminal outcome and is not parked is stuck, too."""
    counted: Counter[str] = Counter()
    for one in findings:
        counted["stuck"] += len(one.stuck)
        for field in fields(Measure):
            name = "stuck" if field.name == "unanswered" else field.name
            counted[name] += len(getattr(one.measure, field.name)) if one.measure else 0
    names = ["lost", "doubled", "misordered", "false", "early", "gaps", "stuck"]
    return {name: counted[name] for name in names}


async def _main(asked: argparse.Namespace, bootstrap: str, database: str) -> int:
    runs = cells(asked.points, asked.types, asked.hits) if not asked.sample else sample()
    began_s, findings = time.monotonic(), list[Finding]()
    async with open_ground(bootstrap, Databases(database), min(asked.at_once, len(runs))) as ground:
        async for finding in run_all(ground, runs):
            findings.append(finding)
            _tell(finding, len(findings), len(runs))
    _print_table(findings, time.monotonic() - began_s)
    return 0 if all(one.is_clean() for one in findings) else 1


def _tell(finding: Finding, number: int, count: int) -> None:
    run, clean = finding.run, finding.is_clean()
    name = f"{run.point.name}, {run.type_}, hit {run.hit}"
    _say(f"{number}/{count} {'clean' if clean else 'NOT CLEAN'} {name} {finding.seconds:.1f} s")
    for story in finding.stories():
        _say(f"    {story}")
    if not clean:
        _say(f"    again: {run.again}")


def _print_table(findings: Sequence[Finding], seconds: float) -> None:
    points = {one.run.point.name for one in findings}
    unclean = [one for one in findings if not one.is_clean()]
    lines = [
        ("runs", len(findings)),
        ("points", len(points)),
        ("command types", len({one.run.type_ for one in findings})),
        ("kills", sum(one.kills for one in findings)),
        *figures(findings).items(),
        ("not clean", len(unclean)),
        ("seconds", round(seconds)),
        ("of processor", round(_cpu_s())),
    ]
    for name, value in lines:
        print(f"{name:14} {value}")  # noqa: T201
    for one in unclean:
        print(f"again: {one.run.again}")  # noqa: T201


def _cpu_s() -> float:
    """Return the seconds of processor of this process and what it started and saw end: not of a Kafka or Postgres that was there."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _names(known: Sequence[str]) -> object:
    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := sorted(set(names) - set(known)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return names

    return read


def main() -> None:
    """Run what was asked for; all of it when nothing is."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.matrix", description="Kill workers everywhere.")
    parser.add_argument("--points", type=_names([*BY_NAME]), default=[*BY_NAME], metavar="P,…")
    parser.add_argument("--types", type=_names(TYPES), default=list(TYPES), metavar="T,…")
    parser.add_argument("--hits", type=lambda text: [int(one) for one in text.split(",")], default=list(HITS))
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N")
    parser.add_argument("--sample", action="store_true", help="each point once, types and hits in turn")
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what its clients retry is no news
    with ExitStack() as stack:
        parts.start_missing(stack)
        sys.exit(asyncio.run(_main(asked, os.environ[parts.KAFKA], os.environ[parts.DATABASE])))


if __name__ == "__main__":
    main()
