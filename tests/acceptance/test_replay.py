"""A whole run read again on a real worker: no call and no event; and what was passed over reaches the brokerage once."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support import SandboxClient, WorkerProcess, new_command
from tests.support.upstream import Upstream
from tests.support.workload import keyed_workload, seeded

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

COMMANDS_COUNT = 2_000
"""The issue's figure is 10,000; docs/proof.md has what those gave."""
WHY = ("--reason", "a rehearsal", "--yes")


def plan_of(run_cli: Cli, topic: str) -> dict[str, Any]:
    done = run_cli("replay", "plan", "--topic", topic, "--output", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def outcomes_of(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        [count] = connection.execute("SELECT count(*) FROM outcomes").fetchone() or [0]
    return int(count)


@pytest.mark.timeout(300)  # on a machine that is busy; else a quarter of a minute
def test_a_run_read_again_makes_no_call_and_no_event_and_what_was_passed_over_is_done_once(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    run_cli: Cli,
    database_url: str,
) -> None:
    worker = start_worker()
    commands = keyed_workload(seeded(11), 60, COMMANDS_COUNT)
    upstream.send(*commands)
    upstream.answered(*commands, deadline_s=110)
    calls, told = len(brokerage.calls()), outcomes_of(database_url)
    topics = upstream.topics
    count = 0
    for topic in (topics.adjustments, topics.freezes, topics.orders):
        plan = plan_of(run_cli, topic)
        assert plan["classes"]["done"]["count"] == plan["records"]
        assert plan["to_feed"] == 0
        count += plan["records"]
        assert run_cli("replay", "run", plan["plan_id"], *WHY).returncode == 3
    assert count == COMMANDS_COUNT

    # the freezes are another topic's now, as after a mirror wrote them again; new ones lie among those that are done
    worker.sigterm()
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE offsets SET last_digest = 'another' WHERE topic = %s", [topics.freezes])
    account_no = next(one["account_no"] for one in commands if one["type"] == "cash.freeze")
    fresh = [new_command("cash.freeze", account_no) for _ in range(3)]
    upstream.send(*fresh)
    adopted = run_cli("topics", "adopt", "--at-end", *WHY)
    assert adopted.returncode == 0, adopted.stderr
    worker = start_worker()
    plan = plan_of(run_cli, topics.freezes)
    assert plan["to_feed"] == plan["classes"]["skipped"]["count"] == len(fresh)
    assert (len(brokerage.calls()), outcomes_of(database_url)) == (calls, told)
    ran = run_cli("replay", "run", plan["plan_id"], *WHY, "--output", "json")
    assert ran.returncode == 0, ran.stderr
    upstream.answered(*fresh)
    assert len(brokerage.calls()) == calls + len(fresh)
    again = plan_of(run_cli, topics.freezes)
    assert again["classes"]["done"]["count"] == again["records"]
    assert worker.sigterm() == 0
