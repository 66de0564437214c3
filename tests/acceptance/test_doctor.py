"""`doctor` looks at every part and says in one line each what is wrong and what to do."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Topics
from tests.support.brokerage import SandboxClient
from tests.support.kafka import create_topics, produce

LINES = {
    *(
        "settings",
        "versions",
        "database",
        "clock",
        "durability",
        "revision",
        "workers",
        "outbox",
        "set-aside",
        "doubts",
        "brake",
    ),
    *(
        "timers",
        "intake",
        "invariants",
        "audit",
        "kafka",
        "rights",
        "topics",
        "places",
        "lag",
        "memory",
        "brokerage",
        "whale-clock",
    ),
}
NOBODY = "127.0.0.1:1"

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


def _checks(done: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, Any]]:
    return {one["check"]: one for one in json.loads(done.stdout)}


@pytest.mark.prints("doctor")
def test_where_all_is_in_order_every_line_says_so(
    run_cli: RunCli, worker_env: dict[str, str], applied_topics: Topics
) -> None:
    done = run_cli("doctor", "--output", "json")
    checks = _checks(done)
    assert done.returncode == 0, done.stdout
    assert {name for name, one in checks.items() if not one["ok"]} == set()
    assert set(checks) == LINES
    assert "Python 3." in checks["versions"]["says"]
    assert "Kafka " in checks["kafka"]["says"]
    assert "0 lanes held past their time" in checks["invariants"]["says"]
    assert all(value not in done.stdout + done.stderr for name, value in worker_env.items() if "SECRET" in name)


def test_each_part_that_is_away_has_its_own_line_and_hides_no_other(
    run_cli: RunCli, worker_env: dict[str, str], applied_topics: Topics, subtests: pytest.Subtests
) -> None:
    for check, setting, value in [
        ("kafka", "LEDGER_KAFKA_BOOTSTRAP_SERVERS", NOBODY),
        ("brokerage", "LEDGER_WHALE_BASE_URL", f"http://{NOBODY}"),
        ("database", "LEDGER_DATABASE_URL", f"postgresql://nobody@{NOBODY}/none"),
    ]:
        with subtests.test(check):
            done = run_cli("doctor", "--output", "json", env={**worker_env, setting: value})
            checks = _checks(done)
            assert done.returncode == 1
            assert [name for name, one in checks.items() if not one["ok"]] == [check]
            assert setting.removesuffix("BOOTSTRAP_SERVERS") in checks[check]["do"]


def test_a_brokerage_that_does_not_take_our_keys_is_told_from_one_that_is_away(
    run_cli: RunCli, worker_env: dict[str, str], applied_topics: Topics, brokerage: SandboxClient
) -> None:
    done = run_cli("doctor", "--output", "json", env={**worker_env, "LEDGER_WHALE_APP_SECRET": "not-the-secret"})
    said = _checks(done)["brokerage"]
    assert done.returncode == 1
    assert (said["ok"], "403201" in said["says"], "keys" in said["do"]) == (False, True, True)
    assert "not-the-secret" not in done.stdout + done.stderr
    brokerage.fault("unauthorized", times=-1)
    said = _checks(run_cli("doctor", "--output", "json"))["brokerage"]
    assert (said["ok"], "token" in said["says"]) == (False, True)


def test_topics_that_are_missing_or_differ_from_the_manifest_are_named(
    run_cli: RunCli, worker_env: dict[str, str], topics: Topics, kafka: str
) -> None:
    missing = _checks(run_cli("doctor", "--output", "json"))["topics"]
    assert (missing["ok"], "topics plan" in missing["do"]) == (False, True)
    assert all(name in missing["says"] for name in topics.names())
    asyncio.run(create_topics(kafka, topics.names(), partitions=1))
    differing = _checks(run_cli("doctor", "--output", "json"))["topics"]
    assert not differing["ok"]
    assert topics.names()[0] in differing["says"]


def test_records_that_nobody_reads_are_counted_per_topic(
    run_cli: RunCli, kafka: str, worker_env: dict[str, str], applied_topics: Topics
) -> None:
    asyncio.run(produce(kafka, [(applied_topics.freezes, b"A1", b"{}", ()) for _ in range(3)]))
    checks = _checks(run_cli("doctor", "--output", "json"))
    assert not checks["lag"]["ok"]
    assert f"{applied_topics.freezes} 3" in checks["lag"]["says"]
    assert "0 workers read" in checks["lag"]["says"]
