"""What came of a turn, recorded once, whatever became of its lease."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.integration.store.world import DOUBT, POOR, UNSENT, World, done
from tests.support.commands import new_account
from tests.support.waiting import wait_until_async
from worker import clock
from worker.errors import PartUnavailableError
from worker.ledger.verdicts import Absent, Confirmed, Numbers, Refused, Seen
from worker.pipeline import claim
from worker.pipeline.claim import ClaimUnsureError
from worker.pipeline.turn import LOOK, Ended
from worker.store.engine import transaction

LEASE_S = 31.0
HORIZON_S = 155.0
KEY_LIFE_S = 601.0


@pytest.fixture
def account() -> str:
    return new_account()


async def fall_silent(world: World) -> None:
    """The owner of what is leased does not report, and its lanes are taken back."""
    await world.age(LEASE_S)
    assert await world.reclaim() == 1


async def test_what_was_confirmed_succeeds_and_the_next_command_has_its_turn(world: World, account: str) -> None:
    first = await world.accept_new("cash.freeze", account)
    second = await world.accept_new("cash.freeze", account)
    turn = await world.claim_one()
    assert str(turn.command.command_id) == first
    await world.finish(turn, done(serial_num="S1"))
    [told] = await world.outcomes(account)
    assert (told["type"], told["result"]["serial_num"], told["attempts"]) == ("command.succeeded", "S1", 1)
    assert str((await world.claim_one()).command.command_id) == second


async def test_finishing_twice_changes_nothing(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account)
    turn = await world.claim_one()
    ended = Ended(turn, done(serial_num="S1"), clock.boot_s())
    await world.finishing.finish([ended])
    before = await world.lane(account)
    await world.finishing.finish([ended])
    await world.finishing.finish([ended, ended])
    assert await world.types(account) == ["command.succeeded"]
    assert await world.lane(account) == before


async def test_two_finishes_of_one_answer_at_once_tell_of_it_once(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account)
    ended = Ended(await world.claim_one(), done(serial_num="S1"), clock.boot_s())
    await asyncio.gather(*(world.finishing.finish([ended]) for _ in range(4)))
    assert await world.types(account) == ["command.succeeded"]


async def test_an_answer_without_the_fence_is_recorded_and_leaves_the_lane_to_its_owner(
    world: World, account: str
) -> None:
    """The first worker's answer comes while another has a resend out: it is left to that one, and wins."""
    command_id = await world.accept_new("cash.adjust", account)
    lost = await world.claim_one()
    await fall_silent(world)
    await world.age(3)
    await world.wake()
    resend = await world.claim_one()
    assert resend.request == lost.request
    lane = await world.lane(account)
    await world.finish(lost, done(serial_num="S1"))
    assert await world.lane(account) == lane
    assert await world.state(command_id) == "sending"
    assert await world.types(account) == []
    await world.finish(resend, POOR)
    [told] = await world.outcomes(account)
    assert (told["type"], told["result"]["serial_num"], told["attempts"]) == ("command.succeeded", "S1", 2)
    assert await world.sql("SELECT 1 FROM doubts") == []


async def test_a_late_confirmation_of_a_held_command_ends_it_and_its_hold(world: World, account: str) -> None:
    command_id = await world.accept_new("temp.adjust", account, {"expires_at": hour()})
    behind = await world.accept_new("cash.adjust", account)
    turn = await world.claim_one()
    await fall_silent(world)
    assert await world.state(command_id) == "in_doubt"
    assert (await world.lane(account)).state == "held"
    await world.finish(turn, done(adjust_no="TA1"))
    assert await world.types(account) == ["command.succeeded"]
    assert str((await world.claim_one()).command.command_id) == behind
    assert len(await world.sql("SELECT 1 FROM timers WHERE state = 'armed' AND kind = 'expire'")) == 1


async def test_a_late_never_sent_clears_the_doubt(world: World, account: str) -> None:
    command_id = await world.accept_new("temp.adjust", account, {"expires_at": hour()})
    turn = await world.claim_one()
    await fall_silent(world)
    await world.finish(turn, UNSENT)
    assert await world.state(command_id) == "queued"
    assert await world.sql("SELECT 1 FROM doubts") == []
    await world.age(6)
    assert await world.tell_doubts() == 0
    await world.wake()
    await world.go(done(adjust_no="TA1"))
    assert await world.types(account) == ["command.succeeded"]


async def test_a_resend_and_its_first_attempt_both_never_sent_leave_no_doubt(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account)
    lost = await world.claim_one()
    await fall_silent(world)
    await world.age(3)
    await world.wake()
    resend = await world.claim_one()
    await world.finish(lost, UNSENT)
    await world.finish(resend, UNSENT)
    assert await world.sql("SELECT 1 FROM doubts") == []


async def test_a_doubt_keeps_its_command_whatever_a_resend_is_told(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account)
    await world.go(DOUBT)
    for answer in (POOR, UNSENT, POOR):
        await world.age(40)
        await world.wake()
        await world.go(answer)
    assert await world.types(account) == []
    await world.age(KEY_LIFE_S)
    await world.wake()
    assert await world.claim() == []
    [told] = await world.outcomes(account)
    assert (told["type"], told["error"]["code"]) == ("command.parked", "IN_DOUBT")


async def park(world: World, account: str) -> tuple[str, object]:
    command_id = await world.accept_new("temp.adjust", account, {"expires_at": hour()})
    turn = await world.claim_one()
    await fall_silent(world)
    await world.age(HORIZON_S)
    await world.wake()
    assert await world.claim() == []
    assert await world.state(command_id) == "parked"
    return command_id, turn


async def test_a_parked_command_lets_the_lane_go_on_and_still_takes_its_own_answer(world: World, account: str) -> None:
    command_id, turn = await park(world, account)
    behind = await world.accept_new("cash.adjust", account)
    next_turn = await world.claim_one()
    assert str(next_turn.command.command_id) == behind
    await world.finish(turn, done(adjust_no="TA1"))  # type: ignore[arg-type]
    assert await world.state(command_id) == "succeeded"
    await world.finish(next_turn, done(serial_num="S1"))
    told = await world.types(account)
    assert told == ["command.parked", "command.succeeded", "command.succeeded"]
    assert await world.sql("SELECT 1 FROM parked UNION ALL SELECT 1 FROM doubts") == []


async def test_a_parked_command_that_was_never_sent_stays_parked_without_doubt(world: World, account: str) -> None:
    command_id, turn = await park(world, account)
    await world.finish(turn, UNSENT)  # type: ignore[arg-type]
    assert await world.state(command_id) == "parked"
    assert (await world.one("SELECT in_doubt FROM parked")).in_doubt is False
    assert await world.sql("SELECT 1 FROM doubts") == []


async def reject_by_absence(world: World, account: str) -> tuple[str, object]:
    command_id = await world.accept_new("order.place", account)
    turn = await world.claim_one()
    await fall_silent(world)
    await world.age(HORIZON_S)
    for _ in range(2):
        await world.age(40)
        await world.wake()
        look = await world.claim_one()
        assert look.kind == LOOK
        await world.finish(look, Absent("not among the orders"))
    [told] = await world.outcomes(account)
    assert (told["type"], told["error"]["code"]) == ("command.rejected", "NOT_APPLIED")
    return command_id, turn


async def test_a_verdict_by_absence_that_proves_wrong_is_corrected_and_its_number_can_be_used(
    world: World, account: str
) -> None:
    command_id, turn = await reject_by_absence(world, account)
    await world.finish(turn, done(order_id="O1"))  # type: ignore[arg-type]
    rejected, corrected = await world.outcomes(account)
    assert corrected["type"] == "command.corrected"
    assert corrected["result"]["order_id"] == "O1"
    assert corrected["refers_to"] == rejected["event_id"]
    await world.accept_new("order.withdraw", account, {"order": {"command_id": command_id}})
    assert (await world.claim_one()).intent.target == Numbers(order_id="O1")


async def test_a_change_with_an_earlier_doubtful_call_holds_the_lane_after_its_success(
    world: World, account: str
) -> None:
    modify = {"order": {"order_id": "7012"}}
    await world.accept_new("order.modify", account, modify)
    await world.accept_new("order.modify", account, modify)
    await world.go(DOUBT)
    await world.age(3)
    await world.wake()
    await world.go(Absent("the order does not show it"))
    await world.age(8)
    await world.wake()
    await world.go(done())
    assert await world.types(account) == ["command.succeeded"]
    lane = await world.lane(account)
    assert lane.state == "held"
    assert await world.claim() == []
    await world.age(HORIZON_S)
    await world.wake()
    assert (await world.claim_one()).number == 1


async def test_what_the_database_refuses_stops_only_its_own_command(world: World) -> None:
    accounts = [new_account() for _ in range(5)]
    for account in accounts:
        await world.accept_new("cash.adjust", account)
    turns = await world.claim()
    bad = Refused("X", "nul \x00 inside", "rule")
    worse = Confirmed(Numbers(serial_num="lone \ud800 surrogate"), "rule")
    answers = [done(serial_num=str(i)) for i in range(5)]
    ended = [Ended(turn, found, clock.boot_s()) for turn, found in zip(turns, [bad, worse, *answers], strict=False)]
    await world.finishing.finish(ended)
    told = [await world.types(account) for account in accounts]
    assert sorted(told) == [[], [], *[["command.succeeded"]] * 3]
    rules = await world.sql("SELECT rule FROM attempts WHERE known = 'in_doubt'")
    assert [row.rule for row in rules] == ["answer_refused"] * 2


async def test_a_look_that_cannot_be_stored_is_looked_at_again(world: World, account: str) -> None:
    await world.accept_new("order.place", account)
    await world.go(DOUBT)
    await world.age(3)
    await world.wake()
    await world.go(Seen(Numbers(order_id="\x00"), "seen"))
    await world.age(40)
    await world.wake()
    await world.go(Seen(Numbers(order_id="O1"), "seen"))
    [told] = await world.outcomes(account)
    assert (told["type"], told["result"]["basis"]) == ("command.succeeded", "inferred")


@pytest.mark.parametrize("kind", ["write", LOOK])
async def test_a_claim_that_may_not_have_happened_is_recorded_as_not_sent(
    world: World, account: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit happened and its answer was lost."""
    await world.accept_new("order.place", account)
    if kind == LOOK:
        await world.go(DOUBT)
        await world.age(3)
        await world.wake()
    with pytest.raises(ClaimUnsureError) as unsure:
        await claim_with_a_lost_answer(world, monkeypatch)
    [ended] = unsure.value.ended
    assert ended.turn.kind == kind
    await world.finishing.finish([ended])
    await world.age(40)
    await world.wake()
    again = await world.claim_one()
    assert again.kind == kind


async def claim_with_a_lost_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = claim.transaction

    @asynccontextmanager
    async def cut(engine: object) -> AsyncIterator[object]:
        async with real(engine) as connection:  # type: ignore[arg-type]
            yield connection
        raise PartUnavailableError("cut after the commit")

    with monkeypatch.context() as patched:
        patched.setattr(claim, "transaction", cut)
        await world.claim()


async def test_an_answers_horizon_is_never_earlier_than_its_call(world: World, account: str) -> None:
    """Waiting for the lane's lock must not make the instant of the answer, and with it the horizon, too early."""
    await world.accept_new("temp.adjust", account, {"expires_at": hour()})
    turn = await world.claim_one()
    async with world.engine.begin() as blocking:
        await blocking.exec_driver_sql(f"SELECT 1 FROM lanes WHERE account_no = '{account}' FOR UPDATE")
        ended_at = (await blocking.exec_driver_sql("SELECT clock_timestamp()")).scalar_one()
        async with asyncio.TaskGroup() as group:
            group.create_task(world.finish(turn, DOUBT))
            await until_blocked(world)
            await blocking.exec_driver_sql("SELECT pg_sleep(0.3)")
            await blocking.rollback()
    row = await world.one("SELECT reported_at, horizon_at FROM attempts")
    assert row.reported_at >= ended_at
    assert (row.horizon_at - row.reported_at).total_seconds() == pytest.approx(world.settings.late_apply_s)


async def until_blocked(world: World) -> None:
    async def blocked() -> list[object]:
        return await world.sql("SELECT 1 FROM pg_locks WHERE NOT granted")

    await wait_until_async(blocked, 10)


async def test_a_late_answer_while_an_expiry_has_the_lane_ends_the_hold(world: World, account: str) -> None:
    adjust = await world.accept_new("temp.adjust", account, {"expires_at": hour(15)})
    await world.go(done(adjust_no="TA1"))
    held = await world.accept_new("temp.adjust", account, {"expires_at": hour(3600)})
    behind = await world.accept_new("cash.adjust", account)
    lost = await world.claim_one()
    await fall_silent(world)
    assert await world.wake_due() == 1
    expiry = await world.claim_one()
    assert (expiry.kind, str(expiry.command.command_id)) == ("expiry", adjust)
    await world.finish(lost, done(adjust_no="TA2"))
    assert await world.state(held) == "succeeded"
    await world.finish(expiry, done(adjust_no="TA1"))
    assert str((await world.claim_one()).command.command_id) == behind


def hour(ahead_s: float = 3600) -> str:
    return (clock.utc_now() + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_turns_of_a_claim_that_was_rolled_back_leave_the_lane_to_its_next_owner(
    world: World, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def lost(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        async with transaction(engine) as connection:
            yield connection
            raise PartUnavailableError("the connection was lost before the commit")

    command_id = await world.accept_new("order.place", account)
    with monkeypatch.context() as patched:
        patched.setattr(claim, "transaction", lost)
        with pytest.raises(ClaimUnsureError) as unsure:
            await world.claim()
    assert [ended.turn.fence for ended in unsure.value.ended] == [1]
    turn = await world.claim_one()
    assert turn.fence == 1
    await world.finishing.finish(unsure.value.ended)
    assert ((await world.lane(account)).state, await world.state(command_id)) == ("leased", "sending")
    assert await world.claim() == []
    await world.finish(turn, done(order_id="O1"))
    assert await world.types(account) == ["command.succeeded"]


async def test_two_turns_of_one_lane_recorded_at_once_are_told_of_once(world: World, account: str) -> None:
    command_id = await world.accept_new("order.place", account)
    first = await world.claim_one()
    await fall_silent(world)
    await world.age(3)
    await world.wake()
    look = await world.claim_one()
    assert look.kind == LOOK
    now_s = clock.boot_s()
    await world.finishing.finish([Ended(first, DOUBT, now_s), Ended(look, Absent("not there"), now_s)])
    assert (await world.state(command_id), (await world.lane(account)).state) == ("in_doubt", "held")
    await world.age(HORIZON_S)
    for _ in range(2):
        await world.wake()
        await world.go(Absent("not there"))
        await world.age(3)
    assert (await world.types(account))[-1] == "command.rejected"
