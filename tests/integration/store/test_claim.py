"""Turns: who may take them, what is written before anything is sent, and what needs no call."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from schemas.outcomes import OutcomeType, event_id
from tests.integration.store.world import DOUBT, FAILED, UNSENT, World, done
from tests.support.commands import new_account
from worker import clock
from worker.ledger.verdicts import Absent, Numbers, Unreadable
from worker.pipeline.turn import EXPIRY, LOOK, WRITE
from worker.whale.operations import REGISTRY


@pytest.fixture
def account() -> str:
    return new_account()


def hour(ahead_s: float = 3600) -> str:
    return (clock.utc_now() + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


async def code_of(world: World, account: str) -> str:
    [told] = await world.outcomes(account)
    assert told["type"] == "command.rejected"
    assert told["error"]["origin"] == "policy"
    return str(told["error"]["code"])


async def test_claimers_at_once_never_take_one_lane_twice(world: World) -> None:
    for _ in range(12):
        account = new_account()
        await world.accept_new("cash.adjust", account)
        await world.accept_new("cash.adjust", account)
    rounds = [await asyncio.gather(*(world.claim(owner=clock.new_id(), limit=5) for _ in range(4))) for _ in range(3)]
    turns = [turn for round_ in rounds for turns in round_ for turn in turns]
    assert len({turn.command.account_no for turn in turns}) == len(turns) == 12


async def test_each_turn_of_a_lane_has_a_higher_fence(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account)
    fences = []
    for _ in range(3):
        turn = await world.go(UNSENT)
        fences.append(turn.fence)
        await world.age(40)
        await world.wake()
    assert fences == sorted(set(fences))


async def test_what_will_be_sent_is_written_down_before_it_is_sent(world: World, account: str) -> None:
    command_id = await world.accept_new("cash.adjust", account)
    turn = await world.claim_one()
    assert await world.state(command_id) == "sending"
    row = await world.one("SELECT * FROM attempts")
    assert turn.request is not None
    written = (row.method, row.path, row.query, bytes(row.body), row.fence, row.known)
    assert written == (turn.request.method, turn.request.path, "", turn.request.body, turn.fence, "open")
    assert row.horizon_at > row.lease_until > row.send_before_at


async def test_send_before_lies_within_the_lease(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account)
    began_s = clock.boot_s()
    turn = await world.claim_one()
    assert turn.send_before_s + turn.deadline_s < began_s + world.settings.lane_lease_s


async def test_not_after_in_the_past_makes_no_call(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account, not_after=hour(-1))
    assert await world.claim() == []
    assert await code_of(world, account) == "TOO_LATE"
    assert await world.sql("SELECT 1 FROM attempts") == []


async def test_not_after_that_is_near_shortens_the_time_to_send(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account, not_after=hour(5))
    began_s = clock.boot_s()
    assert (await world.claim_one()).send_before_s <= began_s + 5


async def test_a_doubt_is_not_rejected_as_too_late(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account, not_after=hour(60))
    await world.go(DOUBT)
    await world.age(61)
    await world.wake()
    assert await world.claim() == []
    assert await world.types(account) == []
    assert (await world.lane(account)).state == "held"


@pytest.mark.parametrize("ahead_s", [-5, 5, 31 * 86_400])
async def test_an_hour_too_near_or_too_far_makes_no_call(world: World, account: str, ahead_s: float) -> None:
    await world.accept_new("temp.adjust", account, {"expires_at": hour(ahead_s)})
    assert await world.claim() == []
    assert await code_of(world, account) == "EXPIRES_AT_UNUSABLE"


class TestReferences:
    async def unfreeze(self, world: World, account: str, freeze: dict[str, str]) -> None:
        await world.accept_new("cash.unfreeze", account, {"freeze": freeze})

    async def test_the_number_of_the_earlier_command_is_put_in(self, world: World, account: str) -> None:
        freeze = await world.accept_new("cash.freeze", account)
        await self.unfreeze(world, account, {"command_id": freeze})
        await world.go(done(serial_num="S77"))
        turn = await world.claim_one()
        assert turn.request is not None
        assert b"S77" in turn.request.body

    async def test_an_unknown_command_is_invalid(self, world: World, account: str) -> None:
        await self.unfreeze(world, account, {"command_id": str(clock.new_id())})
        assert await world.claim() == []
        assert await code_of(world, account) == "REFERENCE_INVALID"

    async def test_another_accounts_command_is_invalid(self, world: World, account: str) -> None:
        freeze = await world.accept_new("cash.freeze", new_account())
        await world.go(done(serial_num="S77"))
        await self.unfreeze(world, account, {"command_id": freeze})
        assert await world.claim() == []
        assert await code_of(world, account) == "REFERENCE_INVALID"

    async def test_another_accounts_number_is_invalid(self, world: World, account: str) -> None:
        await world.accept_new("cash.freeze", new_account())
        await world.go(done(serial_num="S77"))
        await self.unfreeze(world, account, {"serial_num": "S77"})
        assert await world.claim() == []
        assert await code_of(world, account) == "REFERENCE_INVALID"

    async def test_a_number_unknown_here_is_passed_on(self, world: World, account: str) -> None:
        await self.unfreeze(world, account, {"serial_num": "S1"})
        assert (await world.claim_one()).intent.target == Numbers(serial_num="S1")

    async def test_another_type_and_a_later_command_are_invalid(self, world: World, account: str) -> None:
        later = str(clock.new_id())
        adjust = await world.accept_new("cash.adjust", account)
        await self.unfreeze(world, account, {"command_id": adjust})
        await self.unfreeze(world, account, {"command_id": later})
        await world.accept_new("cash.freeze", account, command_id=later)
        await world.go(done(serial_num="S1"))
        assert await world.claim() == []
        assert await world.claim() == []
        told = await world.outcomes(account)
        assert [one["error"]["code"] for one in told[1:]] == ["REFERENCE_INVALID"] * 2

    async def test_a_parked_command_is_undecided(self, world: World, account: str) -> None:
        adjust = await world.accept_new("temp.adjust", account, {"expires_at": hour()})
        await world.accept_new("temp.expire", account, {"adjust": {"command_id": adjust}})
        await world.go(DOUBT)
        await world.age(130)
        await world.wake()
        assert await world.claim() == []
        assert await world.claim() == []
        parked, rejected = await world.outcomes(account)
        assert parked["type"] == "command.parked"
        assert rejected["error"]["code"] == "REFERENCE_UNDECIDED"


async def book(world: World, account: str, ahead_s: float = 3600, number: str = "TA1") -> str:
    command_id = await world.accept_new("temp.adjust", account, {"expires_at": hour(ahead_s)})
    await world.go(done(adjust_no=number))
    return command_id


async def test_a_due_expiry_is_the_lanes_next_turn_and_keeps_the_hold(world: World, account: str) -> None:
    adjust = await book(world, account, 100)
    held = await world.accept_new("temp.adjust", account, {"expires_at": hour()})
    await world.accept_new("cash.adjust", account)
    await world.go(DOUBT)
    before = await world.lane(account)
    assert before.state == "held"
    await world.age(101)
    assert await world.wake_due() == 1
    turn = await world.claim_one()
    assert (turn.kind, str(turn.command.command_id)) == (EXPIRY, adjust)
    await world.finish(turn, done(adjust_no="TA1"))
    lane = await world.lane(account)
    assert lane.state == "held"
    assert (before.wake_at - lane.wake_at).total_seconds() == pytest.approx(101)
    assert await world.state(held) == "in_doubt"
    assert await world.claim() == []


async def test_an_expiry_that_is_refused_holds_nobody(world: World, account: str) -> None:
    await book(world, account, 100)
    behind = await world.accept_new("cash.adjust", account)
    await world.age(101)
    await world.wake_due()
    await world.go(FAILED)
    assert str((await world.claim_one()).command.command_id) == behind
    assert await world.sql("SELECT 1 FROM doubts") == []


async def test_an_expiry_waits_for_the_call_in_flight(world: World, account: str) -> None:
    await book(world, account, 100)
    await world.accept_new("cash.adjust", account)
    await world.accept_new("cash.adjust", account)
    await world.age(95)
    in_flight = await world.claim_one()
    await world.age(6)
    assert await world.wake_due() == 1
    assert await world.claim() == []
    await world.finish(in_flight, done(serial_num="S1"))
    assert (await world.claim_one()).kind == EXPIRY


async def test_an_expire_of_what_has_ended_is_rejected(world: World, account: str) -> None:
    adjust = await book(world, account, 100)
    await world.age(101)
    await world.wake_due()
    await world.go(done(adjust_no="TA1"))
    await world.accept_new("temp.expire", account, {"adjust": {"command_id": adjust}})
    assert await world.claim() == []
    assert (await world.outcomes(account))[-1]["error"]["code"] == "ALREADY_ENDED"


class TestReclaim:
    async def test_a_write_is_in_doubt_until_its_leases_horizon(self, world: World, account: str) -> None:
        command_id = await world.accept_new("temp.adjust", account, {"expires_at": hour()})
        turn = await world.claim_one()
        assert await world.reclaim() == 0
        await world.age(31)
        assert await world.reclaim() == 1
        assert await world.reclaim() == 0
        assert await world.state(command_id) == "in_doubt"
        attempt = await world.one("SELECT * FROM attempts")
        lane = await world.lane(account)
        assert (attempt.known, attempt.rule, attempt.fence) == ("in_doubt", "owner_silent", turn.fence)
        assert (lane.state, lane.wake_at) == ("held", attempt.horizon_at)

    async def test_a_look_is_just_taken_again(self, world: World, account: str) -> None:
        command_id = await world.accept_new("order.place", account)
        await world.go(DOUBT)
        await world.age(3)
        await world.wake()
        assert (await world.claim_one()).kind == LOOK
        await world.age(31)
        assert await world.reclaim() == 1
        await world.age(40)
        await world.wake()
        assert await world.state(command_id) == "in_doubt"
        again = await world.claim_one()
        assert (again.kind, again.number) == (LOOK, 2)
        kinds = await world.sql("SELECT known FROM attempts WHERE kind = 'write'")
        assert [row.known for row in kinds] == ["in_doubt"]

    async def test_an_expiry_is_armed_again_and_its_doubt_is_known(self, world: World, account: str) -> None:
        adjust = await book(world, account, 100)
        await world.age(101)
        await world.wake_due()
        assert (await world.claim_one()).kind == EXPIRY
        await world.age(31)
        assert await world.reclaim() == 1
        timer = await world.one("SELECT state, command_id FROM timers")
        assert (timer.state, str(timer.command_id)) == ("armed", adjust)
        assert (await world.one("SELECT is_expiry FROM doubts")).is_expiry
        assert (await world.lane(account)).state == "idle"

    async def test_a_lane_taken_back_in_the_midst_of_an_expiry_keeps_its_hold(self, world: World, account: str) -> None:
        await book(world, account, 20)
        held = await world.accept_new("temp.adjust", account, {"expires_at": hour()})
        await world.accept_new("cash.adjust", account)
        await world.go(DOUBT)
        before = await world.lane(account)
        await world.age(21)
        await world.wake_due()
        assert (await world.claim_one()).kind == EXPIRY
        await world.age(31)
        assert await world.reclaim() == 1
        lane = await world.lane(account)
        assert (lane.state, lane.hold_reason) == ("held", before.hold_reason)
        assert (before.wake_at - lane.wake_at).total_seconds() == pytest.approx(52)
        await world.wake()
        assert await world.claim() == []
        assert await world.state(held) == "in_doubt"

    async def test_an_expiry_that_another_call_ended_meanwhile_is_not_left_open(
        self, world: World, account: str
    ) -> None:
        await book(world, account, 100)
        await world.age(101)
        await world.wake_due()
        late = await world.claim_one()
        await world.age(31)
        await world.reclaim()
        await world.age(40)
        await world.wake_due()
        assert (await world.claim_one()).number == 2
        await world.finish(late, done(adjust_no="TA1"))
        assert (await world.types(account))[-1] == "temp_adjustment.expired"
        await world.age(31)
        assert await world.reclaim() == 1
        assert await world.sql("SELECT 1 FROM attempts WHERE known = 'open'") == []
        assert (await world.lane(account)).state == "idle"

    @pytest.mark.parametrize("falls_silent", [True, False])
    async def test_a_look_for_what_a_late_answer_has_decided_is_not_left_open(
        self, world: World, account: str, *, falls_silent: bool
    ) -> None:
        command_id = await world.accept_new("order.place", account)
        late = await world.claim_one()
        await world.age(31)
        await world.reclaim()
        await world.age(40)
        await world.wake()
        look = await world.claim_one()
        assert look.kind == LOOK
        await world.finish(late, done(order_id="O1"))
        assert await world.state(command_id) == "succeeded"
        if falls_silent:
            await world.age(31)
            assert await world.reclaim() == 1
        else:
            await world.finish(look, Unreadable("no answer"))
        assert await world.sql("SELECT 1 FROM attempts WHERE known = 'open'") == []
        assert (await world.lane(account)).state == "idle"
        assert await world.types(account) == ["command.succeeded"]

    async def test_two_at_once_take_a_lane_back_once(self, world: World, account: str) -> None:
        await world.accept_new("cash.adjust", account)
        await world.claim_one()
        await world.age(31)
        assert sum(await asyncio.gather(world.reclaim(), world.reclaim(), world.reclaim())) == 1


async def test_only_two_full_looks_after_the_horizon_reject_an_order(world: World, account: str) -> None:
    await world.accept_new("order.place", account)
    await world.go(DOUBT)
    for _ in range(3):  # before the horizon
        await world.age(31)
        await world.wake()
        assert (await world.go(Absent("no"))).kind == LOOK
    assert await world.types(account) == []
    await world.age(60)
    for _ in range(2):
        assert await world.types(account) == []
        await world.age(31)
        await world.wake()
        await world.go(Absent("no"))
    assert await world.types(account) == ["command.rejected"]
    assert len(await world.sql("SELECT 1 FROM watches")) == 1
    assert await world.sql("SELECT 1 FROM doubts") == []


async def test_a_resend_is_byte_for_byte_what_was_sent(world: World, account: str) -> None:
    await world.accept_new("cash.adjust", account)
    first = await world.go(DOUBT)
    await world.age(3)
    await world.wake()
    again = await world.claim_one()
    assert (again.kind, again.number, again.request) == (WRITE, 2, first.request)


async def test_a_command_that_the_database_refuses_stops_no_other_lane(world: World, account: str) -> None:
    command_id = await world.accept_new("cash.adjust", account, not_after="2020-01-01T00:00:00Z")
    await world.sql(
        "INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers) "
        "VALUES (:event_id, 'OTHER', 1, 'command.rejected', :command_id, now(), '', '')",
        event_id=event_id(OutcomeType.REJECTED, UUID(command_id)),
        command_id=UUID(command_id),
    )
    other = new_account()
    await world.accept_new("cash.adjust", other)
    taken = [turn for _ in range(3) for turn in await world.claim()]
    assert [turn.command.account_no for turn in taken] == [other]
    lane = await world.one("SELECT state, hold_reason FROM lanes WHERE account_no = :account", account=account)
    assert lane.state == "held"
    assert "cannot be written" in lane.hold_reason


async def test_a_command_of_which_no_request_can_be_made_is_parked(
    world: World, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise ValueError("no such variant")

    adjusting = REGISTRY["cash.adjust"]
    monkeypatch.setattr("worker.pipeline.claim.REGISTRY", {**REGISTRY, "cash.adjust": replace(adjusting, build=broken)})
    await world.accept_new("cash.adjust", account)
    await world.accept_new("position.adjust", account)
    assert await world.claim() == []
    [turn] = await world.claim()
    assert turn.command.command_type == "position.adjust"
    [told] = await world.outcomes(account)
    assert told["type"] == "command.parked"
    assert "no such variant" in told["error"]["message"]
