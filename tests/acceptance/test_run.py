"""`run` as a program: what keeps it from starting, how it ends, what it does while the brokerage lets nobody in."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psycopg
import pytest

from sandbox.parts.ports import free_port
from sandbox.parts.programs import Programs
from tests.support import QUICK, SandboxClient, Topics, WorkerProcess, new_account, new_command, wait_until
from tests.support.database import Databases
from tests.support.kafka import terminal
from tests.support.upstream import Upstream, about, types_of
from tests.support.worker import KEYS, run_worker_cli

PASSWORD = "a-database-password"
NOBODY = "127.0.0.1:1"

PATIENT = QUICK | {"LEDGER_WHALE_TIMEOUT_S": "10", "LEDGER_LANE_LEASE_S": "22", "LEDGER_DRAIN_S": "15"}


@pytest.fixture
def forks(programs: Programs) -> Programs:
    """Each process is a fresh one: how it starts and ends is what these tests are about."""
    return programs


def test_what_keeps_it_from_starting_is_one_sentence_without_a_secret(
    worker_env: dict[str, str], applied_topics: Topics, databases: Databases, subtests: pytest.Subtests
) -> None:
    env = {**worker_env, "LEDGER_HTTP_PORT": str(free_port())}
    without = {name: value for name, value in env.items() if name not in (*KEYS, "LEDGER_DATABASE_URL")}
    with databases.empty() as unmigrated, databases.migrated() as from_the_future:
        with psycopg.connect(from_the_future) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999', oldest_release = '9999'")
        wrong: dict[str, tuple[Mapping[str, str], tuple[str, ...]]] = {
            "settings missing": (without, (*KEYS, "LEDGER_DATABASE_URL")),
            "lease too short": (env | {"LEDGER_LANE_LEASE_S": "21"}, ("LEDGER_LANE_LEASE_S", "22")),
            "not a number": (env | {"LEDGER_WHALE_TIMEOUT_S": "soon"}, ("LEDGER_WHALE_TIMEOUT_S",)),
            "http to another host": (
                env | {"LEDGER_WHALE_BASE_URL": "http://brokerage.example"},
                ("LEDGER_WHALE_BASE_URL", "LEDGER_WHALE_ALLOW_HTTP"),
            ),
            "topics missing": (
                env | {"LEDGER_TOPIC_ORDERS": "no.such.topic", "LEDGER_TOPIC_AUDIT": "no.such.audit"},
                ("topic no.such.topic does not exist", "topic no.such.audit does not exist", "topics"),
            ),
            "a database without tables": (env | {"LEDGER_DATABASE_URL": unmigrated}, ("ledger-worker migrate",)),
            "a database of a later release": (env | {"LEDGER_DATABASE_URL": from_the_future}, ("9999",)),
            "Kafka away": (env | {"LEDGER_KAFKA_BOOTSTRAP_SERVERS": NOBODY}, ("Kafka", NOBODY)),
            "Postgres away": (
                env | {"LEDGER_DATABASE_URL": f"postgresql://ledger:{PASSWORD}@{NOBODY}/ledger"},
                ("Postgres", "127.0.0.1"),
            ),
        }
        with ThreadPoolExecutor(3) as pool:
            done = dict(
                zip(wrong, pool.map(lambda name: run_worker_cli("run", env=wrong[name][0]), wrong), strict=True)
            )
    secrets = [*(value for name, value in KEYS.items() if name != "LEDGER_WHALE_APP_KEY"), PASSWORD]
    secrets.append(urlsplit(worker_env["LEDGER_DATABASE_URL"]).password or PASSWORD)
    for name, ended in done.items():
        with subtests.test(name):
            is_one_sentence(ended, wrong[name][1], secrets)


def is_one_sentence(ended: "subprocess.CompletedProcess[str]", said: tuple[str, ...], secrets: list[str]) -> None:
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert [part for part in said if part not in ended.stderr] == [], ended.stderr
    assert [secret for secret in secrets if secret in ended.stderr] == []


def test_sigterm_lets_calls_end_and_records_them_and_waits_for_no_call_that_hangs(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, brokerage: SandboxClient
) -> None:
    accounts = [new_account() for _ in range(10)]
    for account_no in accounts:
        brokerage.fault("delay", delay_s=2, account_no=account_no)
    in_flight = [new_command("cash.adjust", account_no) for account_no in accounts]
    behind = [new_command("cash.freeze", account_no) for account_no in accounts]
    worker = start_worker(settings=PATIENT)
    upstream.send(*in_flight)
    wait_until(lambda: len(brokerage.calls(operation="cash.adjust")) == len(accounts))
    upstream.send(*behind)
    assert worker.sigterm() == 0
    assert "Traceback" not in worker.log
    ended = terminal(upstream.answered(*in_flight, deadline_s=5))
    assert {ended[one["command_id"]]["attempts"] for one in in_flight} == {1}

    hanging = new_command("cash.adjust", new_account())
    brokerage.fault("delay", delay_s=60, account_no=hanging["account_no"])
    worker = start_worker(settings=PATIENT | {"LEDGER_DRAIN_S": "7"})
    upstream.send(hanging)
    upstream.answered(*behind)
    wait_until(lambda: brokerage.calls(account_no=hanging["account_no"]))
    began_s = time.monotonic()
    assert worker.sigterm() == 0
    assert time.monotonic() - began_s < 7
    assert len(brokerage.effects()) == 20


def test_while_the_brokerage_lets_nobody_in_it_waits_says_why_and_goes_on_by_itself(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    subtests: pytest.Subtests,
) -> None:
    # no call passes its deadline, so a doubt would be of our own making
    worker = start_worker(settings=PATIENT)
    for told, fault in {
        "401003": {"kind": "unauthorized"},
        "401004": {"kind": "refused", "status": 400, "code": 401004},
        "403201": {"kind": "refused", "status": 403, "code": 403201},
        "403203": {"kind": "refused", "status": 403, "code": 403203},
        "403305": {"kind": "refused", "status": 403, "code": 403305},
    }.items():
        with subtests.test(told):
            brokerage.fault(times=-1, **fault)  # type: ignore[arg-type]
            reads, writes = len(brokerage.calls(operation="read")), len(brokerage.calls(operation="cash.adjust"))
            commands = [new_command("cash.adjust", new_account()) for _ in range(5)]
            upstream.send(*commands)
            wait_until(lambda: not worker.is_ready())
            assert told in worker.get("/readyz")[1]
            wait_until(lambda before=reads: len(brokerage.calls(operation="read")) > before + 1)
            brokerage.clear_faults()
            worker.wait_ready()
            outcomes = upstream.answered(*commands)
            for command in commands:
                assert types_of(outcomes, command) == ["command.succeeded"]
                assert len(brokerage.effects(account_no=command["account_no"])) == 1
            written = len(brokerage.calls(operation="cash.adjust")) - writes
            assert written <= 2 * len(commands), "a paused client does not knock with commands"
    assert "403202" not in {str(call["answer"]["code"]) for call in brokerage.calls(operation="cash.adjust")}


def test_what_is_refused_at_the_door_for_one_command_alone_stops_no_other(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, brokerage: SandboxClient
) -> None:
    worker = start_worker(settings=PATIENT)
    badly_signed, lost_path, other = (new_command("cash.adjust", new_account()) for _ in range(3))
    alone = {"operation": "cash.adjust", "account_no": badly_signed["account_no"], "status": 403, "code": 403201}
    brokerage.fault("refused", times=-1, **alone)
    brokerage.fault(
        "refused", operation="cash.adjust", account_no=lost_path["account_no"], status=404, code=404, times=2
    )
    behind = new_command("cash.freeze", badly_signed["account_no"])
    upstream.send(badly_signed, lost_path, other)
    upstream.answered(lost_path, other)
    upstream.send(behind)
    outcomes = upstream.answered(lost_path, other, behind)
    (parked,) = about(outcomes, badly_signed)
    assert (parked["type"], parked["error"]["code"], parked["attempts"]) == ("command.parked", "PARKED", 1)
    assert about(outcomes, lost_path)[-1]["attempts"] == 3
    assert all(one["type"] == "command.succeeded" for one in terminal(outcomes).values())
    assert worker.is_ready()
    assert "effect.paused" not in worker.log


@pytest.mark.parametrize(
    ("silent", "sign"), [("database", signal.SIGTERM), ("database", signal.SIGINT), ("kafka", signal.SIGTERM)]
)
def test_sigterm_while_it_looks_at_parts_that_do_not_answer_ends_it_with_0(
    worker_env: dict[str, str], programs: Programs, silent: str, sign: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(60)
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        away = {
            "database": {"LEDGER_DATABASE_URL": f"postgresql://ledger:{PASSWORD}@{address}/ledger"},
            "kafka": {"LEDGER_KAFKA_BOOTSTRAP_SERVERS": address},
        }
        worker = WorkerProcess(programs, {**worker_env, **away[silent]})
        with nobody.accept()[0] as asked:
            assert asked.recv(1)  # it waits for an answer now
            assert worker.program.stop(sign, deadline_s=5) == 0
    assert worker.log == "told to stop before the start: nothing was begun\n"


def test_while_too_many_commands_wait_the_rest_stays_in_kafka(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream
) -> None:
    settings = QUICK | {"LEDGER_QUEUE_DEPTH_MAX": "5"}
    intake = start_worker("--role", "intake", settings=settings)
    commands = [new_command("cash.adjust", new_account()) for _ in range(16)]
    upstream.send(*commands[:6])
    wait_until(lambda: "intake.full" in intake.log)
    assert intake.metrics()["ledger_commands_queued"] == 6
    upstream.send(*commands[6:])
    wait_until(lambda: sum(n for name, n in intake.metrics().items() if "ledger_intake_lag_records{" in name) == 10)
    assert intake.metrics()["ledger_intake_full"] == 1
    start_worker("--role", "lanes,relay,timers", settings=settings)
    upstream.answered(*commands)
    assert "intake.goes_on" in intake.log
