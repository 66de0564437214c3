"""Every story of a small world, by states: all that can be reached, each promise checked in each.

Two workers, two accounts, three commands of differing keyedness, one timer; every interleaving of claim, send, record,
reclaim and due, every answer or its loss, a crash or a freeze at any step. Time goes from one instant at which something
may change to the next, and only when nobody who is not frozen has anything to do: who is slow, is frozen for a while.
What is bounded is in `Bounds`, and is printed. `python -m tests.simulation.explore`.
"""

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.simulation.doors import twin
from tests.simulation.promises import Breach, at_rest
from tests.simulation.scenario import Profile, Scenario, command
from tests.simulation.state import state_of
from tests.simulation.world import Action, World

STEP_S = 1.1
GRID = Profile(
    timeout_s=2 * STEP_S, lease_s=6 * STEP_S, late_s=2 * STEP_S, key_life_s=4 * STEP_S, grace_s=3 * STEP_S,
    sweep_s=2 * STEP_S, notice_s=100.0, ahead_s=STEP_S, moment_s=STEP_S, memory_more_s=2 * STEP_S,
)  # fmt: skip
"""All durations are whole steps of the first back-off, so that instants meet: what comes at once comes in any sequence."""
TOLD_EVERY = 20_000
WORK = ("reclaim", "due", "claim", "send", "finish")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often something may go wrong in one story; everything else is unbounded."""

    breaks: int = 1  # crashes and freezes
    losses: int = 1  # lost requests, lost answers, late effects, refusals
    commits: int = 0  # commits whose answer is lost, with or without the commit


@dataclass(frozen=True, slots=True)
class Explored:
    """What was found: `story` is the shortest that breaks a promise, None where no story does."""

    states: int
    moves: int
    depth: int
    ends: int
    breach: Breach | None
    story: tuple[Action, ...] | None


def small_world(first: str, second: str, third: str) -> Scenario:
    """Two commands of one account and one of another; a temp.adjust has an hour, and so a timer."""
    commands = []
    for number, (command_type, account_no) in enumerate(((first, "A"), (second, "A"), (third, "B")), start=1):
        hour_s = 9 * STEP_S if command_type == "temp.adjust" else None
        target = 1 if command_type in ("order.withdraw", "order.modify", "temp.expire") else None
        commands.append(command(number, command_type, account_no, target=target, hour_s=hour_s))
    return Scenario(tuple(commands), GRID, 2)


WORLDS = (
    (small_world("cash.adjust", "order.place", "temp.adjust"), Bounds(losses=2)),
    (small_world("temp.adjust", "temp.expire", "cash.adjust"), Bounds()),
    (small_world("order.place", "order.withdraw", "temp.adjust"), Bounds()),
)


def explore(scenario: Scenario, bounds: Bounds, *, tell: bool = False) -> Explored:
    """Visit every state that can be reached, the nearest first; stops at the first promise that is broken."""
    world = World(scenario)
    while world.apply(("accept",)):
        pass
    seen = {hash(state_of(world, bounds))}
    came_by: list[tuple[int, Action]] = [(-1, ("accept",))]
    waiting = deque([(0, 0, world, bounds)])
    moves = ends = depth = 0
    while waiting:
        at, depth, world, left = waiting.popleft()
        moved = busy = False
        for action, after in _moves(world, left):
            if action[0] == "next" and busy:
                continue
            ahead = world.copy()
            if not ahead.apply(action):
                continue
            moved, moves = True, moves + 1
            busy |= action[0] in WORK
            known = hash(state_of(ahead, after))
            if ahead.breach is None and known in seen:
                continue
            came_by.append((at, action))
            if ahead.breach is not None:
                return Explored(len(seen), moves, depth + 1, ends, ahead.breach, _story(came_by))
            seen.add(known)
            waiting.append((len(came_by) - 1, depth + 1, ahead, after))
            if tell and len(seen) % TOLD_EVERY == 0:
                print(f"  {len(seen):,} states, {len(waiting):,} to look at, depth {depth}", file=sys.stderr)
        if not moved:
            ends += 1
            breach = at_rest(world.db, world.brokerage)
            if breach is not None:
                return Explored(len(seen), moves, depth, ends, breach, _story(came_by, at))
    return Explored(len(seen), moves, depth, ends, None, None)


def _story(came_by: Sequence[tuple[int, Action]], at: int | None = None) -> tuple[Action, ...]:
    story: list[Action] = []
    at = len(came_by) - 1 if at is None else at
    while at > 0:
        at, action = came_by[at]
        story.append(action)
    return tuple(reversed(story))


def _moves(world: World, left: Bounds) -> Iterator[tuple[Action, Bounds]]:
    """All that may happen next; of two workers that hold nothing, only the first is looked at."""
    yield ("reclaim",), left
    yield ("due",), left
    for i in range(len(world.brokerage.pending)):
        yield ("late", i), left
    idle_seen = False
    for number, worker in enumerate(world.workers):
        idle = not (worker.turns or worker.flights or worker.ended or worker.frozen)
        if idle and idle_seen:
            continue
        idle_seen |= idle
        if worker.frozen:
            yield ("thaw", number), left
            continue
        yield from _work(world, number, left)
        if left.breaks and not idle:
            yield ("crash", number), replace(left, breaks=left.breaks - 1)
            yield ("freeze", number), replace(left, breaks=left.breaks - 1)
    yield ("next",), left


def _work(world: World, number: int, left: Bounds) -> Iterator[tuple[Action, Bounds]]:
    worker = world.workers[number]
    yield ("claim", number, "well", 1), left
    yield ("finish", number, "well"), left
    if left.commits:
        less = replace(left, commits=left.commits - 1)
        for fate in ("rolled_back", "answer_lost"):
            yield ("claim", number, fate, 1), less
            yield ("finish", number, fate), less
    for i, turn in enumerate(worker.turns):
        yield ("send", number, i, "well"), left
        if not left.losses:
            continue
        less = replace(left, losses=left.losses - 1)
        fates = ("unreadable",) if turn.kind == "look" else ("answer_lost", "request_lost", "late", "refused")
        for fate in fates:
            yield ("send", number, i, fate), less


def main() -> int:
    """Explore the small worlds, one after the other; 1 where a promise is broken."""
    states = 0
    for scenario, bounds in WORLDS:
        named = ", ".join(f"{one.command_type} ({one.account_no})" for one in scenario.commands)
        print(f"{named}; 2 workers; {bounds}")
        began_s = time.monotonic()
        with twin():
            found = explore(scenario, bounds, tell=True)
        states += found.states
        told = f"{found.states:,} states, {found.moves:,} moves, depth {found.depth}, {found.ends:,} ends"
        print(f"  {told}, {time.monotonic() - began_s:.0f} s")
        if found.breach is not None:
            print(f"  BROKEN, {found.breach.figure}: {found.breach.sentence}")
            for action in found.story or ():
                print("   ", *action)
            return 1
    print(f"complete: {states:,} states, no promise broken in any")
    return 0


if __name__ == "__main__":
    sys.exit(main())
