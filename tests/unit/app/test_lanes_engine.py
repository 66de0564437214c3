"""The lanes engine with doubles for claim, effect and finish: nothing is spun on, nothing that ended is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import structlog

from tests.support.waiting import wait_until_async
from tests.unit.app.doubles import AWAY, DONE, Claims, Effects, Finishes, Permits, turn
from worker import clock
from worker.app import budget
from worker.app import lanes as engine
from worker.app.lanes import Lanes
from worker.ledger.verdicts import NotSent, Pause
from worker.observe.health import Liveness, Readiness
from worker.observe.metrics import Metrics
from worker.pipeline.claim import Claimed, ClaimUnsureError
from worker.pipeline.policy import Repeats
from worker.pipeline.turn import Ended

UNSENT = NotSent("claim_unsure", "nobody knows")
REFUSED = NotSent("token_refused", "token expired", pause=Pause.CREDENTIALS)


@dataclass
class Bench:
    claims: Claims = field(default_factory=Claims)
    effects: Effects = field(default_factory=Effects)
    finishes: Finishes = field(default_factory=Finishes)
    permits: Permits = field(default_factory=Permits)
    readiness: Readiness = field(default_factory=Readiness)
    drain_s: float = 5.0
    told: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Lanes]:
        """The engine runs within, and has drained afterwards."""
        liveness = Liveness(clock.boot_s)
        liveness.watch("lanes", 90)
        ports = cast("Any", (self.claims, self.effects, self.finishes, self.permits))
        made = Lanes(*ports, self.readiness, liveness, Metrics(), structlog.get_logger(), self.told.set)
        stopping = asyncio.Event()
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(made.run(stopping, self.drain_s))
            try:
                yield made
            finally:
                stopping.set()

    async def until_recorded(self, *names: str) -> None:
        await wait_until_async(lambda: sorted(self.finishes.names()) == sorted(names), 5)


async def test_what_is_claimed_is_carried_out_once_and_recorded() -> None:
    bench = Bench(Claims([["A", "B"], ["C"]]))
    async with bench.running():
        await bench.until_recorded("A", "B", "C")
    assert sorted(bench.effects.called) == ["A", "B", "C"]
    assert bench.permits.slots.in_flight == 0
    assert bench.told.is_set(), "the relay was not told"


async def test_no_more_is_claimed_than_there_are_slots() -> None:
    bench = Bench(Claims([[f"A{i}" for i in range(8)]]), Effects(gate=asyncio.Event()))
    async with bench.running() as lanes:
        await wait_until_async(lambda: len(bench.effects.called) == 8, 5)
        asked = bench.claims.asked
        for _ in range(20):
            lanes.wake()
            await asyncio.sleep(0)
        assert bench.claims.asked == asked
        assert bench.effects.gate is not None
        bench.effects.gate.set()


@pytest.mark.parametrize("leaves_ready", [True, False])
async def test_a_record_leads_to_a_claim_where_it_left_a_lane_ready(
    monkeypatch: pytest.MonkeyPatch, leaves_ready: bool
) -> None:
    """A claim that finds nothing is in the next command's way."""
    monkeypatch.setattr(engine, "IDLE_S", 600.0)
    bench = Bench(Claims([["A"], ["B"]]), finishes=Finishes(leaves_ready=leaves_ready))
    async with bench.running() as lanes:
        await bench.until_recorded(*(["A", "B"] if leaves_ready else ["A"]))
        for _ in range(20):
            await asyncio.sleep(0)
        assert bench.claims.asked == (3 if leaves_ready else 1)
        lanes.wake()
        await bench.until_recorded("A", "B")


async def test_a_record_leads_to_a_claim_where_there_was_no_slot_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "IDLE_S", 600.0)
    bench = Bench(Claims([[f"A{i}" for i in range(8)], ["B"]]))
    async with bench.running():
        await bench.until_recorded("B", *(f"A{i}" for i in range(8)))


async def test_a_claim_that_took_lanes_one_by_one_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "IDLE_S", 600.0)
    bench = Bench(Claims([Claimed([turn("A")], 1, more=True), Claimed((), 1, more=True), ["B"]]))
    async with bench.running():
        await bench.until_recorded("A", "B")


async def test_what_is_in_doubt_has_half_of_the_slots_and_asks_again_later_where_its_calls_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A brokerage that hangs on some accounts must not have all slots for them."""
    gate = asyncio.Event()
    bench = Bench(Claims([["again1", "A"], ["again2", "again3"], []]), Effects(gate=gate))
    async with bench.running() as lanes:
        await wait_until_async(lambda: len(bench.effects.called) == 2, 5)
        assert bench.claims.repeats == Repeats(4, *budget.LATER_S), "at first none is out"
        lanes.wake()
        await wait_until_async(lambda: len(bench.effects.called) == 4, 5)
        assert bench.claims.repeats == Repeats(3, *budget.LATER_S)
        monkeypatch.setattr(budget, "HANGS_S", 0.0)
        asked = bench.claims.asked
        lanes.wake()
        await wait_until_async(lambda: bench.claims.asked > asked, 5)
        assert bench.claims.repeats == Repeats(1, *budget.LATER_HANGING_S)
        gate.set()
        await bench.until_recorded("again1", "A", "again2", "again3")
        asked = bench.claims.asked
        lanes.wake()
        await wait_until_async(lambda: bench.claims.asked > asked, 5)
        assert bench.claims.repeats == Repeats(4, *budget.LATER_S)


async def test_postgres_away_is_waited_for_and_not_spun_on() -> None:
    """However often it is woken meanwhile: each claim that finds nobody waits twice as long."""
    bench = Bench(Claims([AWAY, AWAY, AWAY, ["A"]]))
    began_s = clock.boot_s()
    async with bench.running() as lanes:
        await wait_until_async(lambda: bench.claims.asked >= 1, 5)
        assert "Postgres" in bench.readiness.reasons()["lanes"]
        lanes.wake()
        await bench.until_recorded("A")
    assert clock.boot_s() - began_s >= engine.AWAY_FIRST_S * (1 + 2 + 4)
    assert bench.readiness.reasons() == {}


async def test_answers_are_kept_until_they_are_recorded() -> None:
    bench = Bench(Claims([["A", "B"]]), finishes=Finishes(away=2))
    async with bench.running():
        await bench.until_recorded("A", "B")
    assert bench.effects.called.count("A") == 1
    assert bench.readiness.reasons() == {}


async def test_an_unsure_claim_is_recorded_as_not_sent() -> None:
    unsure = ClaimUnsureError("cut", [Ended(turn("A"), UNSENT, 0.0)])
    bench = Bench(Claims([unsure]))
    async with bench.running():
        await bench.until_recorded("A")
    assert bench.finishes.recorded == [("A", UNSENT)]
    assert bench.effects.called == []


async def test_draining_lets_calls_end_and_records_them() -> None:
    bench = Bench(Claims([["A"]]), Effects(gate=asyncio.Event()))
    async with bench.running():
        await wait_until_async(lambda: bench.effects.called == ["A"], 5)
        asyncio.get_running_loop().call_later(0.1, cast("asyncio.Event", bench.effects.gate).set)
    assert bench.finishes.recorded == [("A", DONE)]


async def test_a_call_that_does_not_end_in_time_is_cut_and_not_recorded() -> None:
    bench = Bench(Claims([["A"]]), Effects(gate=asyncio.Event()), drain_s=0.1)
    async with bench.running():
        await wait_until_async(lambda: bench.effects.called == ["A"], 5)
    assert bench.finishes.recorded == []
    assert bench.permits.slots.in_flight == 0


async def test_draining_ends_in_time_although_nothing_can_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RECORD_MIN_S", 0.1)
    bench = Bench(Claims([["A"]]), finishes=Finishes(hangs=True), drain_s=0.1)
    async with bench.running():
        await wait_until_async(lambda: bench.finishes.asked == 1, 5)
        stopped_s = clock.boot_s()
    assert clock.boot_s() - stopped_s < 2
    assert bench.finishes.recorded == []


async def test_a_refusal_that_concerns_all_stops_claims_until_a_signed_read_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "PAUSED_CHECK_S", 0.2)
    bench = Bench(Claims([["A"]]), Effects(found=lambda name: REFUSED if name == "A" else DONE))
    async with bench.running() as lanes:
        await wait_until_async(lambda: bench.effects.checks >= 1, 5)
        assert "token expired" in bench.readiness.reasons()["whale"]
        bench.claims.answers.append(["B"])
        asked = bench.claims.asked
        await wait_until_async(lambda: bench.effects.checks >= 3, 5)
        assert bench.claims.asked == asked
        bench.effects.let_in.set()
        lanes.wake()
        await bench.until_recorded("A", "B")
    assert bench.readiness.reasons() == {}


async def test_while_paused_being_woken_asks_the_brokerage_no_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PAUSED_CHECK_S", 60.0)
    bench = Bench(Claims([["A"]]), Effects(found=lambda _: REFUSED))
    async with bench.running() as lanes:
        await wait_until_async(lambda: bench.effects.checks >= 1, 5)
        for _ in range(50):
            lanes.wake()
            await asyncio.sleep(0)
        assert bench.effects.checks == 1


async def test_an_error_in_a_call_ends_the_engine_loudly() -> None:
    def broken(name: str) -> Any:
        raise RuntimeError(name)

    bench = Bench(Claims([["A"]]), Effects(found=broken))
    with pytest.raises(BaseExceptionGroup) as raised:
        async with bench.running():
            await asyncio.Event().wait()
    assert raised.group_contains(RuntimeError, match="A")
