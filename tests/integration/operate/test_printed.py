"""What is printed as JSON where no other test asks for it as such, and members that are seldom more than null."""

import json

import pytest

from tests.factories import ADJUSTMENTS_TOPIC
from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, OpenDesk
from tests.integration.operate.history import History
from tests.integration.operate.typed import typed

WHY = ("--reason", "looked into", "--yes")
LIMITS = json.dumps({"cash.freeze": {"day": {"*": "5000"}}})


@pytest.mark.prints("explain: several", "explain: an account", "parked show", "accounts show")
async def test_an_account_with_something_of_everything_is_shown_to_machines(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600", LEDGER_LIMITS=LIMITS)
    booked = await desk.booked("S1")  # the number that the freeze gets, too
    frozen = await desk.send("cash.freeze")
    await desk.answer(DONE)
    parked = await desk.parked("temp.adjust", correlation_id="c-1", not_after="2099-01-01T00:00:00Z")
    doubtful = await desk.send("cash.adjust")
    await desk.answer(TIMEOUT)
    await desk.send("order.place")
    stories = await desk.cli_json("explain", "S1")
    assert {story["command_id"] for story in stories} == {str(booked), str(frozen)}
    account = await desk.cli_json("explain", desk.account_no)
    shown = await desk.cli_json("accounts", "show", desk.account_no)
    for told in (account, shown):
        assert {one["command_id"] for one in told["doubts"]} == {str(parked), str(doubtful)}
        assert [one["command_id"] for one in told["parked"]] == [str(parked)]
        assert [one["command_id"] for one in told["timers"]] == [str(booked)]
    assert shown["used_today"] == [{"operation": "cash.freeze", "unit": "HKD", "used": "35"}]
    timer = await desk.cli_json("timers", "show", str(booked))
    assert (timer["timer"], timer["ended_at"], timer["overdue"]) == ("expire", None, False)
    story = await desk.cli_json("explain", str(parked))
    one = await desk.cli_json("parked", "show", str(parked))
    assert story["not_after"] == one["not_after"] == "2099-01-01T00:00:00.000000Z"
    assert (one["in_doubt"], [tried["verdict"] for tried in one["attempts_made"]]) == (True, ["in_doubt"])
    held = await desk.cli_json("accounts", "hold", "NEW", *WHY)
    assert held["account_no"] == "NEW"
    assert {row["account_no"]: row["lane"] for row in await desk.cli_json("accounts", "list")} == {
        desk.account_no: "held",
        "NEW": None,
    }


@pytest.mark.prints("pause: stopped", "pause: listed", "resume")
async def test_each_form_of_a_pause_is_told_to_machines(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    await desk.read(ADJUSTMENTS_TOPIC, b"{")
    forms = [(), ("--operation", "temp.expire"), ("--topic", ADJUSTMENTS_TOPIC, "--partition", str(desk.partition))]
    kinds = ["all", "operation", "partition"]
    for form, kind in zip(forms, kinds, strict=True):
        stopped = await desk.cli_json("pause", *form, *WHY)
        assert (stopped["kind"], "expiries_due" in stopped) == (kind, kind != "partition")
    assert [row["kind"] for row in await desk.cli_json("pause", "--list")] == kinds
    for form, kind in zip(forms, kinds, strict=True):
        assert (await desk.cli_json("resume", *form, *WHY))["kind"] == kind


async def test_each_decision_about_a_doubt_is_told_to_machines(open_desk: OpenDesk) -> None:
    other = open_desk()
    command_id = await other.expiry_in_doubt()
    done = await other.cli_json("in-doubt", "resolve", str(command_id), "--expiry", "--not-applied", *WHY)
    assert done["state"] == "armed"
    desk = open_desk()
    for answer, told in (
        (("--applied", "--number-unknown"), {"state": "succeeded", "number": None}),
        (("--not-applied",), {"state": "rejected", "code": "NOT_APPLIED"}),
        (("--not-applied", "--resend"), {"state": "queued", "position": 4}),
    ):
        command_id = await desk.parked("temp.adjust")
        done = await desk.cli_json("in-doubt", "resolve", str(command_id), *answer, *WHY)
        assert told.items() <= done.items()


@pytest.mark.prints("dead-letters seen", "dead-letters list: one by one", "dead-letters show")
async def test_a_dead_letter_that_was_published_and_seen_is_told_to_machines(desk: Desk) -> None:
    await desk.read(ADJUSTMENTS_TOPIC, b"{")
    await desk.do("UPDATE dead_letters SET published_at = now(), published_partition = 0, published_offset = 7")
    [group] = await desk.cli_json("dead-letters", "list")
    await desk.cli_json("dead-letters", "seen", group["sample"], *WHY)
    [listed] = await desk.cli_json("dead-letters", "list", "--all")
    shown = await desk.cli_json("dead-letters", "show", group["sample"])
    assert listed.items() <= shown.items()
    assert (listed["published_offset"], listed["triaged_by"], listed["triage_reason"]) == (7, "ann", "looked into")


@pytest.mark.prints("recover", "replay plan", "replay list", "replay status")
async def test_what_is_recovered_and_planned_is_told_to_machines(history: History) -> None:
    await history.write(history.command(), history.command())
    await history.read(0, 1)
    plan = await history.plan("--from", "2026-01-01T00:00:00+01:00", "--to", "2", "--type", "cash.adjust")
    assert (plan["filters"]["from"], plan["filters"]["to"]) == ("2025-12-31T23:00:00.000000Z", 2)
    assert [row["plan_id"] for row in json.loads((await history.replay("list", "-o", "json")).stdout)] == [
        plan["plan_id"]
    ]
    status = json.loads((await history.replay("status", plan["plan_id"], "-o", "json")).stdout)
    assert plan.items() <= status.items()
    done = await typed(history.env, "recover", *WHY, "--output", "json")
    assert done.returncode == 0, done.stderr
    [report] = json.loads(done.stdout)
    assert (report["records_forgotten"], report["commands_in_doubt"]) == (1, 2)
