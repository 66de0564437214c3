"""Two of the seeded runs; `make chaos` draws fresh ones."""

import pytest

from tests.chaos.schedule import drawn
from tests.chaos.seeded import figures, run_seeds, story
from tests.support.workload import seeded

SEEDS = (108, 241)
"""108 once found an end that was put down to the brokerage wrongly. What else was found has tests of its own."""


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_misordered_false_early_or_stuck_whatever_goes_wrong() -> None:
    runs = list(run_seeds(list(SEEDS), at_once=2))
    told = "\n".join(map(story, runs))
    print(told)  # noqa: T201 - pytest shows it with a test that went wrong
    assert all(run.is_clean() for run in runs), f"\n{told}\n{figures(runs)}"


def test_what_goes_wrong_is_a_function_of_the_seed() -> None:
    chance = seeded()
    seed = chance.randrange(10**6)
    assert str(drawn(type(chance)(seed), seed)) == str(drawn(type(chance)(seed), seed))
    assert len({str(drawn(type(chance)(seed), seed)) for seed in range(20)}) == 20
