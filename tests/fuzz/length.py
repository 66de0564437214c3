"""Runs the properties at length: many rounds of fresh examples over all cores, examples counted, what breaks told."""

import argparse
import importlib
import io
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.reporting import with_reporter

ROUND_EXAMPLES = 100
LINE_MAX = 300
SLICES = 4
"""Turns of each property: with more of them, all end at about the same time."""


@dataclass(frozen=True)
class Ran:
    """What one turn of one property gave: `found` is the reproducing example and its traceback."""

    name: str
    examples: int
    found: str | None


def properties() -> Iterator[str]:
    """Name every property as module:function."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.fuzz.{path.stem}")
        for name, one in vars(module).items():
            if getattr(one, "is_hypothesis_test", False):
                yield f"{module.__name__}:{name}"


def turn(name: str, for_s: float) -> Ran:
    """Try one property in rounds of fresh examples until its time is over or one is found that breaks it."""
    module, _, function = name.partition(":")
    ends_at = time.monotonic() + for_s
    settings.register_profile(
        "at length",
        max_examples=ROUND_EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("at length")
    tested = getattr(importlib.import_module(module), function)  # takes the settings that are in force now
    with _counted(tested) as count:
        while time.monotonic() < ends_at:
            told: list[str] = []
            try:
                with with_reporter(told.append), redirect_stdout(io.StringIO()):
                    tested()
            except Exception:  # noqa: BLE001 - the outermost report of a property
                return Ran(name, count[0], _cut("\n".join([*told, traceback.format_exc()])))
        return Ran(name, count[0], None)


def _cut(text: str) -> str:
    return "\n".join(line if len(line) <= LINE_MAX else f"{line[:LINE_MAX]} …" for line in text.splitlines())


@contextmanager
def _counted(tested: Any) -> Iterator[list[int]]:
    """Count the examples while the block lasts."""
    inner: Callable[..., Any] = tested.hypothesis.inner_test
    count = [0]

    def counting(*arguments: Any, **named: Any) -> Any:
        count[0] += 1
        return inner(*arguments, **named)

    tested.hypothesis.inner_test = counting
    try:
        yield count
    finally:
        tested.hypothesis.inner_test = inner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for so many minutes; 1 where a property was broken."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    reader.add_argument("--minutes", type=float, default=10.0)
    reader.add_argument("--only", default="", help="properties whose name holds this pattern")
    given = reader.parse_args(arguments)
    names = [name for name in properties() if re.search(given.only, name)]
    cores = os.cpu_count() or 1
    share_s = given.minutes * 60 * cores / max(1, len(names)) / SLICES
    counts, broken = dict.fromkeys(names, 0), dict[str, str]()
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        turns = [pool.submit(turn, name, share_s) for _ in range(SLICES) for name in names]
        for done in as_completed(turns):
            ran = done.result()
            counts[ran.name] += ran.examples
            if ran.found is not None and ran.name not in broken:
                broken[ran.name] = ran.found
                print(f"BROKEN {ran.name}\n{ran.found}", flush=True)
    for name in names:
        print(f"{counts[name]:>9}  {'BROKEN' if name in broken else 'holds '}  {name.removeprefix('tests.fuzz.')}")
    print(f"{sum(counts.values())} examples of {len(names)} properties, {len(broken)} broken")
    return 1 if broken else 0
