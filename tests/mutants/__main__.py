"""`python -m tests.mutants [NAME …]`: each sabotage in a copy of the checkout, where a test that is meant for it must not pass."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant, MutantError, mutants
from tests.support import parts
from tests.tidy import tree

DEADLINE_S = 300
PLUGINS = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")
"""All that these tests need: to load the others takes as long as most of the tests, and one of them shuffles."""
NOT_STARTED = "no-kafka-for-mutants.invalid:9092"
# a test that did not come to its end has judged nothing, and one that could not begin neither (pytest calls it ERROR)
_FAILED = re.compile(r"^FAILED (\S+?::\S+)(?: - (?!.*Timeout \(>).*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one sabotage: the test that killed it, or why none did."""

    name: str
    killer: str | None
    why: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run those named, or all; 1 unless each was killed, 2 where one cannot be tried."""
    reader = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    reader.add_argument("names", nargs="*", help="file names without `.patch`, or their beginnings; none: all")
    names: list[str] = reader.parse_args(arguments).names
    began_s = time.monotonic()
    try:
        chosen = _chosen(names)
        with ExitStack() as stack:
            _start_postgres(stack)
            unharmed = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unharmed-")))
            _copy_checkout(unharmed)
            _check_unharmed(unharmed, chosen)
            verdicts = [_try(one, unharmed, f"{number}/{len(chosen)}") for number, one in enumerate(chosen, 1)]
    except (MutantError, subprocess.TimeoutExpired) as error:
        _say(str(error))
        return 2
    _print(verdicts)
    killed = sum(1 for one in verdicts if one.killer)
    print(f"{killed} of {len(verdicts)} killed, {time.monotonic() - began_s:.0f} s")
    return 0 if killed == len(verdicts) else 1


def _chosen(names: Sequence[str]) -> list[Mutant]:
    chosen = [one for one in mutants() if not names or one.name.startswith(tuple(names))]
    if not chosen:
        raise MutantError(f"no mutant is called {' or '.join(names)}")
    return chosen


def _start_postgres(stack: ExitStack) -> None:
    """Start what all runs share. No test of a mutant needs Kafka; one that did would not pass without the sabotage either."""
    os.environ.setdefault(parts.KAFKA, NOT_STARTED)
    parts.start_missing(stack)


def _copy_checkout(folder: Path) -> None:
    for path in tree.files():
        copy = folder / tree.name(path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)


def _check_unharmed(unharmed: Path, chosen: Sequence[Mutant]) -> None:
    """Let all tests of these mutants pass once; what Python compiles for it serves the copies, too."""
    tests = sorted({test for one in chosen for test in one.tests})
    _say(f"{len(tests)} tests without any sabotage …")
    done = _pytest(unharmed, tests, deadline_s=DEADLINE_S + 30 * len(tests))
    if done.returncode != 0:
        raise MutantError(f"the tests must pass where nothing is sabotaged:\n{done.stdout}{done.stderr}")


def _try(mutant: Mutant, unharmed: Path, place: str) -> Verdict:
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        checkout = shutil.copytree(unharmed, Path(folder, "checkout"))
        for path, text in mutant.mutated(lambda path: (unharmed / path).read_text()).items():
            (checkout / path).write_text(text)
        try:
            killer, why = _killer(_pytest(checkout, mutant.tests, "-x"))
        except subprocess.TimeoutExpired:
            killer, why = None, f"its tests had not ended after {DEADLINE_S} s"
    verdict = Verdict(mutant.name, killer, why, time.monotonic() - began_s)
    _say(f"{place} {mutant.name}: {killer or f'SURVIVED, {why}'} ({verdict.seconds:.0f} s)")
    return verdict


def _killer(done: "subprocess.CompletedProcess[str]") -> tuple[str | None, str]:
    """Name the test that went wrong; a collection that broke, or a test that only ran out of time, is no kill."""
    if done.returncode == 0:
        return None, "its tests pass"
    found = _FAILED.search(done.stdout)
    if done.returncode == 1 and found is not None:
        return found[1], ""
    return None, f"pytest ended with {done.returncode} and no test that judged it:\n{done.stdout[-4000:]}{done.stderr}"


def _pytest(
    checkout: Path, tests: Sequence[str], *options: str, deadline_s: float = DEADLINE_S
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", *PLUGINS, *options, *tests]
    env = {name: value for name, value in os.environ.items() if name != parts.CHOICE}
    # wide, so that the summary cuts no line
    env |= {"COLUMNS": "1000", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=checkout, env=env, capture_output=True, text=True, timeout=deadline_s, check=False
    )


def _print(verdicts: Sequence[Verdict]) -> None:
    width = max(len(one.name) for one in verdicts)
    print(f"{'mutant':{width}}  {'s':>4}  killed by")
    for one in verdicts:
        print(f"{one.name:{width}}  {one.seconds:4.0f}  {one.killer or 'NOBODY'}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
