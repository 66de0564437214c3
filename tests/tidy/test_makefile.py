"""What `make` would run: arguments choose parts of a target, and none are left out without being told to."""

import pytest

from tests.tidy.tree import plan_of_make

MATRIX, SEEDED, FORGETTING = (f"tests.chaos.{name}" for name in ("matrix", "seeded", "forgetting"))


@pytest.mark.parametrize(
    ("arguments", "programs"),
    [
        (("chaos",), [MATRIX, f"{SEEDED} --runs 20", f"{FORGETTING} --runs 4"]),
        (("chaos", "ARGS=--hits 1"), [f"{MATRIX} --hits 1"]),
        (("chaos", "SEED=7"), [f"{SEEDED} --seed 7"]),
        (("chaos", "RUNS=150"), [f"{SEEDED} --runs 150"]),
        (("simulate",), ["tests.simulation --runs 100000"]),
        (("simulate", "RUNS=1000", "SEED=7"), ["tests.simulation --runs 1000 --seed 7"]),
        (("soak",), ["tests.chaos.soak --minutes 20"]),
    ],
)
def test_a_target_runs_all_of_its_parts_or_those_that_are_named(
    arguments: tuple[str, ...], programs: list[str]
) -> None:
    plan = plan_of_make(*arguments).stdout.splitlines()
    assert [line.partition(" -m ")[2].strip() for line in plan if " -m tests." in line] == programs
