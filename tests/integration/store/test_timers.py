"""What happens because time passed: the database's time alone."""

import asyncio
from datetime import timedelta

import pytest

from tests.integration.store.world import DOUBT, FAILED, UNSENT, World, done
from tests.support.commands import new_account
from tests.support.waiting import wait_until_async
from worker import clock
from worker.pipeline.turn import EXPIRY


@pytest.fixture
def account() -> str:
    return new_account()


def hour(ahead_s: float = 3600) -> str:
    return (clock.utc_now() + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def book(world: World, account: str, ahead_s: float = 100) -> str:
    command_id = await world.accept_new("temp.adjust", account, {"expires_at": hour(ahead_s)})
    await world.go(done(adjust_no="TA1"))
    return command_id


async def test_no_timer_is_due_before_its_hour_by_the_databases_clock(
    world: World, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await book(world, account)
    monkeypatch.setattr(clock, "utc_now", lambda: clock.datetime(2099, 1, 1, tzinfo=clock.UTC))
    monkeypatch.setattr(clock, "wall_s", lambda: 4e9)
    assert await world.wake_due() == 0
    await world.sql("UPDATE timers SET wake_at = now() + interval '50 ms', due_at = now()")
    before = await world.one("SELECT wake_at FROM timers")
    await wait_until_async(world.wake_due, 10)
    assert (await world.one("SELECT now() AS now")).now >= before.wake_at


async def test_due_loops_at_once_make_each_timer_due_once(world: World) -> None:
    for _ in range(6):
        await book(world, new_account())
    await world.age(101)
    assert sum(await asyncio.gather(*(world.wake_due() for _ in range(4)))) == 6
    assert {turn.kind for turn in await world.claim()} == {EXPIRY}


async def test_an_expiry_that_the_brokerage_confirms_ends_the_adjustment_by_the_timer(
    world: World, account: str
) -> None:
    adjust = await book(world, account)
    await world.age(101)
    await world.wake_due()
    await world.go(done(adjust_no="TA1"))
    booked, ended = await world.outcomes(account)
    assert (booked["type"], ended["type"]) == ("command.succeeded", "temp_adjustment.expired")
    assert (ended["command_id"], ended["command_type"], ended["attempts"]) == (adjust, "temp.adjust", 1)
    assert (ended["result"]["ended_by"], ended["result"]["basis"]) == ("timer", "answer")
    assert await world.sql("SELECT 1 FROM timers") == []


async def test_a_temp_expire_disarms_the_timer_as_it_succeeds(world: World, account: str) -> None:
    adjust = await book(world, account)
    await world.accept_new("temp.expire", account, {"adjust": {"command_id": adjust}})
    turn = await world.claim_one()
    assert len(await world.sql("SELECT 1 FROM timers")) == 1
    await world.finish(turn, done(adjust_no="TA1"))
    assert await world.sql("SELECT 1 FROM timers") == []
    ended = (await world.outcomes(account))[-1]
    assert (ended["command_id"], ended["result"]["ended_by"]) == (adjust, "command")
    assert (await world.types(account))[1:] == ["command.succeeded", "temp_adjustment.expired"]


async def test_a_temp_expire_refused_at_first_leaves_the_timer_armed(world: World, account: str) -> None:
    adjust = await book(world, account)
    await world.accept_new("temp.expire", account, {"adjust": {"command_id": adjust}})
    await world.go(FAILED)
    assert (await world.types(account))[-1] == "command.rejected"
    assert (await world.one("SELECT state FROM timers")).state == "armed"


async def test_an_expiry_and_a_late_expire_end_an_adjustment_once(world: World, account: str) -> None:
    adjust = await book(world, account)
    await world.accept_new("temp.expire", account, {"adjust": {"command_id": adjust}})
    lost = await world.claim_one()
    await world.age(101)
    await world.reclaim()
    await world.wake_due()
    await world.go(done(adjust_no="TA1"))
    await world.finish(lost, done(adjust_no="TA1"))
    told = await world.types(account)
    assert told.count("temp_adjustment.expired") == 1
    assert told.count("command.succeeded") == 2


@pytest.mark.parametrize(("doubt", "ended_by"), [(False, "brokerage"), (True, "unknown")])
async def test_the_brokerages_own_sweep_is_told_from_what_nobody_knows(
    world: World, account: str, doubt: bool, ended_by: str
) -> None:
    await book(world, account)
    await world.age(101)
    for answer in (DOUBT if doubt else UNSENT, FAILED, FAILED):
        await world.wake_due()
        await world.go(answer)
        assert "temp_adjustment.expired" not in await world.types(account)
        await world.age(31)
    await world.age(120)
    await world.wake_due()
    await world.go(FAILED)
    ended = (await world.outcomes(account))[-1]
    assert (ended["type"], ended["result"]["ended_by"]) == ("temp_adjustment.expired", ended_by)
    assert await world.sql("SELECT 1 FROM timers UNION ALL SELECT 1 FROM doubts") == []


async def test_a_watch_ends_an_adjustment_without_a_number_at_hour_and_grace(world: World, account: str) -> None:
    await book(world, account)
    await world.sql("UPDATE temp_adjustments SET adjust_no = NULL")
    await world.sql("UPDATE timers SET kind = 'watch'")
    await world.age(101)
    assert await world.wake_due() == 0
    assert await world.end_watched() == 0
    await world.age(110)
    assert await world.end_watched() == 0
    await world.age(15)
    assert sum(await asyncio.gather(world.end_watched(), world.end_watched())) >= 1
    ended = (await world.outcomes(account))[-1]
    assert (ended["type"], ended["result"]["ended_by"]) == ("temp_adjustment.expired", "unknown")
    assert (await world.types(account)).count("temp_adjustment.expired") == 1


async def test_a_doubt_that_lasts_is_told_of_once(world: World, account: str) -> None:
    command_id = await world.accept_new("cash.adjust", account)
    await world.go(DOUBT)
    assert await world.tell_doubts() == 0
    await world.age(6)
    assert sum(await asyncio.gather(*(world.tell_doubts() for _ in range(3)))) == 1
    await world.wake()
    await world.go(DOUBT)
    await world.age(40)
    assert await world.tell_doubts() == 0
    [told] = await world.outcomes(account)
    assert (told["type"], told["command_id"], told["command_type"]) == ("command.in_doubt", command_id, "cash.adjust")


async def test_a_doubt_of_an_expiry_names_the_adjustment_and_temp_expire(world: World, account: str) -> None:
    adjust = await book(world, account)
    await world.age(101)
    await world.wake_due()
    await world.go(DOUBT)
    await world.age(6)
    assert await world.tell_doubts() == 1
    told = (await world.outcomes(account))[-1]
    assert (told["type"], told["command_id"], told["command_type"]) == ("command.in_doubt", adjust, "temp.expire")


async def test_every_open_adjustment_has_a_timer(world: World, account: str) -> None:
    await book(world, account)
    missing = "SELECT 1 FROM temp_adjustments a LEFT JOIN timers t USING (command_id) WHERE (ended_at IS NULL) <> (t.command_id IS NOT NULL)"
    assert await world.sql(missing) == []
    await world.age(101)
    await world.wake_due()
    assert await world.sql(missing) == []
    await world.go(done(adjust_no="TA1"))
    assert await world.sql(missing) == []


async def test_the_brokerage_is_not_said_to_have_ended_what_a_doubtful_temp_expire_may_have(
    world: World, account: str
) -> None:
    adjust = await book(world, account)
    await world.accept_new("temp.expire", account, {"adjust": {"command_id": adjust}})
    await world.go(DOUBT)
    await world.age(400)
    for _ in range(2):
        await world.wake_due()
        await world.go(FAILED)
        await world.age(3)
    told = [one for one in await world.outcomes(account) if one["type"] == "temp_adjustment.expired"]
    assert [one["result"]["ended_by"] for one in told] == ["unknown"]
