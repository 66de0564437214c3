"""The relay engine with a double for what it publishes: woken where little goes out, at its own pace where much does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import structlog

from tests.support.waiting import wait_until_async
from worker import clock
from worker.app import relay as engine
from worker.app.relay import Relay
from worker.app.rounds import Rounds, Step
from worker.errors import PartUnavailableError
from worker.observe.health import Liveness, Readiness


class Published:
    """Gives so many rows in each round, then none; `has_more` never."""

    has_more = False

    def __init__(self, *counts: int | Exception) -> None:
        self._counts = list(counts)
        self.rounds = 0
        self.left = self.closed = False

    async def hold(self) -> None: ...

    async def publish(self) -> int:
        self.rounds += 1
        count = self._counts.pop(0) if self._counts else 0
        if isinstance(count, Exception):
            raise count
        return count

    async def leave(self) -> None:
        self.left = True

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """No round begins by itself within a test, and one that is woken begins at once."""
    monkeypatch.setattr(engine, "PACE_S", 600.0)
    monkeypatch.setattr(engine, "PACE_MAX_S", 600.0)


@asynccontextmanager
async def running(published: Published) -> AsyncIterator[Relay]:
    liveness = Liveness(clock.boot_s)
    liveness.watch("relay", 90)

    def rounds(name: str, step: Step) -> Rounds:
        return Rounds(name, step, Readiness(), liveness, structlog.get_logger())

    relay = Relay(cast("Any", published), rounds, structlog.get_logger())
    last_out = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(relay.run(last_out))
        try:
            yield relay
        finally:
            last_out.set()


async def test_what_is_recorded_while_little_goes_out_begins_a_round() -> None:
    published = Published(1, 1, 1)
    async with running(published) as relay:
        for rounds in (1, 2, 3):
            await wait_until_async(lambda rounds=rounds: published.rounds == rounds, 5)
            relay.wake()


async def test_while_much_goes_out_rounds_keep_their_own_pace() -> None:
    published = Published(1, 1_000_000)
    async with running(published) as relay:
        await wait_until_async(lambda: published.rounds == 1, 5)
        relay.wake()
        await wait_until_async(lambda: published.rounds == 2, 5)
        for _ in range(50):
            relay.wake()
            await asyncio.sleep(0)
        assert published.rounds == 2


async def test_at_the_end_all_that_is_left_goes_out_and_the_shards_are_given_up() -> None:
    published = Published(0, 3, 2)
    async with running(published):
        await wait_until_async(lambda: published.rounds == 1, 5)
    assert published.rounds == 4, "two rounds with rows, and one that found none"
    assert (published.left, published.closed) == (True, True)


async def test_a_part_that_is_away_at_the_end_keeps_nobody_from_ending() -> None:
    published = Published(0, PartUnavailableError("Kafka is away"))
    async with running(published):
        await wait_until_async(lambda: published.rounds == 1, 5)
    assert (published.left, published.closed) == (False, True)
