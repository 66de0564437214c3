"""A worker that was taken for dead, and was not."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from sandbox.parts.brokerage import Brokerage
from tests.chaos.conftest import CHAOS, Database, assert_clean, gate, hear
from tests.support import (
    SandboxClient,
    Topics,
    WorkerProcess,
    new_account,
    new_command,
    produce_commands,
    wait_until,
)
from tests.support.workload import keyed_workload, seeded

Start = Callable[..., WorkerProcess]
TAKEN_OVER = "SELECT count(*) FROM attempts WHERE rule = 'owner_silent'"


def temporary(account_no: str) -> dict[str, Any]:
    hour = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)  # noqa: TID251
    return new_command("temp.adjust", account_no, {"expires_at": hour.isoformat()})


class TestSlowBrokerage:
    """Calls take long, so that a freeze finds many of them under way."""

    @pytest.fixture
    def brokerage(self, start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
        return SandboxClient(start_brokerage("--latency-ms", "450", "--latency-jitter-ms", "350").url)

    async def test_nothing_is_doubled_or_misordered_by_a_worker_frozen_past_its_lease_during_calls(
        self, kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
    ) -> None:
        commands = keyed_workload(seeded(), 20, 120)
        frozen = start_worker(settings=CHAOS)
        sent = await produce_commands(kafka, applied_topics, commands)
        wait_until(lambda: sum(call["answered_at"] is None for call in brokerage.calls()) >= 15)
        frozen.sigstop()
        start_worker(settings=CHAOS)
        wait_until(lambda: database.scalar(TAKEN_OVER) >= 10)
        # the other worker is at work in the lanes that it took
        wait_until(lambda: database.scalar("SELECT count(*) FROM attempts WHERE number > 1") >= 5)
        frozen.sigcont()
        told = await hear(kafka, applied_topics, brokerage, commands, sent)
        assert_clean(told)
        assert frozen.metrics()["ledger_fences_lost_total"] >= 10, "the frozen worker reported nothing late"
        assert database.scalar(TAKEN_OVER) == 0, "what the frozen worker knew of its own calls was not recorded"


async def test_a_call_claimed_before_a_freeze_does_not_leave_after_it(
    kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
) -> None:
    commands = [temporary(new_account()) for _ in range(5)]
    commands += [new_command("cash.adjust", one["account_no"]) for one in commands]
    frozen = start_worker(settings=CHAOS)
    with gate(database, "attempts", at_commit=True) as waiting:
        sent = await produce_commands(kafka, applied_topics, commands)
        wait_until(waiting, message="a claim is valid from now on, and its worker does not know")
        frozen.sigstop()
    wait_until(lambda: database.scalar("SELECT count(*) FROM attempts") > 0)
    claimed = {row[0] for row in database.rows("SELECT attempt_id FROM attempts")}
    start_worker(settings=CHAOS)
    wait_until(lambda: database.scalar(TAKEN_OVER) == len(claimed))
    frozen.sigcont()
    wait_until(lambda: database.scalar(TAKEN_OVER) == 0, message="the frozen worker tells what it knows")
    told = await hear(kafka, applied_topics, brokerage, commands, sent)
    assert_clean(told)
    unsent = database.rows("SELECT known FROM attempts WHERE attempt_id = ANY(%s)", list(claimed))
    assert {row[0] for row in unsent} == {"not_sent"}, "late, and therefore never sent: its worker knows it"
    assert {one["type"] for one in told.outcomes} <= {"command.succeeded", "command.in_doubt", "command.parked"}


async def test_an_answer_that_comes_after_the_takeover_is_recorded_as_evidence(
    kafka: str, applied_topics: Topics, brokerage: SandboxClient, database: Database, start_worker: Start
) -> None:
    keyed, unkeyed = new_command("cash.adjust", new_account()), temporary(new_account())
    brokerage.fault("delay", delay_s=0.6, times=2)
    with role_that_can_be_locked_out(database) as (url, lock_out, let_in):
        cut_off = start_worker(settings={**CHAOS, "LEDGER_DATABASE_URL": url})
        sent = await produce_commands(kafka, applied_topics, [keyed, unkeyed])
        wait_until(lambda: len(brokerage.calls()) == 2)
        lock_out()
        start_worker(settings=CHAOS)
        stories = "SELECT state FROM commands WHERE command_id = %s"
        wait_until(lambda: database.scalar(stories, keyed["command_id"]) == "succeeded")
        wait_until(
            lambda: database.scalar(stories, unkeyed["command_id"]) == "parked",
            message=lambda: f"what has no key is parked, not sent again: {len(brokerage.calls())} calls",
        )
        let_in()
        wait_until(lambda: database.scalar(stories, unkeyed["command_id"]) == "succeeded")
        told = await hear(kafka, applied_topics, brokerage, [keyed, unkeyed], sent)
        assert_clean(told)
        firsts = database.rows("SELECT known, fence FROM attempts WHERE number = 1")
        assert firsts == [("confirmed", 1), ("confirmed", 1)], "the late answers are the first attempts' own"
        assert len(told.effects) == 2
        assert cut_off.program.is_running()


@contextmanager
def role_that_can_be_locked_out(database: Database) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Give a second way into the database, how to bar it with everyone who came that way, and how to open it again."""
    role, password = f"late_{secrets.token_hex(6)}", secrets.token_hex(12)
    address = urlsplit(database.url)
    url = urlunsplit(address._replace(netloc=f"{role}:{password}@{address.netloc.rpartition('@')[2]}"))
    with psycopg.connect(database.url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{password}'")

        def lock_out() -> None:
            admin.execute(f"ALTER ROLE {role} NOLOGIN")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])

        def let_in() -> None:
            admin.execute(f"ALTER ROLE {role} LOGIN")

        try:
            yield url, lock_out, let_in
        finally:
            lock_out()
            admin.execute(f"DROP ROLE {role}")
