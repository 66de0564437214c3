"""Engines that go round: a part that is away is waited for, anything else ends them."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from worker import clock
from worker.app import rounds as engine
from worker.app.rounds import Rounds
from worker.errors import PartUnavailableError
from worker.observe.health import Liveness, Readiness


class Step:
    """Raises or returns what it is given, in turn, then calls `last`."""

    def __init__(self, *answers: float | Exception) -> None:
        self.answers, self.at_s = list(answers), list[float]()
        self.last: Callable[[], None] = lambda: None

    async def __call__(self) -> float:
        await asyncio.sleep(0)
        self.at_s.append(clock.boot_s())
        answer = self.answers.pop(0)
        if not self.answers:
            self.last()
        if isinstance(answer, Exception):
            raise answer
        return answer


async def go_round(step: Step, readiness: Readiness) -> None:
    liveness = Liveness(clock.boot_s)
    liveness.watch("x", 90)
    stopping = asyncio.Event()
    step.last = stopping.set
    async with asyncio.timeout(10):
        await Rounds("x", step, readiness, liveness, structlog.get_logger()).run(stopping)


async def test_a_step_that_has_more_to_do_goes_on_at_once_and_one_that_has_not_waits() -> None:
    step = Step(0.0, 0.2, 0.0)
    await go_round(step, Readiness())
    first, second, third = step.at_s
    assert second - first < 0.15
    assert third - second >= 0.19


async def test_a_part_that_is_away_is_asked_less_and_less_often_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.clock, "jitter", lambda _, high: high)
    waits_s: list[float] = []

    async def wait(_: Rounds, wait_s: float) -> None:
        waits_s.append(wait_s)

    monkeypatch.setattr(Rounds, "_wait", wait)
    readiness = Readiness()
    step = Step(*[PartUnavailableError("Kafka does not answer")] * 3)
    await go_round(step, readiness)
    first, second = waits_s[:2]
    assert second == 2 * first > 0
    assert readiness.reasons() == {"x": "Kafka does not answer"}


async def test_a_part_that_is_back_is_no_reason_any_more() -> None:
    readiness = Readiness()
    await go_round(Step(PartUnavailableError("away"), 0.0), readiness)
    assert readiness.reasons() == {}


async def test_any_other_error_ends_the_engine_loudly() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await go_round(Step(ValueError("odd"), 0.0), Readiness())
    assert raised.group_contains(ValueError, match="odd")


async def test_stopping_cuts_a_wait_short() -> None:
    began_s = clock.boot_s()
    await go_round(Step(60.0), Readiness())
    assert clock.boot_s() - began_s < 5
