"""One command_id is one intent for ever: the same again is told of and not done, other content is refused."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.upstream import Json, Upstream, about, gaps, value_of

SETTINGS = QUICK | {"LEDGER_WHALE_TIMEOUT_S": "4", "LEDGER_LANE_LEASE_S": "10"}
HELD_S = 3


def again(command: Mapping[str, Any]) -> Json:
    """The same intent: when it was issued and what it is correlated with do not count, null equals absent."""
    payload = {**command["payload"], "remark": command["payload"].get("remark")}
    return {**command, "issued_at": "2026-11-22T08:31:00+01:00", "correlation_id": "again", "payload": payload}


def others(command: Mapping[str, Any], account_no: str) -> list[Json]:
    """The same id with other content: another amount, no valid one, another account, another type and topic."""
    freeze = new_command("cash.freeze", command["account_no"], command_id=command["command_id"])
    return [
        {**command, "payload": {**command["payload"], "amount": "77.00"}},
        {**command, "payload": {**command["payload"], "amount": 77}},
        {**command, "account_no": account_no},
        freeze,
    ]


def told_more(upstream: Upstream, command: Json, count: int) -> list[Json]:
    """Wait until so many events carry this id."""
    outcomes = upstream.outcomes(lambda seen: len(about(seen, command)) >= count)
    return about(outcomes, command)


def of_kind(told: list[Json], kind: str) -> list[Json]:
    return [one for one in told if one["type"] == f"command.{kind}"]


def test_the_same_id_again_is_one_effect_before_and_after_the_first_ended_and_after_a_restart(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, brokerage: SandboxClient
) -> None:
    worker = start_worker(settings=SETTINGS)
    account_no, other_account = new_account(), new_account()
    first = new_command("cash.adjust", account_no)
    brokerage.fault("delay", delay_s=HELD_S, account_no=account_no)
    upstream.send(first)
    wait_until(lambda: brokerage.calls(account_no=account_no))
    upstream.send(again(first), *others(first, other_account))
    told = told_more(upstream, first, 5)
    assert of_kind(told, "succeeded") == [], "the first was to be still under way"
    (duplicate,) = of_kind(told, "duplicate")
    assert (duplicate["result"], duplicate["error"], duplicate["refers_to"]) == (None, None, None)
    told = told_more(upstream, first, 6)
    (terminal,) = of_kind(told, "succeeded")
    assert terminal["result"]["serial_num"]

    upstream.send(again(first), *others(first, other_account))
    told = told_more(upstream, first, 11)
    assert worker.sigterm() == 0
    start_worker(settings=SETTINGS)
    upstream.send(again(first), *others(first, other_account))
    told = told_more(upstream, first, 16)

    late = of_kind(told, "duplicate")[1:]
    assert [(one["result"], one["error"], one["refers_to"]) for one in late] == [
        (terminal["result"], None, terminal["event_id"])
    ] * 2
    assert {one["correlation_id"] for one in late} == {"again"}
    conflicted = of_kind(told, "conflicted")
    assert len(conflicted) == 12
    for one in conflicted:
        assert (one["error"]["code"], one["result"], one["refers_to"]) == ("ID_CONFLICT", None, None)
        assert one["attempts"] == 0
        assert terminal["result"]["serial_num"] not in str(one)
    assert [one["account_no"] for one in conflicted].count(other_account) == 3
    letters = upstream.dead_letters(12)
    assert [dict(one.headers)["dlq_reason"] for one in letters] == [b"ID_CONFLICT"] * 12
    assert {value_of(one)["command_id"] for one in letters} == {first["command_id"]}
    assert len(brokerage.effects()) == len(brokerage.calls()) == 1
    assert gaps(upstream.outcomes(lambda seen: len(seen) >= 16)) == {}


def a_refused_command_has_used_its_id(upstream: Upstream) -> None:
    refused = new_command("cash.adjust", new_account(), {"amount": "0"})
    mended = {**refused, "payload": {**refused["payload"], "amount": "1.00"}}
    upstream.send(refused, again(refused), mended)
    rejected, duplicate, conflicted = told_more(upstream, refused, 3)
    assert [one["type"] for one in (rejected, duplicate, conflicted)] == [
        "command.rejected",
        "command.duplicate",
        "command.conflicted",
    ]
    assert duplicate["error"] == rejected["error"]
    assert duplicate["refers_to"] == rejected["event_id"]
    assert rejected["error"]["code"] not in str(conflicted)


def test_one_id_on_two_accounts_and_topics_at_once_is_one_effect_and_a_refused_one_is_used(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream, brokerage: SandboxClient
) -> None:
    workers = [start_worker(settings=SETTINGS, wait=False) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()
    pairs = []
    for _ in range(30):
        first = new_command("cash.adjust", new_account())
        rival = new_command("cash.freeze", new_account(), command_id=first["command_id"])
        pairs.append((first, rival))
    upstream.send(*(one for pair in pairs for one in (*pair, pair[0])))
    outcomes = upstream.outcomes(lambda seen: len(seen) >= 90)
    for first, rival in pairs:
        told = about(outcomes, first)
        kinds = sorted(one["type"] for one in told)
        winner = of_kind(told, "succeeded")[0]["command_type"]
        if winner == first["type"]:
            assert kinds == ["command.conflicted", "command.duplicate", "command.succeeded"]
        else:
            assert kinds == ["command.conflicted", "command.conflicted", "command.succeeded"]
        effects = [e for one in (first, rival) for e in brokerage.effects(account_no=one["account_no"])]
        assert len(effects) == 1
    assert len(outcomes) == 90
    assert gaps(outcomes) == {}
    a_refused_command_has_used_its_id(upstream)
