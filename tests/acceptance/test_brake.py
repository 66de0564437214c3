"""The hand on the brake, through the command line, while a worker runs: nothing is lost, nothing is sent that must wait."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
import pytest

from tests.integration.operate.conftest import typed
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.kafka import terminal
from tests.support.stuck import stuck
from tests.support.upstream import Json, Upstream, about, gaps, temporary, types_of

WHY = ("--reason", "looked into", "--yes")
LIMITS = '{"position.adjust": {"command_quantity": "10"}}'


class Operator:
    """Types commands, and looks into the database to see when the worker has done what a test waits for."""

    def __init__(self, env: Mapping[str, str], database_url: str) -> None:
        self._env, self._url = env, database_url

    def does(self, *arguments: str, code: int = 0) -> str:
        done = asyncio.run(typed(self._env, *arguments))
        assert done.returncode == code, done.stderr
        return str(done.stdout)

    def asks(self, *arguments: str) -> Any:
        return json.loads(self.does(*arguments, "--output", "json"))

    def rows(self, statement: str, *given: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url) as connection:
            return connection.execute(statement, given).fetchall()

    def wait_held(self, accounts: Sequence[str], reason: str) -> None:
        """Block until these accounts rest with such a reason."""
        statement = "SELECT count(*) FROM lanes WHERE account_no = ANY(%s) AND state = 'held' AND hold_reason LIKE %s"
        wait_until(lambda: self.rows(statement, list(accounts), f"{reason}%") == [(len(accounts),)])


@pytest.fixture
def operator(worker_env: dict[str, str], database_url: str) -> Operator:
    return Operator(worker_env, database_url)


def accounts_of(commands: Sequence[Json]) -> list[str]:
    return sorted({str(one["account_no"]) for one in commands})


@pytest.mark.prints("pause: stopped", "pause: listed", "resume")
def test_what_is_stopped_waits_and_goes_on_and_nothing_is_lost(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    operator: Operator,
    database_url: str,
) -> None:
    worker = start_worker(settings=QUICK | {"LEDGER_LIMITS": LIMITS})
    sent = [
        *everything_under_load(worker, upstream, brokerage, operator),
        *one_operation(worker, upstream, brokerage, operator),
        *one_account(upstream, brokerage, operator),
        fired(upstream, brokerage, operator),
        limited(upstream, brokerage),
    ]
    outcomes = upstream.answered(*sent)
    assert gaps(outcomes) == {}
    assert all(len([t for t in types_of(outcomes, one) if t.startswith("command.")]) == 1 for one in sent)
    assert worker.sigterm() == 0
    with psycopg.connect(database_url) as connection:
        assert stuck(connection) == []


def everything_under_load(
    worker: WorkerProcess, upstream: Upstream, brokerage: SandboxClient, operator: Operator
) -> list[Json]:
    brokerage.fault("delay", delay_s=0.3, operation="cash.freeze", times=-1)
    first = [
        new_command("cash.freeze", account_no) for account_no in (new_account() for _ in range(20)) for _ in range(8)
    ]
    upstream.send(*first)
    wait_until(lambda: len(brokerage.effects(operation="cash.freeze")) > 5)
    told = json.loads(operator.does("pause", *WHY))
    assert told["stopped"] == "everything"
    assert told["expiries_due"] == {"now": 0, "within_the_hour": 0}
    wait_until(lambda: worker.get("/readyz")[0] == 503)
    assert "everything is paused: looked into" in worker.get("/readyz")[1]
    assert worker.metrics()['ledger_paused{operation="all"}'] == 1
    assert "pause" in operator.does("doctor", code=1)
    wait_until(lambda: operator.rows("SELECT 1 FROM lanes WHERE state IN ('leased', 'ready')") == [])
    calls = len(brokerage.calls())
    assert calls < len(first), "it must be paused while there is something to do"
    later = [new_command("cash.freeze", new_account()) for _ in range(5)]
    upstream.send(*later)
    operator.wait_held(accounts_of(later), "everything is paused")
    assert len(brokerage.calls()) == calls
    assert operator.asks("pause", "--list")[0]["lanes_waiting"] >= len(later)
    operator.does("pause", *WHY, code=5)
    operator.does("resume", "--operation", "cash.freeze", *WHY, code=3)
    operator.does("resume", *WHY)
    outcomes = upstream.answered(*first, *later, deadline_s=20)
    assert {one["type"] for one in terminal(outcomes).values()} == {"command.succeeded"}
    assert len(brokerage.effects(operation="cash.freeze")) == len(first) + len(later)
    wait_until(worker.is_ready)
    brokerage.clear_faults()
    return [*first, *later]


def one_operation(
    worker: WorkerProcess, upstream: Upstream, brokerage: SandboxClient, operator: Operator
) -> list[Json]:
    operator.does("pause", "--operation", "order.place", *WHY)
    order, freeze = new_command("order.place", new_account()), new_command("cash.freeze", new_account())
    upstream.send(order, freeze)
    upstream.answered(freeze)
    operator.wait_held(accounts_of([order]), "order.place is paused")
    wait_until(lambda: "order.place is paused" in worker.get("/readyz")[1])
    assert brokerage.calls(operation="order.place") == []
    operator.does("resume", "--operation", "order.place", *WHY)
    upstream.answered(order, deadline_s=20)
    return [order, freeze]


def one_account(upstream: Upstream, brokerage: SandboxClient, operator: Operator) -> list[Json]:
    held, other = new_account(), new_account()
    operator.does("accounts", "hold", held, *WHY)
    batch = [new_command("cash.freeze", held) for _ in range(5)]
    refers = new_command("cash.unfreeze", held, {"freeze": {"command_id": batch[0]["command_id"]}})
    beside = new_command("cash.freeze", other)
    upstream.send(*batch, refers, beside)
    upstream.answered(beside)
    operator.wait_held([held], f"account {held} is held: looked into")
    [shown] = operator.asks("accounts", "list", "--held")
    assert (shown["account_no"], shown["waiting"], shown["held_reason"]) == (held, 6, "looked into")
    assert "is held" in json.dumps(operator.asks("explain", held))
    operator.does("commands", "cancel", *(one["command_id"] for one in batch), *WHY)
    outcomes = terminal(upstream.answered(*batch))
    for one in batch:
        told = outcomes[one["command_id"]]
        assert (told["error"]["code"], told["error"]["origin"], told["attempts"]) == ("CANCELLED", "policy", 0)
        assert told["decided_by"] == operator.rows("SELECT actor FROM audit WHERE action = 'commands.cancel'")[0][0]
    operator.does("commands", "cancel", batch[0]["command_id"], *WHY, code=5)
    operator.does("accounts", "release", held, *WHY)
    told = terminal(upstream.answered(refers, deadline_s=20))[refers["command_id"]]
    assert told["error"]["code"] == "REFERENCE_INVALID"
    assert brokerage.calls(account_no=held) == []
    return [*batch, refers, beside]


def fired(upstream: Upstream, brokerage: SandboxClient, operator: Operator) -> Json:
    adjust = temporary(new_account())
    upstream.send(adjust)
    upstream.answered(adjust)
    operator.does("timers", "fire", adjust["command_id"], *WHY)
    ended = "temp_adjustment.expired"
    outcomes = upstream.outcomes(lambda seen: ended in types_of(seen, adjust))
    [told] = [one for one in about(outcomes, adjust) if one["type"] == ended]
    assert (told["result"]["ended_by"], told["result"]["basis"]) == ("command", "person")
    assert told["decided_by"]
    assert len(brokerage.effects(account_no=adjust["account_no"], operation="temp.expire")) == 1
    operator.does("timers", "fire", adjust["command_id"], *WHY, code=5)
    return adjust


def limited(upstream: Upstream, brokerage: SandboxClient) -> Json:
    much = new_command("position.adjust", new_account(), {"quantity": "10.5"})
    upstream.send(much)
    told = terminal(upstream.answered(much))[much["command_id"]]
    assert (told["error"]["code"], told["error"]["field"]) == ("LIMIT_EXCEEDED", "payload.quantity")
    assert brokerage.calls(account_no=much["account_no"]) == []
    return much


def test_a_partition_s_intake_stops_and_goes_on_without_a_restart(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, operator: Operator
) -> None:
    worker = start_worker(settings=QUICK | {"LEDGER_REFUSALS_IN_ROW_MAX": "3"})
    topic = upstream.topics.orders
    before = new_command("order.place", "P1")
    [sent] = upstream.send(before)
    upstream.answered(before)
    place = ("--topic", topic, "--partition", str(sent.partition))
    operator.does("pause", *place, *WHY)
    operator.does("pause", *place, *WHY, code=5)
    order, freeze = new_command("order.place", "P1"), new_command("cash.freeze", "P1")
    upstream.send(order, freeze)
    upstream.answered(freeze)
    wait_until(lambda: f"{topic}[{sent.partition}]" in worker.get("/readyz")[1])
    assert operator.rows("SELECT 1 FROM commands WHERE command_id = %s", order["command_id"]) == []
    assert operator.asks("pause", "--list")[0]["subject"] == f"{topic}[{sent.partition}]"
    operator.does("resume", *place, *WHY)
    upstream.answered(order)
    upstream.write([(topic, b"P1", b"no JSON", ())] * 3)
    wait_until(lambda: operator.asks("pause", "--list"))
    operator.does("resume", *place, *WHY)
    after = new_command("order.place", "P1")
    upstream.send(after)
    upstream.answered(after)
    assert worker.sigterm() == 0
