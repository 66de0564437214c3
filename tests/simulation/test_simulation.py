"""A sample of the simulation, each sabotage found by it, and the small worlds explored to their ends."""

import pytest

from tests.simulation.doors import twin
from tests.simulation.explore import Bounds, explore, small_world
from tests.simulation.runs import play, run_seed, shrink
from tests.simulation.sabotage import SABOTAGES, sabotaged
from tests.simulation.tally import tally, told

SAMPLE, SOUGHT_MAX = 1200, 2000


def test_no_promise_is_broken_in_a_sample_of_seeds() -> None:
    with twin():
        found = tally(range(SAMPLE))
        assert not found.broken, "\n".join(line for ran in found.broken for line in told(ran))
    assert found.runs == SAMPLE


def test_a_seed_plays_the_same_story_each_time() -> None:
    with twin():
        first, second = run_seed(7), run_seed(7)
    assert (first.story, first.steps) == (second.story, second.steps)


@pytest.mark.parametrize("name", SABOTAGES)
def test_the_simulation_finds(name: str) -> None:
    with twin(), sabotaged(name):
        for seed in range(SOUGHT_MAX):
            ran = run_seed(seed)
            if ran.breach is not None:
                assert play(ran.scenario, ran.story) == ran.breach
                return
    pytest.fail(f"{SOUGHT_MAX} runs did not notice that {name}")


def test_a_story_that_breaks_a_promise_is_told_short() -> None:
    with twin(), sabotaged("a timeout is read as not sent"):
        ran = next(ran for ran in map(run_seed, range(SOUGHT_MAX)) if ran.breach is not None)
        story = shrink(ran.scenario, ran.story)
        assert play(ran.scenario, story) is not None
        lines = told(ran)
    assert len(story) <= 5 < len(ran.story)
    assert lines[0] == f"seed {ran.seed}: {ran.breach.figure}: {ran.breach.sentence}" if ran.breach else False
    assert lines[-1].split()[0] in {action[0] for action in story}


@pytest.mark.parametrize(
    ("kinds", "bounds"),
    [
        (("cash.adjust", "order.place", "temp.adjust"), Bounds(breaks=1, losses=0)),
        (("cash.adjust", "order.place", "temp.adjust"), Bounds(breaks=0, losses=2)),
        (("temp.adjust", "temp.expire", "cash.adjust"), Bounds(breaks=0, losses=1, commits=1)),
    ],
)
def test_no_promise_is_broken_in_any_state_of_a_small_world(kinds: tuple[str, str, str], bounds: Bounds) -> None:
    with twin():
        found = explore(small_world(*kinds), bounds)
    assert found.breach is None, (found.breach, found.story)
    assert found.states > 200
    assert found.ends > 0


def test_the_exploration_shows_the_shortest_story_of_a_breach() -> None:
    with twin(), sabotaged("a timeout is read as not sent"):
        found = explore(small_world("cash.adjust", "order.place", "temp.adjust"), Bounds(breaks=0, losses=1))
    assert found.breach is not None
    assert found.breach.figure == "doubled"
    assert found.story is not None
    assert len(found.story) == found.depth
