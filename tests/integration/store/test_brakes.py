"""What is stopped is not sent, at the next claim of every worker; looks go on, and nothing is forgotten."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.store.world import DOUBT, UNSENT, World, done
from tests.support.commands import new_account
from worker import clock
from worker.ledger.brakes import ACCOUNT, ALL, DOUBTS, OPERATION, Brake
from worker.ledger.verdicts import Unreadable
from worker.store.brakes import set_brake, take_brake, wake_held
from worker.store.engine import transaction

CASH = {"currency": "USD", "amount": "60.00"}
LIMITS = '{"cash.adjust": {"command": {"USD": "60.00"}, "day": {"USD": "100.00"}}}'


async def stop(world: World, kind: str = ALL, subject: str = "") -> None:
    async with transaction(world.engine) as connection:
        assert await set_brake(connection, kind, subject, "ann", "looked into")


async def release(world: World, kind: str = ALL, subject: str = "") -> int:
    async with transaction(world.engine) as connection:
        assert await take_brake(connection, kind, subject) is not None
        return await wake_held(connection, Brake(kind, subject, "").mark())


def in_an_hour() -> str:
    return (clock.utc_now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("kind", "subject"), [(ALL, ""), (OPERATION, "cash.adjust"), (ACCOUNT, "H1")], ids=["all", "operation", "account"]
)
async def test_what_is_stopped_rests_with_its_reason_and_goes_at_once_when_released(
    world: World, kind: str, subject: str
) -> None:
    await world.accept_new("cash.adjust", "H1", CASH)
    await stop(world, kind, subject)
    assert await world.claim() == []
    lane = await world.lane("H1")
    assert lane.state == "held"
    assert lane.hold_reason == Brake(kind, subject, "").mark() + "looked into"
    assert timedelta(seconds=20) < lane.wake_at - datetime.now(UTC) < timedelta(seconds=40)  # noqa: TID251
    assert await world.claim() == [], "a lane at rest is not claimed again and again"
    assert await release(world, kind, subject) == 1
    assert (await world.go(done(serial_num="S1"))).command.account_no == "H1"


async def test_what_is_not_stopped_does_not_notice(world: World) -> None:
    await world.accept_new("cash.adjust", "H1", CASH)
    await world.accept_new("order.place", "H2")
    await world.accept_new("cash.adjust", "H3", CASH)
    await stop(world, OPERATION, "order.place")
    await stop(world, ACCOUNT, "H3")
    [turn] = await world.claim()
    assert turn.command.account_no == "H1"


async def test_a_resend_waits_and_a_look_goes(world: World) -> None:
    await world.accept_new("cash.freeze", "H1")
    await world.go(DOUBT)
    await world.accept_new("order.place", "H2")
    await world.go(DOUBT)
    await stop(world)
    await world.age(20)
    await world.wake()
    [turn] = await world.claim()
    assert (turn.command.account_no, turn.kind) == ("H2", "look")
    await world.finish(turn, Unreadable("away"))
    assert (await world.lane("H1")).state == "held"
    await release(world)
    [turn] = await world.claim()
    assert (turn.command.account_no, turn.number) == ("H1", 2)


async def due_expiry(world: World, account_no: str) -> str:
    command_id = await world.accept_new("temp.adjust", account_no, {"expires_at": in_an_hour()})
    await world.go(done(adjust_no=f"TA-{account_no}"))
    await world.sql("UPDATE commands SET expires_at = expires_at - interval '2 h'")
    await world.sql("UPDATE temp_adjustments SET expires_at = expires_at - interval '2 h'")
    await world.sql("UPDATE timers SET due_at = due_at - interval '2 h', wake_at = wake_at - interval '2 h'")
    return command_id


async def test_a_held_account_s_expiry_goes_all_the_same_and_its_command_waits_on(world: World) -> None:
    await due_expiry(world, "H1")
    await world.accept_new("cash.adjust", "H1", CASH)
    await stop(world, ACCOUNT, "H1")
    assert await world.claim() == []
    assert await world.wake_due() == 1
    assert (await world.go(done())).kind == "expiry"
    assert (await world.lane("H1")).state == "held"
    assert await world.claim() == []
    await release(world, ACCOUNT, "H1")
    assert (await world.claim_one()).kind == "write"


@pytest.mark.parametrize(("kind", "subject"), [(ALL, ""), (OPERATION, "temp.expire")])
async def test_only_a_pause_of_everything_or_of_expiries_stops_them_and_loses_none(
    world: World, kind: str, subject: str
) -> None:
    await due_expiry(world, "H1")
    await stop(world, OPERATION, "temp.adjust")
    assert await world.wake_due() == 1
    await stop(world, kind, subject)  # just after it has become due
    assert await world.claim() == []
    assert await world.wake_due() == 0
    assert await world.claim() == []
    assert (await world.one("SELECT state FROM timers")).state == "armed"
    await release(world, kind, subject)
    assert await world.wake_due() == 1
    assert (await world.go(done())).kind == "expiry"


async def test_whoever_releases_finds_the_lanes_of_claims_that_are_not_yet_committed(world: World) -> None:
    """Without it such a lane would rest for half a minute behind nothing."""
    accounts = [new_account() for _ in range(40)]
    for account_no in accounts:
        await world.accept_new("cash.freeze", account_no)
    await stop(world)
    *claims, _ = await asyncio.gather(*(world.claim(limit=4) for _ in range(10)), release(world))
    turns = [turn for claimed in claims for turn in claimed]
    assert (await world.one("SELECT count(*) FROM lanes WHERE state = 'held'")).count == 0
    assert len(turns) + len(await world.claim()) == len(accounts)


async def adjust(world: World, account_no: str, amount: str = "60.00", currency: str = "USD") -> str:
    return await world.accept_new("cash.adjust", account_no, {"currency": currency, "amount": amount})


async def errors(world: World, account_no: str) -> Sequence[Any]:
    return [(one["error"] or {}).get("code") for one in await world.outcomes(account_no)]


class TestLimits:
    @pytest.fixture
    def world_changes(self) -> dict[str, Any]:
        return {"limits": LIMITS}

    async def test_what_passes_a_limit_is_rejected_and_not_sent(self, world: World) -> None:
        for amount in ("60.01", "60.00", "40.01", "40.00"):
            await adjust(world, "H1", amount)
            turns = await world.claim()
            assert len(turns) == (amount in ("60.00", "40.00")), amount
            for turn in turns:
                await world.finish(turn, done(serial_num="S1"))
        assert await errors(world, "H1") == ["LIMIT_EXCEEDED", None, "LIMIT_EXCEEDED", None]
        [told, *_] = await world.outcomes("H1")
        assert (told["error"]["origin"], told["error"]["field"], told["attempts"]) == ("policy", "payload.amount", 0)
        assert (await world.one("SELECT count(*) FROM dead_letters")).count == 0

    async def test_other_accounts_currencies_and_days_count_for_themselves(self, world: World) -> None:
        for account_no, currency in (("H1", "USD"), ("H2", "USD"), ("H1", "HKD")):
            await adjust(world, account_no, currency=currency)
            await world.go(done(serial_num="S1"))
        await world.sql("UPDATE day_totals SET day = day - 1")
        await adjust(world, "H1")
        await world.go(done(serial_num="S2"))

    async def test_what_was_not_sent_and_is_tried_again_counts_once(self, world: World) -> None:
        await adjust(world, "H1")
        await world.go(UNSENT)
        await world.age(30)
        await world.wake()
        await world.go(done(serial_num="S1"))
        await adjust(world, "H1", "40.00")
        await world.go(done(serial_num="S2"))
        assert await errors(world, "H1") == [None, None]

    async def test_it_counts_when_the_call_goes_out_not_when_it_is_answered(self, world: World) -> None:
        await adjust(world, "H1")
        await world.claim_one()
        assert (await world.one("SELECT used FROM day_totals WHERE account_no = 'H1'")).used == 60

    async def test_a_limit_reached_by_two_workers_at_once_is_not_passed(self, world: World) -> None:
        accounts = [new_account() for _ in range(6)]
        for account_no in accounts:
            for _ in range(5):
                await adjust(world, account_no, "30.00")

        async def work() -> None:
            owner = clock.new_id()
            while turns := await world.claim(owner=owner, limit=2):
                await asyncio.gather(*(world.finish(turn, done(serial_num=f"S{turn.attempt_id}")) for turn in turns))

        for _ in range(10):
            await asyncio.gather(*(work() for _ in range(3)))
        for account_no in accounts:
            told = await errors(world, account_no)
            assert sorted(map(str, told)) == ["LIMIT_EXCEEDED", "LIMIT_EXCEEDED", "None", "None", "None"]
        totals = await world.sql("SELECT used FROM day_totals")
        assert [row.used for row in totals] == [90] * 6


class TestOpenDoubts:
    @pytest.fixture
    def world_changes(self) -> dict[str, Any]:
        return {"open_doubts_max": 1}

    async def test_too_many_doubts_stop_new_writes_of_that_operation_until_a_person_resumes(self, world: World) -> None:
        for account_no in ("H1", "H2"):
            await world.accept_new("cash.freeze", account_no)
            await world.go(DOUBT)
        await world.accept_new("cash.freeze", "H3")
        await world.accept_new("cash.adjust", "H4", CASH)
        [turn] = await world.claim()
        assert turn.command.account_no == "H4", "another operation does not notice"
        paused = await world.one("SELECT * FROM brakes")
        assert (paused.kind, paused.subject, paused.set_by) == (DOUBTS, "cash.freeze", "ledger-worker")
        assert (await world.lane("H3")).hold_reason.startswith("cash.freeze is paused: more than 1")
        await world.age(10)
        await world.wake()
        assert {(t.command.account_no, t.number) for t in await world.claim()} == {("H1", 2), ("H2", 2)}

    async def test_after_a_person_resumed_only_new_doubts_count(self, world: World) -> None:
        for account_no in ("H1", "H2"):
            await world.accept_new("cash.freeze", account_no)
            await world.go(DOUBT)
        await world.accept_new("cash.freeze", "H3")
        assert await world.claim() == []
        await world.sql("INSERT INTO doubts_seen VALUES ('cash.freeze', now())")
        assert await release(world, DOUBTS, "cash.freeze") == 1
        await world.go(DOUBT)
        await world.accept_new("cash.freeze", "H4")
        await world.go(DOUBT)
        await world.accept_new("cash.freeze", "H5")
        assert await world.claim() == []


class TestAmountInDoubt:
    @pytest.fixture
    def world_changes(self) -> dict[str, Any]:
        return {"limits": '{"cash.freeze": {"open_doubts": {"USD": "119.99", "*": "60"}}}'}

    async def test_too_much_in_doubt_stops_new_writes_of_that_operation_until_a_person_resumes(
        self, world: World
    ) -> None:
        for account_no, currency in (("H1", "USD"), ("H2", "HKD"), ("H3", "USD")):
            await world.accept_new("cash.freeze", account_no, {**CASH, "currency": currency})
            await world.go(DOUBT)
        await world.accept_new("cash.adjust", "H4", CASH)
        await world.accept_new("cash.freeze", "H5", CASH)
        assert [turn.command.account_no for turn in await world.claim()] == ["H4"]
        paused = await world.one("SELECT * FROM brakes")
        assert (paused.kind, paused.subject, paused.set_by) == (DOUBTS, "cash.freeze", "ledger-worker")
        assert "120.00 USD of it is in doubt, more than 119.99" in paused.reason
        await world.sql("INSERT INTO doubts_seen VALUES ('cash.freeze', now())")
        assert await release(world, DOUBTS, "cash.freeze") == 1
        assert [turn.command.account_no for turn in await world.claim()] == ["H5"]
        assert await world.sql("SELECT 1 FROM day_totals") == [], "no day is limited"
