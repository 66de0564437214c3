"""A worker that was taken for dead, and was not: frozen at each point of the path past what it holds, taken over, awake again."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
    read_outcomes,
    wait_until,
)
from tests.support.kafka import Sent, all_answered
from tests.support.measure import Measure
from tests.support.proxy import FAIR, Kind, Link, Proxy, Weather
from tests.support.workload import keyed_workload, seeded

Start = Callable[..., WorkerProcess]
Json = dict[str, Any]
TAKEN_OVER = "SELECT count(*) FROM attempts WHERE rule = 'owner_silent'"
BY_ANOTHER = """
    SELECT count(*) FROM attempts WHERE owner NOT IN (SELECT owner FROM attempts WHERE rule = 'owner_silent')
"""
QUEUED = "SELECT count(*) FROM commands WHERE state = 'queued'"
BESIDES = "intake,timers,relay"


def temporary(account_no: str) -> Json:
    hour = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)  # noqa: TID251
    return new_command("temp.adjust", account_no, {"expires_at": hour.isoformat()})


class Stage:
    """One command of each keyedness on an account of its own, with all that comes before and a command behind each."""

    def __init__(self, kafka: str, topics: Topics, brokerage: SandboxClient) -> None:
        self.kafka, self.topics, self.brokerage = kafka, topics, brokerage
        placed = [new_command("order.place", new_account()) for _ in range(2)]
        booked = temporary(new_account())
        self.commands: list[Json] = [*placed, booked]
        self.sent: list[Sent] = []
        orders = [{"order": {"command_id": one["command_id"]}} for one in placed]
        self.doubtful: list[Json] = [
            new_command("cash.adjust", new_account()),  # keyed by request_id
            new_command("order.place", new_account()),  # by the tag in its remark
            new_command("order.modify", placed[0]["account_no"], orders[0]),  # by the order and what is wanted of it
            new_command("order.withdraw", placed[1]["account_no"], orders[1]),  # by the order
            new_command("temp.expire", booked["account_no"], {"adjust": {"command_id": booked["command_id"]}}),
            temporary(new_account()),  # by nothing
        ]

    async def prepare(self) -> None:
        """Send what the doubtful commands refer to, and wait until it is done."""
        self.sent = await produce_commands(self.kafka, self.topics, self.commands)
        await read_outcomes(self.kafka, self.topics, all_answered(self.commands), 60)

    async def send(self, commands: Sequence[Json]) -> None:
        self.sent += await produce_commands(self.kafka, self.topics, commands)
        self.commands += commands

    async def queue(self, database: Database) -> None:
        """Send the doubtful commands, with one behind each, and wait until they are queued: nobody claims meanwhile."""
        await self.send([*self.doubtful, *(new_command("cash.adjust", one["account_no"]) for one in self.doubtful)])
        wait_until(lambda: database.scalar(QUEUED) == 2 * len(self.doubtful), 60)

    async def clean(self) -> Measure:
        """Wait until all is answered or parked, and take the measure."""
        return assert_clean(await hear(self.kafka, self.topics, self.brokerage, self.commands, self.sent))

    def unanswered(self) -> int:
        return sum(call["answered_at"] is None for call in self.brokerage.calls())


@pytest.fixture
def stage(kafka: str, applied_topics: Topics, brokerage: SandboxClient) -> Stage:
    return Stage(kafka, applied_topics, brokerage)


async def staged(stage: Stage, database: Database, start_worker: Start) -> None:
    """Bring the doubtful commands to the heads of their lanes, with no worker for lanes left."""
    start_worker("--role", BESIDES, settings=CHAOS)
    first = start_worker("--role", "lanes", settings=CHAOS)
    await stage.prepare()
    assert first.sigterm() == 0
    await stage.queue(database)


class TestEachKeyedness:
    """By request_id, by tag, by target, by nothing: at each point all of them at once, one account each."""

    async def test_frozen_before_the_bytes_leave(self, stage: Stage, database: Database, start_worker: Start) -> None:
        await staged(stage, database, start_worker)
        calls_count = len(stage.brokerage.calls())
        with gate(database, "attempts", at_commit=True) as waiting:
            frozen = start_worker("--role", "lanes", settings=CHAOS)
            wait_until(waiting, message="a claim is valid from now on, and its worker does not know")
            frozen.sigstop()
        sending = "SELECT count(*) FROM commands WHERE state = 'sending'"
        wait_until(lambda: database.scalar(sending) == len(stage.doubtful))
        claimed = [row[0] for row in database.rows("SELECT attempt_id FROM attempts WHERE reported_at IS NULL")]
        start_worker("--role", "lanes", settings=CHAOS)
        wait_until(lambda: database.scalar(TAKEN_OVER) == len(claimed) == len(stage.doubtful))
        frozen.sigcont()
        wait_until(lambda: database.scalar(TAKEN_OVER) == 0, message="the frozen worker tells what it knows")
        await stage.clean()
        known = database.rows("SELECT known FROM attempts WHERE attempt_id = ANY(%s)", claimed)
        assert {row[0] for row in known} == {"not_sent"}, "late, and therefore never sent: its worker knows it"
        assert len(stage.brokerage.calls()) > calls_count

    async def test_frozen_between_the_bytes_and_the_answer(
        self, stage: Stage, database: Database, start_worker: Start
    ) -> None:
        await staged(stage, database, start_worker)
        stage.brokerage.fault("delay", delay_s=0.8, times=len(stage.doubtful))
        frozen = start_worker("--role", "lanes", settings=CHAOS, wait=False)
        wait_until(lambda: stage.unanswered() == len(stage.doubtful), 90)
        frozen.sigstop()
        start_worker("--role", "lanes", settings=CHAOS)
        wait_until(lambda: database.scalar(TAKEN_OVER) == len(stage.doubtful), message="all are taken over")
        wait_until(lambda: database.scalar(BY_ANOTHER) >= 3, message="the other worker is at work in their lanes")
        frozen.sigcont()
        await stage.clean()
        assert database.scalar(TAKEN_OVER) == 0, "what the frozen worker knew of its own calls was not recorded"

    async def test_frozen_with_the_answers_before_finish(
        self, stage: Stage, database: Database, database_url: str, start_worker: Start
    ) -> None:
        await staged(stage, database, start_worker)
        stage.brokerage.fault("delay", delay_s=0.5, times=len(stage.doubtful))
        with wire_to(database_url) as (wire, url):
            frozen = start_worker("--role", "lanes", settings={**CHAOS, "LEDGER_DATABASE_URL": url}, wait=False)
            wait_until(lambda: stage.unanswered() == len(stage.doubtful), 90)
            wire.tell(Weather(Kind.BLACK_HOLE))
            wait_until(lambda: stage.unanswered() == 0, message="all are answered")
            frozen.sigstop()
            start_worker("--role", "lanes", settings=CHAOS)
            wait_until(lambda: database.scalar(TAKEN_OVER) == len(stage.doubtful), message="all are taken over")
            wait_until(lambda: database.scalar(BY_ANOTHER) >= 3, message="the other worker is at work in their lanes")
            wire.tell(FAIR)
            frozen.sigcont()
            await stage.clean()
            wait_until(lambda: database.scalar(TAKEN_OVER) == 0, message="what it knew of its calls is recorded")
            applied = Counter(one["operation"] for one in stage.brokerage.effects())
            assert applied["temp.adjust"] == 2, "what has no key went out once"

    async def test_frozen_in_the_relay_and_in_intake_with_a_rebalance(
        self, stage: Stage, database: Database, start_worker: Start
    ) -> None:
        start_worker("--role", "lanes,timers", settings=CHAOS)
        frozen = start_worker("--role", "intake,relay", settings=CHAOS)
        await stage.prepare()
        with gate(database, "outbox", at_commit=False, event="DELETE") as marking:
            await stage.send(stage.doubtful)
            wait_until(marking, message="Kafka has outcomes, and the relay is about to mark them")
            with gate(database, "records", at_commit=False) as accepting:
                await stage.send([new_command("cash.adjust", one["account_no"]) for one in stage.doubtful])
                wait_until(accepting, message="intake stores a batch")
                frozen.sigstop()
        start_worker("--role", "intake,relay", settings=CHAOS, wait=False)
        others = "SELECT count(*) FROM relay_shards WHERE owner <> %s"
        owner = database.scalar("SELECT owner FROM relay_shards WHERE owner IS NOT NULL LIMIT 1")
        wait_until(lambda: database.scalar(others, owner) == 32, 60, "the other relay has taken the outbox")
        wait_until(lambda: database.scalar(QUEUED) == 0 and database.finished() == len(stage.commands), 60)
        await stage.send([new_command("cash.adjust", one["account_no"]) for one in stage.doubtful])
        frozen.sigcont()
        await stage.clean()
        assert frozen.program.is_running()


@contextmanager
def wire_to(database_url: str) -> Iterator[tuple[Link, str]]:
    """Give a wire of a worker's own to the database, and the address at its near end."""
    address = urlsplit(database_url)
    user, _, server = address.netloc.rpartition("@")
    with Proxy() as proxy:
        wire = proxy.link(server)
        yield wire, urlunsplit(address._replace(netloc=f"{user}@{wire.host_port}"))


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
