"""Temporary adjustments end at their hour: never before it, once, whatever else goes on."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.parts.brokerage import Brokerage
from tests.chaos.conftest import CHAOS, Database, assert_clean, hear
from tests.support import (
    SandboxClient,
    Topics,
    WorkerProcess,
    new_account,
    new_command,
    produce_commands,
    read_outcomes,
    wait_until,
)
from tests.support.measure import EXPIRED, Told, measure
from tests.support.worker import CHECKOUT
from tests.support.workload import seeded

Start = Callable[..., WorkerProcess]
Json = dict[str, Any]
QUICK_HOURS = {**CHAOS, "LEDGER_EXPIRES_AHEAD_MIN_S": "0.5"}
LATE_MAX_S = 3.0
"""Of an expiry whose worker is alive, on a machine that does much else."""
BOOKED = "SELECT count(*) FROM temp_adjustments"


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251


def hour_in(ahead_s: float) -> datetime:
    return (now() + timedelta(seconds=ahead_s)).replace(microsecond=0)


def temporary(account_no: str, hour: datetime) -> Json:
    return new_command("temp.adjust", account_no, {"expires_at": hour.isoformat()})


def expiries(outcomes: list[Json]) -> dict[str, Json]:
    return {one["command_id"]: one for one in outcomes if one["type"] == EXPIRED}


def all_expired(commands: list[Json]) -> Callable[[list[Json]], bool]:
    wanted = {one["command_id"] for one in commands if one["type"] == "temp.adjust"}
    return lambda outcomes: wanted <= expiries(outcomes).keys()


def lateness_s(call: Json, hour: datetime) -> float:
    return (datetime.fromisoformat(call["received_at"]) - hour).total_seconds()


class TestBusyLane:
    """A slow brokerage, so that a lane's queue outlasts the test."""

    @pytest.fixture
    def brokerage(self, start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
        return SandboxClient(start_brokerage("--latency-ms", "50", "--sweep-delay-s", "600").url)

    async def test_an_expiry_passes_3000_waiting_commands_though_its_worker_was_killed_before_the_hour(
        self, kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
    ) -> None:
        account_no = new_account()
        victim = start_worker(settings=QUICK_HOURS)
        hour = hour_in(10)
        adjusting = temporary(account_no, hour)
        commands = [adjusting, *(new_command("cash.adjust", account_no) for _ in range(3000))]
        sent = await produce_commands(kafka, applied_topics, commands)
        queued = "SELECT count(*) FROM commands WHERE state = 'queued'"
        wait_until(lambda: database.finished() > 10 and database.scalar(queued) > 2900 and is_read(database, 3001))
        victim.sigkill()
        assert now() < hour
        calls_count = len(brokerage.calls())
        wait_until(lambda: now() > hour)
        start_worker(settings=QUICK_HOURS)
        outcomes = await read_outcomes(kafka, applied_topics, all_expired(commands))
        (ending,) = brokerage.calls(operation="temp.expire")
        before = [call for call in brokerage.calls()[calls_count:] if call["received_at"] < ending["received_at"]]
        assert len(before) <= 1, "the expiry is the lane's next turn, save for a call that is under way"
        assert database.scalar(queued) > 2500
        assert expiries(outcomes)[adjusting["command_id"]]["result"]["ended_by"] == "timer"
        found = measure(Told(commands, sent, brokerage.effects(), brokerage.calls(), outcomes))
        amiss = found.early or found.doubled or found.misordered or found.false or found.gaps
        assert not amiss, f"\n{found}"

    async def test_an_expiry_passes_a_command_in_doubt_that_holds_its_lane(
        self, kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
    ) -> None:
        account_no = new_account()
        start_worker(settings=QUICK_HOURS)
        hour = hour_in(6)
        doubtful = new_command("cash.adjust", account_no, {"remark": "doubtful"})
        commands = [temporary(account_no, hour), doubtful, new_command("cash.adjust", account_no)]
        brokerage.fault("drop_request", operation="cash.adjust", remark="doubtful", times=-1)
        sent = await produce_commands(kafka, applied_topics, commands)
        wait_until(lambda: brokerage.calls(operation="temp.expire"), message="the expiry is called for")
        state = database.scalar("SELECT state FROM commands WHERE command_id = %s", doubtful["command_id"])
        brokerage.clear_faults()
        assert state in {"in_doubt", "sending"}
        told = await hear(kafka, applied_topics, brokerage, commands, sent, until=all_expired(commands))
        assert_clean(told)
        (ending,) = brokerage.calls(operation="temp.expire")
        assert lateness_s(ending, hour) < LATE_MAX_S


def is_read(database: Database, count: int) -> bool:
    return bool(database.scalar("SELECT count(*) FROM commands") == count)


class TestFourEnds:
    """The brokerage sweeps four seconds after the hour; who ended an adjustment is said, or that nobody knows."""

    @pytest.fixture
    def brokerage(self, start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
        return SandboxClient(start_brokerage("--sweep-delay-s", "4").url)

    async def test_who_ended_an_adjustment_is_told_as_the_ledger_has_it_or_unknown(
        self, kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
    ) -> None:
        start_worker(settings={**QUICK_HOURS, "LEDGER_SWEEP_GRACE_S": "5"})
        hour = hour_in(5)
        cases = {
            by: temporary(new_account(), hour) for by in ("timer", "command", "brokerage", "unknown", "sweep", "parked")
        }
        commands = list(cases.values())
        sent = await produce_commands(kafka, applied_topics, commands)
        wait_until(lambda: database.scalar(BOOKED) == len(cases))
        enders = [
            new_command("temp.expire", one["account_no"], {"adjust": {"command_id": one["command_id"]}})
            for one in (cases["command"], cases["parked"])
        ]
        brokerage.fault("drop_answer", operation="temp.expire", account_no=cases["parked"]["account_no"])
        sent += await produce_commands(kafka, applied_topics, enders)
        account_of = {by: one["account_no"] for by, one in cases.items()}
        brokerage.fault("rate_limited", operation="temp.expire", account_no=account_of["brokerage"], times=-1)
        brokerage.fault("drop_answer", operation="temp.expire", account_no=account_of["unknown"])
        brokerage.fault("drop_request", operation="temp.expire", account_no=account_of["sweep"], times=-1)
        swept = {account_of["brokerage"], account_of["sweep"]}
        wait_until(lambda: swept <= {effect["account_no"] for effect in brokerage.effects(operation="sweep")})
        brokerage.clear_faults()
        commands += enders
        told = await hear(kafka, applied_topics, brokerage, commands, sent, until=all_expired(commands))
        assert_clean(told)
        ended = expiries(list(told.outcomes))
        told_of = {by: ended[one["command_id"]]["result"] for by, one in cases.items()}
        assert {by: result["ended_by"] for by, result in told_of.items()} == {
            "timer": "timer",
            "command": "command",
            "brokerage": "brokerage",
            "unknown": "unknown",
            "parked": "unknown",  # a command's own call to end it is in doubt, and did
            "sweep": "unknown",  # a call of ours was in doubt, so the brokerage's own sweep cannot be told from it
        }
        assert {by: result["basis"] for by, result in told_of.items()} == {
            "timer": "answer",
            "command": "answer",
            "brokerage": "inferred",
            "unknown": "inferred",
            "sweep": "inferred",
            "parked": "inferred",
        }


class TestManyTimers:
    """A brokerage that ends nothing by itself meanwhile."""

    @pytest.fixture
    def brokerage(self, start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
        return SandboxClient(start_brokerage("--sweep-delay-s", "600").url)

    async def test_each_of_many_timers_is_expired_once_and_not_early_by_several_workers_one_of_them_killed(
        self, kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
    ) -> None:
        chance = seeded()
        workers = [start_worker(settings=QUICK_HOURS, wait=False) for _ in range(3)]
        for worker in workers:
            worker.wait_ready()
        accounts = [new_account() for _ in range(25)]
        first_hour = hour_in(6)
        commands = [
            temporary(chance.choice(accounts), first_hour + timedelta(seconds=chance.randrange(4))) for _ in range(100)
        ]
        sent = await produce_commands(kafka, applied_topics, commands)
        wait_until(lambda: database.scalar(BOOKED) == len(commands))
        wait_until(lambda: brokerage.effects(operation="temp.expire"), message="the first expiry")
        chance.choice(workers).sigkill()
        told = await hear(kafka, applied_topics, brokerage, commands, sent, until=all_expired(commands))
        assert_clean(told)
        by = [one["result"]["ended_by"] for one in expiries(list(told.outcomes)).values()]
        assert set(by) <= {"timer", "unknown"}
        assert "timer" in by


async def test_no_expiry_is_early_though_the_clock_of_its_worker_is_ahead(
    kafka: str,
    applied_topics: Topics,
    brokerage: SandboxClient,
    start_worker: Start,
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntrue = time.time\ntime.time = lambda: true() + 60\n")
    path = os.pathsep.join([str(tmp_path), str(CHECKOUT)])
    start_worker(settings={**QUICK_HOURS, "PYTHONPATH": path}, fresh=True)
    commands = [temporary(new_account(), hour_in(6)) for _ in range(5)]
    sent = await produce_commands(kafka, applied_topics, commands)
    told = await hear(kafka, applied_topics, brokerage, commands, sent, until=all_expired(commands))
    assert_clean(told)
