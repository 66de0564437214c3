"""The slowest tests are begun first, each worker with its share, and none is lost on the way."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.turns import SLOWEST, slowest_first
from tests.support.worker import CHECKOUT


@dataclass(frozen=True)
class Item:
    nodeid: str


def standing(*, slow: int, quick: int) -> list[Any]:
    """Tests as they are found: two of each slow file, and others before, between and behind."""
    others = [Item(f"tests/unit/test_one.py::test_{number}") for number in range(quick)]
    files = [Item(f"tests/{name}::test_{number}") for number in range(2) for name in reversed(SLOWEST[:slow])]
    return [*others[: quick // 2], *files, *others[quick // 2 :]]


def test_each_worker_begins_with_its_share_of_the_slowest_and_has_each_file_whole() -> None:
    found = [item.nodeid for item in slowest_first(standing(slow=8, quick=4 * 96), 4)]
    shares = [found[start : start + 100] for start in range(0, 400, 100)]
    files = [list(dict.fromkeys(name.partition("::")[0].removeprefix("tests/") for name in share)) for share in shares]
    turns = [[SLOWEST.index(name) for name in names if name in SLOWEST] for names in files]
    assert turns == [[0, 7], [1, 6], [2, 5], [3, 4]]
    assert all(name.startswith("tests/unit") for share in shares for name in share[4:])


@pytest.mark.parametrize("workers_count", [1, 3, 4, 7])
def test_no_test_is_lost_or_doubled_whatever_the_count_of_workers(workers_count: int) -> None:
    for slow, quick in ((0, 0), (0, 5), (16, 0), (9, 2), (16, 1000)):
        items = standing(slow=slow, quick=quick)
        found = slowest_first(items, workers_count)
        assert sorted(one.nodeid for one in found) == sorted(one.nodeid for one in items)


def test_what_is_called_slow_is_there() -> None:
    assert [name for name in SLOWEST if not (CHECKOUT / "tests" / name).exists()] == []
