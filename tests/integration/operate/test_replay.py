"""A range read again: what each record would be today, feeding what nobody has read, and publishing what is stored."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.test_forgetting import commands_of
from tests.integration.operate.conftest import DONE, typed
from tests.integration.operate.history import WHY, History, Json
from tests.support.commands import new_account, new_command
from tests.support.kafka import create_topics
from tests.support.quickest import quickest_s
from tests.support.waiting import wait_until_async
from tests.support.worker import CHECKOUT
from worker.store.replays import list_plans

CLASSES = ("done", "in_flight", "not_yet_read", "skipped", "forgotten", "conflicting", "malformed", "too_late")


def counts(plan: Json) -> Json:
    return {name: one["count"] for name, one in plan["classes"].items() if one["count"]}


def ids(commands: Sequence[Mapping[str, Any]]) -> list[UUID]:
    return [UUID(one["command_id"]) for one in commands]


async def test_a_plan_says_of_every_record_what_it_would_be_today_and_changes_nothing(history: History) -> None:
    ended, flying, lost = (history.command() for _ in range(3))
    good, position = history.command("250.50"), history.command(type_="position.adjust")
    late = history.command("7.00", not_after="2026-01-01T00:00:00Z")
    lapsed = new_command("temp.adjust", history.account_no, {"expires_at": "2026-01-01T00:00:00Z"})
    conflict = {**ended, "payload": {**ended["payload"], "amount": "1.00"}}
    skipped = [good, position, late, lapsed, conflict, ended, good, b"{", history.command("1e5")]
    await history.write(ended, flying, lost, b"nothing", *skipped, history.command("9.00"))
    await history.read(0, 4)
    await history.answer(DONE)
    await history.do("DELETE FROM records WHERE command_id = :id", id=UUID(lost["command_id"]))
    await history.do("DELETE FROM command_ids WHERE command_id = :id", id=UUID(lost["command_id"]))
    await history.pass_over(4, 13)
    before = await history.told(), await history.rows("SELECT * FROM offsets")
    plan = await history.plan()
    assert tuple(plan["classes"]) == CLASSES
    assert counts(plan) == {
        "done": 2,  # the first, and its repeat among what was skipped
        "in_flight": 2,  # one is queued; the second of two that say the same will be
        "not_yet_read": 1,
        "skipped": 2,
        "forgotten": 1,
        "conflicting": 1,
        "malformed": 3,  # a dead letter that is known, one that would be, and a refusal that would be
        "too_late": 2,
    }
    assert (plan["records"], plan["to_feed"], plan["forgotten"]) == (14, 7, 1)
    assert plan["classes"]["malformed"]["fed"] == 2
    assert plan["classes"]["skipped"]["money"] == [
        {"type": "cash.adjust", "direction": "CREDIT", "currency": "USD", "amount": "250.50"}
    ]
    assert plan["classes"]["skipped"]["quantities"] == [
        {"type": "position.adjust", "direction": "CREDIT", "symbol": "00700.HK", "quantity": "2000"}
    ]
    assert (await history.told(), await history.rows("SELECT * FROM offsets")) == before
    assert await history.rows("SELECT 1 FROM audit") == []

    refused = await history.run(plan)
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "recover" in refused.stderr
    table = await history.replay("plan", "--topic", history.topic)
    assert "250.50 USD" in table.stdout
    assert "recover" in table.stderr


@pytest.mark.prints("replay plan", "replay run")
async def test_what_adopt_passed_over_is_fed_once_in_its_sequence_and_is_known_afterwards(history: History) -> None:
    done = history.command()
    await history.write(done, history.command())
    await history.read(0, 2)
    await history.answer(DONE, 2)
    fresh = [history.command() for _ in range(3)]
    bad = history.command("1e5")
    await history.made_again(done, *fresh, bad)
    adopted = await typed(history.env, "topics", "adopt", "--at-end", *WHY, "--output", "json")
    assert adopted.returncode == 0, adopted.stderr
    assert "replay" in adopted.stderr
    [row] = json.loads(adopted.stdout)
    assert (row["epoch"], row["to_offset"]) == (2, 5)
    later = history.command()
    await history.write(later)
    await history.read(5, 6)

    plan = await history.plan()
    assert counts(plan) == {"done": 1, "in_flight": 1, "skipped": 3, "malformed": 1}
    asked = await history.replay("run", plan["plan_id"], "--reason", "why")
    assert asked.returncode == 5
    assert "4 records" in asked.stderr
    told = await history.told()
    ran = await history.run(plan)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["counts"] == {"known": 1, "accepted": 3, "refused": 1}
    assert (await history.positions())[2:] == ids([later, *fresh])
    assert await history.told() == told + 1  # of the one that is refused
    assert {r["epoch"] for r in await history.rows("SELECT epoch FROM records")} == {1, 2}

    assert (await history.run(plan)).returncode == 3
    again = await history.plan()
    assert (counts(again), again["to_feed"]) == ({"done": 2, "in_flight": 4}, 0)
    assert (await history.run(again)).returncode == 3
    actions = await history.rows("SELECT actor, action, reason, value FROM audit ORDER BY recorded_at")
    assert [(r["actor"], r["action"]) for r in actions] == [
        ("ann", "topics.adopt"),
        ("ann", "replay.run"),
        ("ann", "replay.feed"),
        ("ann", "replay.end"),
    ]
    assert json.loads(bytes(actions[-1]["value"]))["after"]["accepted"] == 3


async def test_a_record_whose_id_became_known_since_the_plan_is_not_fed(history: History) -> None:
    command, other = history.command(), history.command()
    await history.write(history.command(), command, other)
    await history.read(0, 1)
    await history.pass_over(1, 3)
    plan = await history.plan()
    assert plan["to_feed"] == 2
    await history.write(command)  # upstream sends it again
    await history.read(3, 4)
    told = await history.told()
    assert json.loads((await history.run(plan)).stdout)["counts"] == {"known": 1, "accepted": 1}
    assert await history.told() == told


async def test_a_plan_may_be_of_a_part_an_account_a_type_ids_or_times(history: History, tmp_path: Any) -> None:
    theirs = history.command(account_no=new_account())
    mine = [history.command(), history.command(type_="position.adjust"), history.command()]
    await history.write(history.command(), b"{", theirs, *mine)
    await history.read(0, 1)
    await history.pass_over(1, 6)
    (tmp_path / "ids").write_text(f"{mine[0]['command_id']}\n\n{theirs['command_id']}\n")
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()  # noqa: TID251
    past = "2020-01-01T00:00:00Z"
    for arguments, count in {
        (): 5,
        ("--account", theirs["account_no"]): 1,
        ("--type", "position.adjust"): 1,
        ("--ids", str(tmp_path / "ids")): 2,
        ("--partition", "0", "--from", "2", "--to", "4"): 2,
        ("--from", past, "--to", soon): 5,
    }.items():
        assert (await history.plan(*arguments))["to_feed"] == count, arguments
    nothing = await history.replay("plan", "--topic", history.topic, "--from", soon)
    assert (nothing.returncode, nothing.stdout) == (3, "")
    plan = await history.plan("--ids", str(tmp_path / "ids"))
    assert json.loads((await history.run(plan)).stdout)["counts"] == {"accepted": 2}
    assert set(await history.positions()) >= set(ids([mine[0], theirs]))
    assert (await history.plan())["to_feed"] == 3


@pytest.mark.parametrize("change", ["retention", "epoch", "ranges", "made again"])
async def test_a_plan_that_no_longer_holds_says_so_and_feeds_nothing(history: History, change: str) -> None:
    await history.write(*(history.command() for _ in range(4)))
    await history.read(0, 1)
    await history.pass_over(1, 3)
    plan = await history.plan("--to", "4")
    if change == "retention":
        await history.read(3, 4)
        await history.remove_before(2)
    elif change == "epoch":
        await history.do("UPDATE offsets SET epoch = 2 WHERE topic = :t")
    elif change == "ranges":
        await history.pass_over(3, 4)
    else:
        await history.made_again(*(history.command() for _ in range(4)))
        await history.do("UPDATE offsets SET last_offset = NULL, last_digest = NULL")  # nothing else gives it away
    refused = await history.run(plan)
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "no longer holds" in refused.stderr
    assert len(await history.positions()) == (2 if change == "retention" else 1)


@pytest.mark.prints("replay status")
async def test_a_run_that_is_killed_goes_on_where_it_was_and_two_at_once_are_one(history: History) -> None:
    commands = [history.command() for _ in range(60)]
    await history.write(history.command(), *commands)
    await history.read(0, 1)
    await history.pass_over(1, 61)
    plan = await history.plan()
    run = [sys.executable, "-m", "worker", "replay", "run", plan["plan_id"], *WHY, "--rate", "15"]
    with subprocess.Popen(run, cwd=CHECKOUT, env=history.env, stdout=-3, stderr=-3) as first:  # noqa: ASYNC220

        async def has_begun() -> bool:
            return len(await history.positions()) > 15

        await wait_until_async(has_begun, deadline_s=90)
        second = await history.run(plan)
        assert second.returncode == 5
        assert "run by ann" in second.stderr
        first.send_signal(signal.SIGKILL)
    fed = len(await history.positions())
    assert fed < 61
    shown = json.loads((await history.replay("status", plan["plan_id"], "--output", "json")).stdout)
    assert (shown["state"], shown["runs"][0]["counts"]) == ("interrupted", {"accepted": fed - 1})
    went_on = await history.run(plan)
    assert went_on.returncode == 0, went_on.stderr
    assert json.loads(went_on.stdout)["counts"] == {"accepted": 60}
    assert (await history.positions())[1:] == ids(commands)
    shown = json.loads((await history.replay("status", plan["plan_id"], "--output", "json")).stdout)
    assert shown["state"] == "done"


async def test_a_record_that_the_database_refuses_is_set_apart_and_the_others_are_fed(history: History) -> None:
    await history.write(history.command(), *(history.command(amount=f"{n}.00") for n in range(1, 6)))
    await history.read(0, 1)
    await history.pass_over(1, 6)
    await history.do("ALTER TABLE commands ADD CHECK (payload ->> 'amount' <> '3.00')")
    plan = await history.plan()
    ran = await history.run(plan)
    assert json.loads(ran.stdout)["counts"] == {"accepted": 4, "quarantined": 1}


async def test_what_cannot_be_asked_is_a_usage_error_and_what_is_away_is_one_sentence(history: History) -> None:
    for arguments in (
        ("plan", "--topic", "another"),
        ("plan", "--topic", history.topic, "--from", "yesterday"),
        ("plan", "--topic", history.topic, "--type", "cash.print"),
        ("plan", "--topic", history.topic, "--ids", "/nowhere"),
        ("run", str(UUID(int=7)), *WHY, "--republish"),
    ):
        assert (await history.replay(*arguments)).returncode == 2, arguments
    nobody = str(UUID(int=7))
    for arguments in (("plan", "--topic", history.topic), ("run", nobody, *WHY), ("status", nobody)):
        assert (await history.replay(*arguments)).returncode == 3, arguments
    empty = await history.replay("list", "--output", "json")
    assert (empty.returncode, json.loads(empty.stdout)) == (0, [])
    for away in (
        {"LEDGER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        {"LEDGER_DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"},
    ):
        done = await typed({**history.env, **away}, "replay", "plan", "--topic", history.topic)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr


@pytest.mark.prints("replay list")
async def test_plans_are_listed_by_the_page_however_many_there_are(history: History) -> None:
    await history.do("""
        INSERT INTO replay_plans (plan_id, planned_at, actor, topic, filters, ranges, classes, records, to_feed, forgotten)
        SELECT gen_random_uuid(), now() - i * interval '1 s', 'ann', 't', '{}', '[]', '{}', 1, 0, 0
        FROM generate_series(1, 100000) i
    """)
    assert await quickest_s(history.engine, lambda connection: list_plans(connection, limit=101)) < 1
    first = await history.replay("list", "--limit", "3", "--output", "json")
    page = json.loads(first.stdout)
    assert "more" in first.stderr
    second = await history.replay("list", "--limit", "3", "--after", page[-1]["plan_id"], "--output", "json")
    times = [row["planned_at"] for row in page + json.loads(second.stdout)]
    assert len(times) == 6
    assert times == sorted(times, reverse=True)


async def test_recover_does_not_take_what_was_passed_over_for_forgotten(history: History) -> None:
    await history.write(*(history.command() for _ in range(3)))
    await history.read(0, 1)
    await history.answer(DONE)
    await history.pass_over(1, 3)
    done = await asyncio.wait_for(typed(history.env, "recover", "--whole", *WHY), 60)
    assert done.returncode == 3, done.stderr
    assert len(await history.positions()) == 1
    assert (await history.plan())["to_feed"] == 2


async def test_what_was_fed_and_forgotten_is_not_fed_again(history: History) -> None:
    await history.write(*(history.command() for _ in range(3)))
    await history.read(0, 1)
    await history.pass_over(1, 3)
    plan = await history.plan()
    told = {
        "before": {"partition": plan["ranges"][0]["partition"], "from": 1, "to": 1},
        "after": {"topic": history.topic},
    }
    await history.do(
        "INSERT INTO audit (audit_id, recorded_at, actor, action, reason, value, audit_seq, previous_hash, hash, taken_back) "
        "VALUES (gen_random_uuid(), now(), 'ann', 'replay.feed', 'why', convert_to(:told, 'UTF8'), 1, '', '', true)",
        told=json.dumps(told),
    )
    refused = await history.run(plan)
    assert refused.returncode == 5
    assert "offsets 1 to 1 were fed before the database was restored" in refused.stderr
    rest = await history.plan("--from", "2")
    assert (await history.run(rest)).returncode == 0
    assert len(await history.positions()) == 2


async def test_a_place_that_no_longer_holds_is_not_hidden_from_recover_by_a_stop(history: History) -> None:
    await history.write(*(history.command() for _ in range(3)))
    await history.read(0, 2)
    await history.do("UPDATE offsets SET next_offset = 1000, stopped_reason = 'paused'")
    done = await asyncio.wait_for(typed(history.env, "recover", *WHY), 60)
    assert done.returncode == 5, done.stderr
    assert "adopt" in done.stderr


async def test_the_runbook_can_be_walked_to_its_end(history: History) -> None:
    await history.write(*(history.command() for _ in range(4)))
    await history.read(0, 1)
    await history.answer(DONE)
    await history.do("INSERT INTO publications SELECT event_id, now(), 0, 0 FROM outcomes")
    await history.pass_over(1, 4)
    lost = f"{history.topics.outcomes}.again"
    await create_topics(history.kafka, [lost])
    names = {"ledger.commands.adjustments.v1": history.topic, "ledger.outcomes.again": lost}
    walked = []
    for arguments in commands_of(CHECKOUT / "docs/runbooks/replay.md"):
        line = [names.get(one, one) for one in arguments]
        if "--reason" in line:
            assert (await typed(history.env, *line)).returncode == 5
            line.append("--yes")
        done = await typed(history.env, *line, "--output", "json")
        assert done.returncode == 0, f"{line}: {done.stderr}"
        names.setdefault("PLAN", json.loads(done.stdout)["plan_id"])
        walked.append(arguments[1])
    assert walked == ["plan", "run", "status", "plan", "run"]
    assert len(await history.positions()) == 4
