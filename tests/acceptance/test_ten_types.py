"""All ten command types, from Kafka to the brokerage's books and back as outcomes, with two worker processes."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from aiokafka import ConsumerRecord
from jsonschema import Draft202012Validator, FormatChecker

from tests import factories
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command
from tests.support.upstream import Json, Upstream, gaps, temporary, value_of
from tests.support.worker import CHECKOUT

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VARIANTS: dict[str, dict[str, str]] = {
    "as documented first": {},
    "the other variants": {
        "LEDGER_WHALE_API_VERSION": "v2",
        "LEDGER_WHALE_TEMP_ROUTE": "whaleapi",
        "LEDGER_WHALE_WITHDRAW_IDS": "body",
    },
}
ROLES = {"as documented first": ("", ""), "the other variants": ("intake,relay", "lanes,timers")}
NUMBER_OF = {"adjust": "adjust_no", "freeze": "serial_num", "order": "order_id"}
KIND_OF = {"temp": "adjust", "cash": "freeze", "position": "freeze", "order": "order"}
TARGETS = {"temp.adjust": "adjust", "cash.freeze": "freeze", "order.place": "order"}


def targets(account_no: str) -> list[Json]:
    """The commands that others refer to."""
    return [temporary(account_no), new_command("cash.freeze", account_no), new_command("order.place", account_no)]


def referring(account_no: str, references: dict[str, Json]) -> list[Json]:
    """One command of each type that refers to another; `references` by kind."""
    adjust, freeze, order = references["adjust"], references["freeze"], references["order"]
    return [
        new_command("temp.expire", account_no, {"adjust": adjust}),
        new_command("cash.unfreeze", account_no, {"freeze": freeze, "amount": "5"}),
        new_command("cash.debit_frozen", account_no, {"freeze": freeze}),
        new_command("order.modify", account_no, {"order": order, "remark": "smaller"}),
        new_command("order.withdraw", account_no, {"order": order}),
    ]


def plain(account_no: str, *, by_symbol: bool) -> list[Json]:
    """The commands that refer to nothing and that nothing refers to."""
    stock = factories.TEMP_ADJUST_STOCK | {"expires_at": temporary(account_no)["payload"]["expires_at"]}
    if by_symbol:
        del stock["counter_id"]
        stock["symbol"] = "AAPL.US"
    return [
        new_command("cash.adjust", account_no, correlation_id="case 17", not_after="2099-01-01T00:00:00Z"),
        new_command("position.adjust", account_no),
        {**temporary(account_no), "payload": stock},
    ]


@pytest.mark.parametrize("chosen", VARIANTS)
def test_all_ten_types_are_applied_once_and_answered_once(
    chosen: str,
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    worker_env: dict[str, str],
) -> None:
    variants = VARIANTS[chosen]
    workers = [start_worker("--role", role, settings=QUICK | variants, wait=False) for role in ROLES[chosen]]
    by_id, by_number = new_account(), new_account()
    first = targets(by_id)
    named = {TARGETS[one["type"]]: {"command_id": one["command_id"]} for one in first}
    sent = [*first, *referring(by_id, named), *plain(by_id, by_symbol=bool(variants)), *targets(by_number)]
    upstream.send(*sent)
    for worker in workers:
        worker.wait_ready()
    answered = upstream.answered(*sent)
    made = {one["command_type"]: one for one in answered if one["account_no"] == by_number}
    numbers = {kind: {NUMBER_OF[kind]: made[name]["result"][NUMBER_OF[kind]]} for name, kind in TARGETS.items()}
    later = referring(by_number, numbers)
    upstream.send(*later)
    sent += later

    # an ended adjustment is told of after the temp.expire that ended it
    outcomes = upstream.outcomes(lambda seen: len(seen) >= len(sent) + 2)
    terminal = {one["command_id"]: one for one in outcomes if one["type"].startswith("command.")}
    assert {one["type"] for one in outcomes} == {"command.succeeded", "temp_adjustment.expired"}, outcomes
    assert len(outcomes) == len(sent) + 2, "one outcome each, and one for each adjustment that a temp.expire ended"
    assert {one["command_type"] for one in terminal.values()} == set(factories.TYPES)
    assert gaps(outcomes) == {}
    for account_no in (by_id, by_number):
        applied = sorted(one["operation"] for one in brokerage.effects(account_no=account_no))
        assert applied == sorted(one["type"] for one in sent if one["account_no"] == account_no)
    assert len(brokerage.calls()) == len(sent), "no call was made twice"
    assert all(one["attempts"] == 1 for one in outcomes)
    ended = [one for one in outcomes if one["type"] == "temp_adjustment.expired"]
    assert [one["result"]["ended_by"] for one in ended] == ["command"] * 2
    for command in sent:
        assert terminal[command["command_id"]]["payload"] == command["payload"]
    for name in factories.TYPES:
        known_by = NUMBER_OF[KIND_OF[name.partition(".")[0]]]
        told = [one["result"][known_by] for one in terminal.values() if one["command_type"] == name]
        assert sorted(told) == sorted(one["number"] for one in brokerage.effects(operation=name))
    versions = {one["path"].split("/")[1] for one in brokerage.calls(operation="order.modify")}
    assert versions == {variants.get("LEDGER_WHALE_API_VERSION", "v1")}
    for worker in workers:
        assert worker.sigterm() == 0


def test_outcomes_carry_their_headers_and_fit_their_schema_and_come_again_the_same(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, worker_env: dict[str, str]
) -> None:
    start_worker(settings=QUICK | {"LEDGER_ACCEPTED_NOTICE": "true"})
    account_no = new_account()
    traced, plain_one = (
        new_command("cash.adjust", account_no, correlation_id="case 17"),
        new_command("cash.adjust", account_no, {"amount": "0"}),
    )
    topic = upstream.topics.adjustments
    upstream.write([(topic, account_no.encode(), json.dumps(traced).encode(), [("traceparent", TRACE.encode())])])
    upstream.send(plain_one)
    first = upstream.records(upstream.topics.outcomes, lambda seen: len(seen) >= 3)
    schema = json.loads((CHECKOUT / "schemas/json/outcome.json").read_text())
    header_schema = json.loads((CHECKOUT / "schemas/json/outcome-headers.json").read_text())
    for record in first:
        value, headers = value_of(record), {name: told.decode() for name, told in record.headers}
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)
        Draft202012Validator(header_schema, format_checker=FormatChecker()).validate(headers)
        _carries_its_headers(record, value, headers)
    kinds = [value_of(one)["type"] for one in first if value_of(one)["command_id"] == traced["command_id"]]
    assert kinds == ["command.accepted", "command.succeeded"]
    by_id = {value_of(one)["command_id"]: {n: v.decode() for n, v in one.headers} for one in first}
    assert by_id[traced["command_id"]]["traceparent"] == TRACE
    assert by_id[traced["command_id"]]["ce_correlationid"] == "case 17"
    assert not {"traceparent", "ce_correlationid"} & by_id[plain_one["command_id"]].keys()

    # what a crash between the broker's acknowledgement and its mark leaves behind
    with psycopg.connect(worker_env["LEDGER_DATABASE_URL"]) as connection:
        connection.execute(REPUBLISH)
    again = upstream.records(upstream.topics.outcomes, lambda seen: len(seen) >= 6)
    assert [_as_sent(one) for one in again[3:]] == [_as_sent(one) for one in first]


REPUBLISH = """
    INSERT INTO outbox (kind, ref_id, ordered_by, shard, recorded_at)
    SELECT 'outcome', event_id, account_no, 0, recorded_at FROM outcomes ORDER BY account_seq
"""


def _as_sent(record: ConsumerRecord) -> tuple[Any, ...]:
    return record.key, record.value, tuple(record.headers), record.timestamp


def _carries_its_headers(record: ConsumerRecord, value: Json, headers: dict[str, str]) -> None:
    assert record.key == value["account_no"].encode()
    assert headers["content-type"] == "application/json"
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_id"] == value["event_id"]
    assert headers["ce_type"] == f"ledger.{value['type']}.v1"
    assert headers["ce_subject"] == value["account_no"]
    assert headers["ce_time"] == value["occurred_at"]
    assert headers["ce_causationid"] == value["command_id"]
    assert headers["ce_source"]
