"""What the long run calls flat."""

from collections.abc import Callable

import pytest

from tests.chaos.soak import SLACKS, judged


def samples(memory_mb: Callable[[int], float]) -> list[dict[str, float]]:
    return [{"at_s": 5.0 * n, "memory_mb_0": memory_mb(n), "latency_p50_ms": 20.0} for n in range(240)]


@pytest.mark.parametrize(
    ("memory_mb", "flat"),
    [
        (lambda _: 120.0, True),
        (lambda n: min(120.0, 60.0 + n), True),  # warm-up
        (lambda n: 120.0 + 15 * (n % 7 == 0), True),  # peaks
        (lambda n: 60.0 + n, False),  # a leak
        (lambda n: 120.0 if n < 180 else 160.0, False),  # a step
    ],
    ids=["level", "warm-up", "peaks", "leak", "step"],
)
def test_a_figure_is_flat_unless_its_last_quarter_lies_above_its_third(
    memory_mb: Callable[[int], float], *, flat: bool
) -> None:
    found = {one.name: one.is_flat for one in judged(samples(memory_mb))}
    assert found == {"memory_mb_0": flat, "latency_p50_ms": True}


def test_every_figure_has_a_slack_in_its_own_unit() -> None:
    with pytest.raises(StopIteration):
        judged([{"at_s": float(n), "unheard_of": 1.0} for n in range(8)])
    assert all(slack > 0 for slack in SLACKS.values())
