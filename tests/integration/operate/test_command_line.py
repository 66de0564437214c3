"""The operator commands as they are typed: what they print, and how they end."""

import json
from typing import Any
from uuid import UUID

import pytest

from tests.factories import ADJUSTMENTS_TOPIC
from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, OpenDesk
from worker.ledger.decide import Known

WHY = ("--reason", "seen in the back office", "--yes")
NOBODY = str(UUID(int=7))


@pytest.mark.prints("in-doubt list", "in-doubt show", "in-doubt resolve")
async def test_a_doubt_is_found_looked_at_and_decided(desk: Desk) -> None:
    command_id = str(await desk.parked("temp.adjust"))
    [listed] = await desk.cli_json("in-doubt", "list")
    assert (listed["command_id"], listed["operation"], listed["expiry"]) == (command_id, "temp.adjust", False)
    assert listed["decidable_at"].endswith("Z")
    shown = await desk.cli_json("in-doubt", "show", command_id)
    assert desk.account_no in shown["attempts"][0]["body"]
    assert "test-secret" not in json.dumps(shown)
    done = await desk.cli("in-doubt", "resolve", command_id, "--applied", "TA77", *WHY)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "succeeded"
    assert (await desk.last(UUID(command_id)))["decided_by"] == "ann"
    again = await desk.cli("in-doubt", "resolve", command_id, "--not-applied", *WHY)
    assert again.returncode == 5
    assert "ann decided applied at" in again.stderr
    assert (await desk.cli("in-doubt", "show", command_id)).returncode == 3
    empty = await desk.cli("in-doubt", "list")
    assert (empty.returncode, empty.stdout) == (0, "")


async def test_without_a_person_to_ask_a_decision_needs_yes_and_a_reason(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    for arguments in (("--reason", "why"), ("--reason", " ", "--yes")):
        done = await desk.cli("in-doubt", "resolve", str(command_id), "--not-applied", *arguments)
        assert done.returncode == 5
    assert await desk.known(command_id) == [Known.IN_DOUBT]
    missing = await desk.cli("in-doubt", "resolve", str(command_id), "--applied", *WHY)
    assert missing.returncode == 5
    assert "adjust_no" in missing.stderr
    done = await desk.cli("in-doubt", "resolve", str(command_id), "--applied", "--number-unknown", *WHY)
    assert done.returncode == 0, done.stderr


async def test_an_expiry_in_doubt_is_listed_as_such_and_decided_with_expiry(desk: Desk) -> None:
    command_id = str(await desk.expiry_in_doubt())
    [listed] = await desk.cli_json("in-doubt", "list", "--account", desk.account_no)
    assert (listed["operation"], listed["expiry"]) == ("temp.expire", True)
    done = await desk.cli("in-doubt", "resolve", command_id, "--expiry", "--applied", *WHY)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ended_by"] == "timer"


@pytest.mark.prints("parked list")
async def test_what_is_parked_is_listed_with_why_and_shown_with_what_was_tried(desk: Desk) -> None:
    command_id = str(await desk.parked("temp.adjust"))
    [listed] = await desk.cli_json("parked", "list")
    assert (listed["command_id"], listed["in_doubt"]) == (command_id, True)
    assert "person" not in listed["reason"]
    shown = await desk.cli("parked", "show", command_id)
    assert shown.returncode == 0
    assert "rule=timeout" in shown.stdout
    assert f"in-doubt show {command_id}" in shown.stderr
    assert (await desk.cli("parked", "show", NOBODY)).returncode == 3


@pytest.mark.prints("timers list", "timers show")
async def test_a_timer_is_listed_until_it_ended_and_shown_afterwards(desk: Desk) -> None:
    command_id = str(await desk.booked("TA5"))
    [listed] = await desk.cli_json("timers", "list")
    assert (listed["adjust_no"], listed["kind"], listed["state"], listed["overdue"]) == (
        "TA5",
        "expire",
        "armed",
        False,
    )
    assert await desk.cli_json("timers", "list", "--overdue") == []
    await desk.lapse(UUID(command_id))
    assert len(await desk.cli_json("timers", "list", "--overdue")) == 1
    await desk.answer(DONE)
    assert await desk.cli_json("timers", "list") == []
    shown = await desk.cli_json("timers", "show", command_id)
    assert (shown["ended_by"], shown["basis"], len(shown["expiry_attempts"])) == ("timer", "answer", 1)
    assert (await desk.cli("timers", "show", NOBODY)).returncode == 3


@pytest.mark.prints("dead-letters list: groups", "dead-letters list: one by one", "dead-letters show")
async def test_dead_letters_are_grouped_paged_and_shown_byte_for_byte(desk: Desk) -> None:
    for _ in range(3):
        await desk.read(ADJUSTMENTS_TOPIC, b"\xff{", ((b"h\xff", None), (b"trace", b"\x00a")), b"\x00key")
    await desk.send("cash.adjust", payload={"amount": "1e3"})
    groups: list[dict[str, Any]] = await desk.cli_json("dead-letters", "list")
    assert [(one["reason"], one["count"]) for one in groups] == [("MALFORMED", 3), ("REFUSED", 1)]
    assert (groups[1]["code"], groups[1]["field"]) == ("DECIMAL_INVALID", "payload.amount") or groups[1]["field"]
    seen: list[str] = []
    after: tuple[str, ...] = ()
    while page := await desk.cli_json("dead-letters", "list", "--all", "--limit", "3", *after):
        seen += [one["dead_letter_id"] for one in page]
        after = ("--after", seen[-1])
    assert len(seen) == len(set(seen)) == 4
    shown = await desk.cli_json("dead-letters", "show", groups[0]["sample"])
    assert shown["value"] == {"hex": "ff7b", "text": "\\xff{"}
    assert shown["key"]["hex"] == "006b6579"
    assert [(h["name"]["hex"], h["value"] and h["value"]["hex"]) for h in shown["headers"]] == [
        ("68ff", None),
        ("7472616365", "0061"),
    ]
    assert (shown["topic"], shown["partition"]) == (ADJUSTMENTS_TOPIC, desk.partition)
    table = await desk.cli("dead-letters", "show", groups[0]["sample"])
    assert table.returncode == 0
    assert (await desk.cli("dead-letters", "show", NOBODY)).returncode == 3


async def test_explain_prints_a_story_for_people_and_for_machines(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
    command_id = str(await desk.send("cash.adjust"))
    await desk.answer(TIMEOUT)
    story = await desk.cli_json("explain", command_id)
    assert (story["state"], story["kind"]) == ("in_doubt", "command")
    told = await desk.cli("explain", command_id)
    assert told.returncode == 0
    assert told.stdout.startswith("cash.adjust of 1000.00 USD for account")
    for expected in ("call 1: POST", "in doubt after 12 ms", "waits for  in doubt: sent again under the same key"):
        assert expected in told.stdout
    account = await desk.cli("explain", desk.account_no)
    assert account.returncode == 0
    assert "held" in account.stdout
    nothing = await desk.cli("explain", NOBODY)
    assert (nothing.returncode, nothing.stdout) == (3, "")


async def test_doctor_says_what_is_wrong_and_what_to_do(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    await desk.booked("TA5")
    await desk.do("DELETE FROM timers")
    done = await desk.cli("doctor", "--output", "json")
    assert done.returncode == 1
    checks = {one["check"]: one for one in json.loads(done.stdout)}
    assert not checks["settings"]["ok"]
    assert "LEDGER_KAFKA_BOOTSTRAP_SERVERS" in checks["settings"]["says"]
    assert checks["durability"]["ok"]
    assert checks["clock"]["ok"]
    assert "1 open adjustments without a timer" in checks["invariants"]["says"]
    assert "in-doubt list" in checks["doubts"]["do"]
    assert "kafka" not in checks
    assert await desk.state(command_id) == "parked"
