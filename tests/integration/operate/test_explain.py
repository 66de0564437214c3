"""What `explain` tells of commands that went through the real stages."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from schemas.export import documents
from tests.factories import ADJUSTMENTS_TOPIC
from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, OpenDesk
from tests.integration.operate.test_redrive import quarantined
from tests.support.commands import new_command
from worker.errors import NothingMatchedError
from worker.ledger.verdicts import Confirmed, Numbers
from worker.operate.explain import explain
from worker.operate.resolve import Applied, NotApplied, Said, resolve
from worker.store.engine import transaction

OUTCOMES = "ledger.outcomes.v1"
SCHEMA = Draft202012Validator(documents()["cli/explain.json"], format_checker=Draft202012Validator.FORMAT_CHECKER)


async def story_of(desk: Desk, subject: object) -> dict[str, Any]:
    async with transaction(desk.engine) as connection:
        [story] = await explain(connection, str(subject), desk.settings)
    SCHEMA.validate(json.loads(json.dumps(story, default=str)))
    return story


def names(story: dict[str, Any]) -> list[str]:
    return [event["event"] for event in story["events"]]


def moves(story: dict[str, Any]) -> list[str]:
    return [move["command"] for move in story["moved_by"]]


def detail(story: dict[str, Any], event: str) -> str:
    return next(str(one["detail"]) for one in story["events"] if one["event"] == event)


async def test_a_command_that_succeeded_is_told_from_record_to_publication(desk: Desk) -> None:
    command_id = await desk.send("cash.freeze")
    await desk.answer(DONE)
    await desk.do(
        'INSERT INTO publications (event_id, published_at, partition, "offset") SELECT event_id, now(), 4, 17 FROM outcomes'
    )
    story = await story_of(desk, command_id)
    assert names(story) == [
        "record.produced",
        "record.read",
        "check.passed",
        "lane.placed",
        "write.began",
        "write.ended",
        "outcome.recorded",
        "outcome.published",
    ]
    assert f"{command_id}" in detail(story, "write.began")
    assert "POST /v1/whaleapi/asset/frozen_cash" in detail(story, "write.began")
    assert "confirmed after 12 ms" in detail(story, "write.ended")
    assert "trace trace-1" in detail(story, "write.ended")
    assert f"{OUTCOMES}[4] offset 17" in detail(story, "outcome.published")
    assert (story["state"], story["waits_for"]) == ("succeeded", None)
    assert [event["at"] for event in story["events"]] == sorted(event["at"] for event in story["events"])
    assert (await story_of(desk, "S1"))["command_id"] == command_id


async def test_a_refused_command_is_told_with_its_field_and_dead_letter(desk: Desk) -> None:
    command_id = await desk.send("cash.adjust", payload={"amount": "1e3"})
    story = await story_of(desk, command_id)
    assert names(story) == ["record.produced", "record.read", "check.refused", "outcome.recorded"]
    assert "payload.amount" in detail(story, "check.refused")
    assert (story["state"], story["waits_for"]) == ("rejected", None)


async def test_a_command_in_doubt_says_what_comes_next_and_when(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
    command_id = await desk.send("cash.adjust")
    await desk.answer(TIMEOUT)
    behind = await desk.send("cash.freeze")
    story = await story_of(desk, command_id)
    assert story["state"] == "in_doubt"
    assert "sent again under the same key" in story["waits_for"]
    assert story["waits_until"] > story["events"][-1]["at"]
    waiting = await story_of(desk, behind)
    assert waiting["waits_for"].startswith("1 commands before it in its lane; the first of them: in doubt")


async def test_a_command_whose_call_is_under_way_waits_for_its_answer(desk: Desk) -> None:
    command_id = await desk.send("cash.adjust")
    await desk.claim()
    story = await story_of(desk, command_id)
    assert story["waits_for"].startswith("the answer to a call under way")
    assert story["waits_until"] is not None


async def test_a_command_that_nobody_has_taken_waits_for_a_worker(desk: Desk) -> None:
    story = await story_of(desk, await desk.send("cash.adjust"))
    assert story["waits_for"].startswith("a worker to take the lane")


async def test_a_parked_command_names_the_command_that_decides_it(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    story = await story_of(desk, command_id)
    assert story["waits_for"].startswith("a person, since ")
    for answer in ("--applied NUMBER", "--not-applied", "--not-applied --resend"):
        assert f"ledger-worker in-doubt resolve {command_id} {answer} --reason WHY" in moves(story)
    assert "outcome.recorded" in names(story)


async def test_a_person_s_decision_is_part_of_the_story(desk: Desk) -> None:
    command_id = await desk.parked("cash.adjust")
    await resolve(desk.engine, desk.settings, Said(command_id, NotApplied(resend=True), "ann", "never arrived"))
    await desk.answer(TIMEOUT)
    await resolve(desk.engine, desk.settings, Said(command_id, Applied("S8"), "ben", "found it"))
    story = await story_of(desk, command_id)
    told = [event["detail"] for event in story["events"] if event["event"] == "person.decided"]
    assert told == [
        "ann decided resend of the command: never arrived; place 2 now",
        "ben decided applied of the command: found it",
    ]
    assert names(story).count("write.began") == 2
    assert detail(story, "person.decided") < story["events"][-1]["detail"]


async def test_an_expired_adjustment_tells_of_its_hour_its_calls_and_who_ended_it(desk: Desk) -> None:
    command_id = await desk.booked("TA3")
    before = await story_of(desk, "TA3")
    assert before["waits_for"] == "its hour, at which its timer ends it"
    await desk.lapse(command_id)
    await desk.answer(Confirmed(Numbers(), "inner_success"))
    story = await story_of(desk, command_id)
    assert [name for name in names(story) if name.startswith(("expiry", "adjustment"))] == [
        "adjustment.booked",
        "expiry.began",
        "expiry.ended",
        "adjustment.ended",
    ]
    assert detail(story, "adjustment.ended") == "ended by timer (answer)"
    assert story["waits_for"] is None


async def test_duplicates_and_conflicts_are_part_of_the_story(desk: Desk) -> None:
    command_id = await desk.send("cash.adjust")
    await desk.send("cash.adjust", command_id=str(command_id))
    await desk.send("cash.adjust", command_id=str(command_id), payload={"amount": "7.00"})
    story = await story_of(desk, command_id)
    read = [event["data"]["disposition"] for event in story["events"] if event["event"] == "record.read"]
    assert read == ["accepted", "duplicate", "conflict"]
    assert "ID_CONFLICT" in detail(story, "check.refused")


async def test_what_a_person_edited_is_told_under_both_ids_with_who_why_and_where_it_came_from(
    desk: Desk, tmp_path: Path
) -> None:
    old = await desk.send("cash.adjust", payload={"amount": "1e3"})
    row = await desk.one("SELECT dead_letter_id FROM dead_letters")
    new = new_command("cash.adjust", desk.account_no)
    (tmp_path / "edits").write_text(json.dumps({"dead_letter_id": str(row["dead_letter_id"]), "value": new}))
    arguments = ("--edit", "--file", str(tmp_path / "edits"), "--reason", "the point was lost", "--yes")
    done = await desk.cli("dead-letters", "redrive", *arguments)
    assert done.returncode == 0, done.stderr
    story = await story_of(desk, new["command_id"])
    place = f"{ADJUSTMENTS_TOPIC}[{desk.partition}] offset 0"
    assert names(story) == ["record.produced", "record.read", "check.refused", "record.edited", "lane.placed"]
    assert detail(story, "record.read") == f"{place}: refused, as command {old}"
    told = (
        f"ann edited the record at {place} and put it back as this command: the point was lost; accepted; dead letter: "
    )
    assert detail(story, "record.edited") == f"{told}ledger-worker dead-letters show {row['dead_letter_id']}"
    assert "edited" in (await desk.cli("explain", new["command_id"])).stdout
    before = await story_of(desk, old)
    assert f"put it back as command {new['command_id']}: the point was lost" in detail(before, "record.edited")
    assert "as command" not in detail(before, "record.read")


async def test_a_record_that_was_put_back_as_it_was_tells_by_whom_and_why(desk: Desk) -> None:
    [command_id] = await quarantined(desk, 1)
    row = await desk.one("SELECT dead_letter_id FROM dead_letters")
    await desk.cli("dead-letters", "redrive", str(row["dead_letter_id"]), "--reason", "mended", "--yes")
    story = await story_of(desk, command_id)
    assert detail(story, "record.redriven").startswith(f"ann put the record at {ADJUSTMENTS_TOPIC}[{desk.partition}]")


async def test_an_account_shows_its_lane_its_doubts_and_its_timers(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
    booked = await desk.booked("TA1")
    parked = await desk.parked("temp.adjust")
    doubtful = await desk.send("cash.adjust")
    await desk.answer(TIMEOUT)
    await desk.send("cash.freeze")
    story = await story_of(desk, desk.account_no)
    assert (story["kind"], story["state"], story["waiting"]) == ("account", "held", 2)
    assert story["head_command_id"] == doubtful
    assert {doubt["command_id"] for doubt in story["doubts"]} == {parked, doubtful}
    assert [timer["command_id"] for timer in story["timers"]] == [booked]
    assert [one["account_seq"] for one in story["last_outcomes"]] == [2, 1]
    other = open_desk()
    await other.read(ADJUSTMENTS_TOPIC, b"{}")
    with pytest.raises(NothingMatchedError):
        await story_of(other, other.account_no)


async def test_what_is_known_to_nobody_matches_nothing(desk: Desk) -> None:
    for subject in (UUID(int=0), "H404", "O'Neill; --"):
        with pytest.raises(NothingMatchedError):
            await story_of(desk, subject)
