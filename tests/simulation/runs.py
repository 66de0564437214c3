"""A random story from a seed, then calm until nothing moves; and a story that breaks a promise made short."""

import random  # noqa: TID251 - the twin's chance is its own, and comes from a seed
from dataclasses import dataclass

from tests.simulation.brokerage import FATES
from tests.simulation.promises import Breach, at_rest
from tests.simulation.scenario import Scenario, scenario
from tests.simulation.world import Action, World

STEPS_MIN, STEPS_MAX = 20, 60
ROUNDS_MAX = 150
COMMITS = ("well",) * 12 + ("rolled_back", "answer_lost")
SENDS = ("well",) * 8 + FATES
LOOKS = ("well", "well", "well", "unreadable")
WAITS_S = (0.4, 1.1, 3.0, 9.0, 12.0, 25.0, 60.0)


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: the story as far as it did something, and the promise it broke, if any."""

    seed: int
    scenario: Scenario
    story: tuple[Action, ...]
    steps: int
    breach: Breach | None


def run_seed(seed: int) -> Ran:
    """Run the story of a seed."""
    chance = random.Random(seed)  # noqa: S311
    world = World(scenario(chance))
    story: list[Action] = []
    for _ in range(chance.randint(STEPS_MIN, STEPS_MAX)):
        action = _next_action(chance, world)
        if world.apply(action):
            story.append(action)
        if world.breach is not None:
            return Ran(seed, world.scenario, tuple(story), len(story), world.breach)
    breach, calm_steps = calm(world)
    return Ran(seed, world.scenario, tuple(story), len(story) + calm_steps, breach)


def play(given: Scenario, story: tuple[Action, ...]) -> Breach | None:
    """Play a story again, then calm; actions that cannot be done are passed over."""
    world = World(given)
    for action in story:
        world.apply(action)
        if world.breach is not None:
            return world.breach
    return calm(world)[0]


def _next_action(chance: random.Random, world: World) -> Action:
    """Draw what happens next: mostly the work goes on, sometimes time passes, seldom something breaks."""
    drawn = chance.random()
    number = chance.randrange(len(world.workers))
    worker = world.workers[number]
    if drawn < 0.06 and world.accepted < len(world.scenario.commands):
        return ("accept",)
    if drawn < 0.62:
        return _work(chance, world, number)
    if drawn < 0.76:
        return ("next",)
    if drawn < 0.80:
        return "time", chance.choice(WAITS_S)
    if drawn < 0.89:
        return (chance.choice(("reclaim", "due", "due", "over", "tell", "watch", "reclaim")),)
    if worker.frozen:
        return ("thaw", number) if drawn < 0.96 else ("crash", number)
    if drawn < 0.95:
        return chance.choice(("crash", "freeze", "freeze")), number
    if drawn < 0.97:
        return "late", chance.randrange(2)
    if drawn < 0.98:
        return ("fill",)
    return "person", chance.randrange(2), chance.randrange(2)


def _work(chance: random.Random, world: World, number: int) -> Action:
    worker = world.workers[number]
    if worker.turns:
        index = chance.randrange(len(worker.turns))
        return "send", number, index, chance.choice(LOOKS if worker.turns[index].kind == "look" else SENDS)
    if worker.ended and chance.random() < 0.8:
        return "finish", number, chance.choice(COMMITS)
    if world.accepted < len(world.scenario.commands) and chance.random() < 0.3:
        return ("accept",)
    return "claim", number, chance.choice(COMMITS), chance.choice((1, 1, 100))


def calm(world: World) -> tuple[Breach | None, int]:
    """Let nothing break any more until nothing moves; returns what is wrong then, and how many steps that took."""
    steps = 0
    for number in range(len(world.workers)):
        steps += world.apply(("thaw", number))
    while world.apply(("accept",)):
        steps += 1
    for _ in range(ROUNDS_MAX):
        moved = _round(world)
        steps += moved
        if world.breach is not None:
            return world.breach, steps
        if not moved and not world.apply(("next",)):
            return at_rest(world.db, world.brokerage), steps
    return Breach("stuck", "it does not come to rest"), steps


def _round(world: World) -> int:
    moved = sum(world.apply((word,)) for word in ("reclaim", "due", "over", "tell", "watch"))
    for number, worker in enumerate(world.workers):
        moved += world.apply(("claim", number))
        while worker.turns:
            moved += world.apply(("send", number, 0, "well"))
        moved += world.apply(("finish", number))
    return moved


def shrink(given: Scenario, story: tuple[Action, ...]) -> tuple[Action, ...]:
    """Leave out, and make harmless, what the story does not need to break a promise: chunks first, then one by one."""
    size = max(1, len(story) // 2)
    while size:
        start = 0
        while start < len(story):
            shorter = story[:start] + story[start + size :]
            if play(given, shorter) is not None:
                story = shorter
            else:
                start += size
        size //= 2
    for i, action in enumerate(story):
        for milder in _milder(action):
            if play(given, (*story[:i], milder, *story[i + 1 :])) is not None:
                story = (*story[:i], milder, *story[i + 1 :])
                break
    return story


def _milder(action: Action) -> list[Action]:
    if action[0] in ("send", "finish", "claim") and "well" not in action:
        fates = ("well", "answer_lost", "request_lost") if action[0] == "send" else ("well",)
        at = 3 if action[0] == "send" else 2
        return [(*action[:at], fate, *action[at + 1 :]) for fate in fates if fate != action[at]]
    return []
