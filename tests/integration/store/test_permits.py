"""What a process may begin: borrowed from the fleet, and nothing while the fleet's rate cannot be read."""

import pytest

from tests.integration.store.world import World
from worker.app.budget import Permits
from worker.errors import PartUnavailableError
from worker.settings import Settings
from worker.store.engine import create_engine


def settings(**changes: float) -> Settings:
    return Settings(**{"whale_in_flight_max": 20, "whale_rate_per_s": 1000.0, **changes})


async def filled(world: World, tokens: float) -> None:
    await world.sql("UPDATE rate SET tokens = :t, filled_at = now() + interval '1 hour'", t=tokens)


async def test_calls_are_bounded_by_slots_and_a_part_is_kept_for_urgent_ones(world: World) -> None:
    await filled(world, 100)
    permits = Permits(world.engine, settings())
    assert await permits.available() == (20, 18)
    for _ in range(19):
        permits.begin()
    assert await permits.available() == (1, 0)
    permits.end()
    assert (await permits.available())[0] > 0


async def test_calls_are_bounded_by_what_the_fleet_has_left(world: World) -> None:
    await filled(world, 5)
    slow = settings(whale_rate_per_s=0.1)
    one, other = Permits(world.engine, slow), Permits(world.engine, slow)
    assert await one.available() == (1, 1)
    assert await other.available() == (0, 0)


async def test_nothing_may_begin_while_the_rate_cannot_be_read() -> None:
    engine = create_engine("postgresql://nobody:none@127.0.0.1:1/none")
    with pytest.raises(PartUnavailableError):
        await Permits(engine, settings()).available()
    await engine.dispose()
