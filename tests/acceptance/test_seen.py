"""What a worker shows of itself while it works: metrics, alerts, log lines, stories; and what it never shows."""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests import factories
from tests.acceptance.test_ten_types import TARGETS, plain, referring, targets
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.observed import families, is_true, names_in, panel_expressions, rules, series_of, texts_of
from tests.support.upstream import Upstream
from worker.observe.events import EVENTS
from worker.observe.metrics import Metrics

TOKEN = "a-token-for-stories"
SECRETS = ("test-secret", "test-token", TOKEN)
STORIES = {"LEDGER_HTTP_EXPLAIN": "true", "LEDGER_HTTP_TOKEN": TOKEN}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MARK = "zq7"
"""Is in every text of a payload that the sandbox takes as it is, and in no other text."""
AMOUNT, QUANTITY = "7319.37", "73191"
WORDS = {"CASH", "STOCK", "CREDIT", "DEBIT", "LONG", "USD", "HKD", "HK", "Buy", "LO", "Day", "admin"}
"""Of a payload, but no news of an account: too short or too common to look for."""
BOUNDED = {
    "operation": {*factories.TYPES, "all"},
    "command_type": set(factories.TYPES),
    "state": {"idle", "ready", "leased", "held"},
    "verdict": {"Confirmed", "Refused", "InDoubt", "NotSent", "Seen", "Absent", "Ended", "Unreadable"},
    "outcome": {"succeed", "reject", "park"},
    "reason": {"MALFORMED", "TOO_LARGE", "QUARANTINED"},
    "age": {"under_1m", "under_10m", "under_1h", "over_1h"},
    "class": {"urgent", "others"},
}
ALERTS = {rule["alert"]: rule["expr"] for rule in rules()}


def marked(command: dict[str, Any]) -> dict[str, Any]:
    """Give a command texts and amounts that stand nowhere else."""
    changed = {"remark": f"remark {MARK}", "biz_code": f"CODE_{MARK}", "op_user": f"user-{MARK}", "amount": AMOUNT}
    if command["type"] != "order.modify":  # which takes less than was placed
        changed["quantity"] = QUANTITY
    payload = command["payload"]
    given = {name: text for name, text in changed.items() if name in payload}
    return {**command, "payload": payload | given}


def everything(account_no: str) -> list[dict[str, Any]]:
    """Commands of all ten types for one account."""
    first = targets(account_no)
    named = {TARGETS[one["type"]]: {"command_id": one["command_id"]} for one in first}
    return [marked(one) for one in (*first, *referring(account_no, named), *plain(account_no, by_symbol=False))]


def send_all_that_can_go_wrong(upstream: Upstream, brokerage: SandboxClient) -> list[dict[str, Any]]:
    """Send commands that meet every kind of fault, and records that are none; returns those that get a verdict."""
    commands = [one for _ in range(2) for one in everything(new_account())]
    for kind in ("malformed", "error_after", "drop_answer", "inner_failed", "rate_limited", "error_before", "refused"):
        account_no = new_account()
        brokerage.fault(kind, account_no=account_no, operation="cash.freeze")
        commands.append(marked(new_command("cash.freeze", account_no)))
    # what needs no call is decided at the claim
    commands.append(marked(new_command("cash.adjust", new_account(), not_after="2020-01-01T00:00:00Z")))
    unreadable, account_no = f'{{"account_no": "{MARK}", "amount": "{AMOUNT}"'.encode(), new_account()
    bad = new_command("cash.adjust", account_no, {"amount": f"{AMOUNT}1", "remark": MARK})
    header = ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
    records = [(upstream.topics.adjustments, account_no.encode(), json.dumps(bad).encode(), [header])]
    records += [
        (upstream.topics.for_type(one["type"]), one["account_no"].encode(), json.dumps(one).encode(), [header])
        for one in [*commands, {**commands[0], "payload": commands[0]["payload"] | {"biz_code": f"other {MARK}"}}]
    ]
    upstream.write([*records, (upstream.topics.adjustments, account_no.encode(), unreadable, [])])
    return [*commands, bad]


@pytest.fixture
def busy(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, brokerage: SandboxClient
) -> tuple[WorkerProcess, list[dict[str, Any]]]:
    """A worker that tells stories, told by a signal to say everything, after a run in which all kinds of things went wrong."""
    worker = start_worker(settings=QUICK | STORIES)
    worker.program.popen.send_signal(signal.SIGUSR1)
    wait_until(lambda: "run.level_set" in worker.log)
    commands = send_all_that_can_go_wrong(upstream, brokerage)
    upstream.answered(*commands)
    upstream.dead_letters(1)
    return worker, commands


def test_a_full_run_shows_what_is_declared_and_neither_secrets_nor_payloads(
    busy: tuple[WorkerProcess, list[dict[str, Any]]],
    run_cli: Callable[..., Any],
    worker_env: dict[str, str],
    subtests: pytest.Subtests,
) -> None:
    worker, commands = busy
    text = wait_until(lambda: shown if "ledger_doubts_by_age" in (shown := worker.get("/metrics")[1]) else "")
    with subtests.test("metrics"):
        shows_what_is_declared(text, commands)
    with subtests.test("stories"):
        tells_the_same_story(worker, commands, run_cli)
    worker.program.popen.send_signal(signal.SIGUSR2)
    wait_until(lambda: worker.log.count("run.level_set") == 2)
    assert worker.sigterm() == 0
    with subtests.test("lines"):
        says_everything_about_each_command(list(lines_of(worker.log)), commands)
    with subtests.test("never"):
        printed = worker.log + text
        password = urlsplit(worker_env["LEDGER_DATABASE_URL"]).password
        assert [secret for secret in (*SECRETS, password) if secret and secret in printed] == []
        payloads = {one for command in commands for one in texts_of(command["payload"])} - WORDS
        payloads -= {one["command_id"] for one in commands}  # references: ids are what lines are about
        assert len(payloads) > 10
        assert [one for one in (MARK, AMOUNT, *payloads) if (one == MARK or len(one) > 4) and one in printed] == []


def shows_what_is_declared(text: str, commands: list[dict[str, Any]]) -> None:
    shown = families(text)
    assert {name for name in shown if not name.startswith(("process_", "ledger_"))} == set()
    assert {name for name in shown if name.startswith("ledger_")} == {one.name for one in Metrics().declared()}
    known = series_of(text)
    for expression in (*panel_expressions(), *ALERTS.values()):
        assert names_in(expression) <= known, expression
    labels = {one.name: set(one.labels) for one in Metrics().declared()}
    for name, series in shown.items():
        for _, given, _ in series:
            assert name not in labels or given.keys() - {"le"} == labels[name], name
            for label, values in BOUNDED.items():
                assert given.get(label) is None or given[label] in values, (name, given)
    assert [one["account_no"] for one in commands if one["account_no"] in text] == []
    totals = {name: sum(value for _, _, value in series) for name, series in shown.items()}
    assert totals["ledger_records_read_total"] == len(commands) + 2
    assert totals["ledger_dead_letters_total"] == totals["ledger_commands_refused_total"] == 1
    # all but the refused one: what needs no call counts as well as what an answer decided
    assert totals["ledger_commands_finished_total"] == len(commands) - 1
    assert totals["ledger_command_seconds_total"] > 0
    stages = {given["stage"]: value for name, given, value in shown["ledger_flush_commands"] if name.endswith("_sum")}
    assert stages.keys() == {"accept", "claim", "finish", "publish"}
    assert stages["accept"] == len(commands) + 2


def lines_of(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        yield json.loads(line)


def says_everything_about_each_command(lines: list[dict[str, Any]], commands: list[dict[str, Any]]) -> None:
    ours = [line for line in lines if "logger" not in line]
    assert {line["event"] for line in ours} <= set(EVENTS)
    named = [line for line in ours if "command_id" in line]
    assert all(line["trace_id"] == TRACE and line["account_no"] for line in named)
    for event in ("accept.stored", "effect.ended"):
        told = {line["command_id"] for line in named if line["event"] == event}
        due = commands if event == "accept.stored" else [one for one in commands[:-1] if one["type"] == "cash.freeze"]
        assert {one["command_id"] for one in due} <= told, event
    signals = [at for at, line in enumerate(lines) if line["event"] == "run.level_set"]
    assert [lines[at]["to"] for at in signals] == ["debug", "info"]
    detailed = [at for at, line in enumerate(lines) if line["level"] == "debug"]
    assert detailed
    assert signals[0] < min(detailed) <= max(detailed) < signals[1]


def tells_the_same_story(worker: WorkerProcess, commands: list[dict[str, Any]], run_cli: Callable[..., Any]) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path, subject in (("commands", commands[0]["command_id"]), ("accounts", commands[0]["account_no"])):
        status, body = worker.get(f"/{path}/{subject}", bearer)
        assert status == 200, body
        assert json.loads(body) == json.loads(run_cli("explain", subject, "--output", "json").stdout)
        for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": "Bearer another"}):
            assert worker.get(f"/{path}/{subject}", wrong)[0] == 401
    for unknown in ("/commands/none", f"/commands/{factories.COMMAND_ID}", "/accounts/none", "/accounts/%00"):
        assert worker.get(unknown, bearer)[0] == 404
        assert worker.get(unknown)[0] == 401, "who may not ask does not learn what is there"


def test_an_alert_is_true_of_a_dead_relay_an_old_doubt_an_overdue_timer_and_a_stopped_intake(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    run_cli: Callable[..., Any],
    worker_env: dict[str, str],
) -> None:
    worker = start_worker("--role", "intake,lanes,timers", settings=QUICK | {"LEDGER_WHALE_KEY_LIFE_S": "3600"})
    conditions = ("LedgerRelayDead", "LedgerDoubtOld", "LedgerTimerOverdue", "LedgerIntakeStopped")
    assert worker.get("/commands/none")[0] == 404, "stories are off unless a setting turns them on"
    for what in (("--operation", "temp.expire"), ("--topic", upstream.topics.orders, "--partition", "0")):
        assert run_cli("pause", *what, "--reason", "a test", "--yes").returncode == 0
    adjusted, doubtful = everything(new_account())[0], new_command("cash.adjust", new_account())
    brokerage.fault("error_before", account_no=doubtful["account_no"], times=-1)
    upstream.send(adjusted, doubtful)
    with psycopg.connect(worker_env["LEDGER_DATABASE_URL"], autocommit=True) as connection:
        aged = {
            "outbox": "recorded_at = recorded_at - interval '1 hour'",
            "doubts": "since_at = since_at - interval '1 hour'",
            "timers": "due_at = due_at - interval '2 hours'",
        }
        for table in aged:
            wait_until(lambda table=table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        assert not [one for one in conditions[:3] if is_true(ALERTS[one], worker.get("/metrics")[1])]
        for table, change in aged.items():
            connection.execute(f"UPDATE {table} SET {change}")
    seen = wait_until(
        lambda: shown if all(is_true(ALERTS[one], shown := worker.get("/metrics")[1]) for one in conditions) else "",
        message=lambda: (
            f"{[one for one in conditions if not is_true(ALERTS[one], worker.get('/metrics')[1])]} are false"
        ),
    )
    assert families(seen)["ledger_doubts_amount"] == [
        ("ledger_doubts_amount", {"operation": "cash.adjust", "currency": "USD"}, 1000.0)
    ]
    assert ("ledger_doubts_by_age", {"age": "over_1h"}, 1.0) in families(seen)["ledger_doubts_by_age"]
