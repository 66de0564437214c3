"""Who begins with what: pytest's `worksteal` gives each worker a run of tests as they stand, and steals from its end."""

from collections.abc import Sequence
from itertools import groupby

import pytest

SLOWEST = (
    *("chaos/test_crash_points.py", "integration/guarded", "acceptance/test_demo.py", "chaos/test_forgetting.py"),
    *("chaos/test_timers.py", "chaos/test_parts_killed.py", "integration/test_parts.py", "chaos/test_seeded.py"),
    *("chaos/test_kills.py", "acceptance/test_run.py", "chaos/test_zombies.py", "acceptance/test_faults_of_calls.py"),
    *(
        "chaos/test_upgrade.py",
        "acceptance/test_redrive.py",
        "chaos/test_roles.py",
        "acceptance/test_replay.py",
        "acceptance/test_reconcile.py",
    ),
)
"""Files, and folders that share a broker, by the seconds that they take together; dealt to the workers in turn, to and fro."""


def slowest_first(items: Sequence[pytest.Item], workers_count: int) -> list[pytest.Item]:
    """Return the tests so that each worker's run of them begins with its share of the slowest; else as they stand."""
    slow = sorted((one for one in items if _turn(one) < len(SLOWEST)), key=_turn)
    rest = [one for one in items if _turn(one) == len(SLOWEST)]
    hands: list[list[pytest.Item]] = [[] for _ in range(workers_count)]
    for number, (_, together) in enumerate(groupby(slow, _turn)):
        round_, seat = divmod(number, workers_count)
        hands[seat if round_ % 2 == 0 else workers_count - 1 - seat] += together
    found: list[pytest.Item] = []
    for left, hand in zip(range(workers_count, 0, -1), hands, strict=True):
        length = (len(items) - len(found)) // left  # as `worksteal` cuts them
        more = max(0, length - len(hand))
        found += [*hand, *rest[:more]]
        del rest[:more]
    return [*found, *rest]


def _turn(item: pytest.Item) -> int:
    """Say which of `SLOWEST` a test belongs to; their count where to none."""
    return next((turn for turn, slow in enumerate(SLOWEST) if item.nodeid.startswith(f"tests/{slow}")), len(SLOWEST))
