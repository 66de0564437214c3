"""Commands as traces: what a worker tells a receiver of OTLP over HTTP, and that nothing waits for one."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.parse import urlsplit

from sandbox.parts.ports import free_port
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.spans import SpanSeen, receiver
from tests.support.upstream import Upstream
from tests.support.worker import CHECKOUT, run_worker_cli

Json = dict[str, Any]
PRODUCER = "00f067aa0ba902b7"
MARK, AMOUNT = "zq8", "7319.38"


def traced(url: str, timeout_s: int = 10) -> dict[str, str]:
    export = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_TIMEOUT": str(timeout_s)}
    return QUICK | {"LEDGER_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": url} | export


def trace(number: int) -> str:
    return f"{number:032x}"


def send(upstream: Upstream, command: Json, traceparent: str) -> None:
    topic, key = upstream.topics.for_type(command["type"]), command["account_no"].encode()
    upstream.write([(topic, key, json.dumps(command).encode(), [("traceparent", traceparent.encode())])])


def about(command: Json, spans: Sequence[SpanSeen], stage: str = "") -> list[SpanSeen]:
    """The spans of a command, those of one stage where it is named, in the sequence in which they ended."""
    told = [one for one in spans if one.attributes["ledger.command_id"] == command["command_id"]]
    return sorted((one for one in told if one.name.startswith(stage)), key=lambda one: one.ended_ns)


def stages(command: Json, spans: Sequence[SpanSeen]) -> list[str]:
    return sorted(one.name.split()[0] for one in about(command, spans))


def are_told(*commands: Json) -> Callable[[Sequence[SpanSeen]], bool]:
    """Say whether what became of these commands is told to its end, as far as Kafka has it."""
    return lambda spans: all(
        any(one.attributes["ledger.outcome"] in ("command.succeeded", "command.rejected") for one in published)
        for published in (about(command, spans, "publish") for command in commands)
    )


def test_a_command_is_one_trace_from_its_producer_to_its_outcome_with_links_over_the_waits(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, brokerage: SandboxClient, worker_env: dict[str, str]
) -> None:
    account_no = new_account()
    doubtful, plain = (new_command("cash.adjust", account_no, {"remark": MARK, "amount": AMOUNT}) for _ in range(2))
    bad = new_command("cash.adjust", new_account(), {"amount": "-1", "remark": MARK})
    misled, unsampled = new_command("cash.freeze", new_account()), new_command("cash.freeze", new_account())
    brokerage.fault("error_before", account_no=account_no)
    with receiver() as taken:
        settings = traced(taken.url)
        # two processes: what one of them has accepted is linked by the other
        workers = [start_worker("--role", roles, settings=settings) for roles in ("intake", "lanes,timers,relay")]
        for number, command in enumerate((doubtful, plain, bad), 1):
            send(upstream, command, f"00-{trace(number)}-{PRODUCER}-01")
        send(upstream, misled, "00-not-a-trace")
        send(upstream, unsampled, f"00-{trace(9)}-{PRODUCER}-00")
        upstream.answered(doubtful, plain, bad, misled, unsampled)
        taken.until(are_told(doubtful, plain, bad, misled))
        assert [worker.sigterm() for worker in workers] == [0, 0]
    spans = taken.spans
    for number, command in enumerate((doubtful, plain, bad), 1):
        assert {one.trace_id for one in about(command, spans)} == {trace(number)}
    assert stages(plain, spans) == ["accept", "call", "finish", "publish"]
    assert stages(bad, spans) == ["accept", "publish"]
    assert stages(doubtful, spans)[:5] == ["accept", "call", "call", "finish", "finish"]
    assert about(unsampled, spans) == [], "what its producer does not sample stays out"
    for command in (doubtful, plain):
        are_linked(about(command, spans), parent=PRODUCER)
        _says_what_came_of_it(command, spans)
    one_root = about(misled, spans)
    assert stages(misled, spans) == ["accept", "call", "finish", "publish"]
    assert {one.trace_id for one in one_root} == {one_root[0].trace_id}
    are_linked(one_root, parent=one_root[0].span_id)
    assert [one.parent for one in one_root if one.name.startswith("accept")] == [""]
    doubted, cleared = about(doubtful, spans, "call")
    assert [one.attributes["ledger.verdict"] for one in (doubted, cleared)] == ["InDoubt", "Confirmed"]
    assert (doubted.is_error, doubted.attributes["error.type"]) == (True, doubted.attributes["ledger.rule"])
    assert cleared.attributes["http.request.resend_count"] == 1
    assert (refused := about(bad, spans)[0]).is_error
    assert refused.attributes["error.type"] == "DECIMAL_INVALID"
    _carries_the_same_trace(upstream, {plain["command_id"]: trace(2), misled["command_id"]: None})
    password = urlsplit(worker_env["LEDGER_DATABASE_URL"]).password
    shown = (MARK, AMOUNT, "test-secret", "test-token", password)
    assert [one for one in shown if one and one.encode() in taken.raw] == []


def are_linked(told: Sequence[SpanSeen], *, parent: str) -> None:
    """Each call and publication links the acceptance and is the parent's child; a finish is the child of its call."""
    [accept] = [one for one in told if one.name.startswith("accept")]
    calls = {one.span_id: one for one in told if one.name.startswith("call")}
    for one in told:
        assert one.began_ns <= one.ended_ns
        if one.name == "finish":
            assert calls.pop(one.parent).ended_ns <= one.began_ns
        elif one is not accept:
            assert one.parent == parent
            assert one.links == ((accept.trace_id, accept.span_id),)
            assert accept.began_ns <= one.began_ns or one.name.startswith("publish")
    assert calls == {}


def _says_what_came_of_it(command: Json, spans: Sequence[SpanSeen]) -> None:
    for one in about(command, spans):
        assert one.attributes["ledger.account_no"] == command["account_no"]
        assert one.attributes["ledger.command_type"] == command["type"]
        assert one.resource["service.name"] == "ledger-worker"
    [accept], call = about(command, spans, "accept"), about(command, spans, "call")[-1]
    assert accept.attributes["messaging.system"] == "kafka"
    assert accept.name == f"accept {accept.attributes['messaging.destination.name']}"
    told = {name: call.attributes[name] for name in ("http.request.method", "http.response.status_code")}
    assert told == {"http.request.method": "POST", "http.response.status_code": 200}
    assert str(call.attributes["url.full"]).endswith("/v1/whaleapi/asset/adjust_cash")
    [*_, finish] = about(command, spans, "finish")
    assert finish.attributes["ledger.decision"] == "succeed"
    [*_, published] = about(command, spans, "publish")
    assert published.attributes["ledger.outcome"] == "command.succeeded"


def _carries_the_same_trace(upstream: Upstream, traces: dict[str, str | None]) -> None:
    for record in upstream.records(upstream.topics.outcomes, lambda seen: len(seen) >= 5):
        command_id, headers = json.loads(record.value)["command_id"], dict(record.headers)
        if command_id in traces:
            carried = headers.get("traceparent", b"").decode()
            assert carried == (f"00-{traces[command_id]}-{PRODUCER}-01" if traces[command_id] else "")


def test_nothing_waits_for_a_receiver_that_is_away_or_silent_and_the_log_says_it_once(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream
) -> None:
    port = free_port()
    unheard, heard, last = (new_command("cash.freeze", new_account()) for _ in range(3))
    worker = start_worker(settings=traced(f"http://127.0.0.1:{port}", timeout_s=6))
    upstream.send(unheard)
    upstream.answered(unheard)
    wait_until(lambda: "traces.unavailable" in worker.log)
    with receiver(port) as taken:
        upstream.send(heard)
        upstream.answered(heard)
        taken.until(are_told(heard))
        wait_until(lambda: "traces.resumed" in worker.log)
    assert worker.log.count("traces.unavailable") == 1
    with create_server(("127.0.0.1", port)):  # takes connections, and says nothing
        for _ in range(2):
            last = new_command("cash.freeze", new_account())
            upstream.send(last)
            upstream.answered(last)
        assert worker.sigterm() == 0
    assert "traces.abandoned" in worker.log
    assert "opentelemetry" not in worker.log, "our lines say it: the exporter's own name the address and the answer"


def test_without_the_packages_a_worker_runs_and_one_that_is_to_trace_says_what_is_missing(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, worker_env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        'import sys\nsys.modules["opentelemetry"] = None\n'
    )  # no import finds it
    without = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}
    worker = start_worker(settings=QUICK | without, fresh=True)
    command = new_command("cash.freeze", new_account())
    send(upstream, command, f"00-{trace(1)}-{PRODUCER}-01")
    upstream.answered(command)
    assert worker.sigterm() == 0
    done = run_worker_cli("run", env={**worker_env, **without, "LEDGER_TRACES": "true"}, fresh=True)
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    assert said.startswith("LEDGER_TRACES is true, but OpenTelemetry is not installed")
    assert "ledger-worker[traces]" in said
