"""How much of what is in doubt may be asked about at once, as a claim is told it."""

from tests.integration.store.test_claim import book
from tests.integration.store.world import DOUBT, World
from tests.support.commands import new_account
from worker.pipeline.policy import Repeats


async def test_what_is_in_doubt_goes_on_no_faster_than_it_may_and_what_is_new_goes_at_once(world: World) -> None:
    resent, looked_at, expiring, new = (new_account() for _ in range(4))
    await book(world, expiring, 100)
    await world.age(101)
    await world.wake_due()
    await world.go(DOUBT)
    await world.accept_new("cash.adjust", resent)
    await world.accept_new("order.place", looked_at)
    for turn in await world.claim():
        await world.finish(turn, DOUBT)

    async def claimed(most: int) -> list[str]:
        await world.age(41)
        await world.wake()
        await world.wake_due()
        return [turn.command.account_no for turn in await world.claim(repeats=Repeats(most, 40, 40))]

    await world.accept_new("cash.adjust", new)
    assert await claimed(0) == [new]
    waits = "extract(epoch FROM wake_at - now())"
    lanes = await world.sql(f"SELECT account_no, {waits} AS s, hold_reason FROM lanes WHERE state = 'held'")
    assert {lane.account_no for lane in lanes} == {resent, looked_at}
    assert all(30 < lane.s <= 40 and "in doubt" in lane.hold_reason for lane in lanes)
    assert 30 < (await world.one(f"SELECT {waits} AS s FROM timers WHERE state = 'armed'")).s <= 40
    gone = [*await claimed(1), *await claimed(1), *await claimed(1)]
    assert sorted(gone) == sorted([resent, looked_at, expiring])
