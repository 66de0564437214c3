"""What `make` would run: arguments choose parts of a target, and none are left out without being told to."""

import os
import subprocess

import pytest

from tests.tidy.tree import CHECKOUT

MATRIX, SEEDED, FORGETTING = (f"tests.chaos.{name}" for name in ("matrix", "seeded", "forgetting"))

OF_THE_MAKE_ABOVE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS", "RUNS", "SEED", "MINUTES"}
"""`make test ARGS=…` would hand its arguments down."""


def would_run(*arguments: str) -> list[str]:
    """The programs of ours that these targets and variables lead to, with their arguments."""
    env = {name: value for name, value in os.environ.items() if name not in OF_THE_MAKE_ABOVE}
    done = subprocess.run(["make", "-n", *arguments], cwd=CHECKOUT, env=env, capture_output=True, text=True, check=True)
    return [line.partition(" -m ")[2] for line in done.stdout.splitlines() if " -m tests." in line]


@pytest.mark.parametrize(
    ("arguments", "programs"),
    [
        (("chaos",), [f"{MATRIX} ", f"{SEEDED} --runs 20", f"{FORGETTING} --runs 4"]),
        (("chaos", "ARGS=--hits 1"), [f"{MATRIX} --hits 1"]),
        (("chaos", "SEED=7"), [f"{SEEDED} --seed 7"]),
        (("chaos", "RUNS=150"), [f"{SEEDED} --runs 150"]),
        (("simulate",), ["tests.simulation --runs 100000 "]),
        (("simulate", "RUNS=1000", "SEED=7"), ["tests.simulation --runs 1000 --seed 7"]),
        (("soak",), ["tests.chaos.soak --minutes 20"]),
    ],
)
def test_a_target_runs_all_of_its_parts_or_those_that_are_named(
    arguments: tuple[str, ...], programs: list[str]
) -> None:
    assert [program.strip() for program in would_run(*arguments)] == [program.strip() for program in programs]
