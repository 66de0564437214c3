"""Records put back with other bytes: under an id that nothing has used, in the audit before and after."""

import json
import re
import shlex
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.factories import ADJUSTMENTS_TOPIC, TOPIC_TYPES
from tests.integration.operate.conftest import DONE, Desk, OpenDesk
from tests.integration.operate.test_redrive import WHY, ids, letters, places, quarantined
from tests.support.commands import new_command, new_command_id
from tests.support.worker import CHECKOUT
from worker.ledger.commands import Command
from worker.ledger.records import RawRecord
from worker.pipeline.accept import accept_options
from worker.pipeline.check import check
from worker.store.engine import transaction
from worker.store.feed import feed_batch

NEW = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
MakeEditor = Callable[[str], str]


@pytest.fixture
def editor(tmp_path: Path) -> MakeEditor:
    """Make an editor that changes a file by a sed script."""

    def make(script: str) -> str:
        path = tmp_path / "editor"
        path.write_text(f"#!/bin/sh\nsed -i '{script}' \"$1\"\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


async def edit(desk: Desk, edits: list[dict[str, Any]], tmp_path: Path, *arguments: str) -> Any:
    file = tmp_path / "edits.jsonl"
    file.write_text("".join(json.dumps(one, default=str) + "\n" for one in edits))
    return await desk.cli("dead-letters", "redrive", "--edit", "--file", str(file), *arguments, *WHY)


async def refused(desk: Desk) -> tuple[UUID, UUID]:
    """Send a command with a wrong amount; returns its id and its dead letter's."""
    command_id = await desk.send("cash.adjust", payload={"amount": "1e3"})
    return command_id, (await ids(desk))[-1]


async def test_a_refused_record_that_is_edited_is_taken_under_a_new_id(open_desk: OpenDesk, editor: MakeEditor) -> None:
    desk = open_desk(EDITOR=editor('s/"1e3"/"1000.00"/'))
    old, dead_letter_id = await refused(desk)
    plain = await desk.cli("dead-letters", "redrive", "--edit", str(dead_letter_id), *WHY)
    assert (plain.returncode, await places(desk)) == (5, [])
    assert f"{old} is used already" in plain.stderr
    done = await desk.cli("dead-letters", "redrive", "--edit", "--new-id", str(dead_letter_id), *WHY)
    assert done.returncode == 0, done.stderr
    assert '+    "amount": "1000.00",' in done.stderr
    assert '-    "amount": "1e3",' in done.stderr
    [new] = await places(desk)
    assert new != str(old)
    await desk.answer(DONE)
    told = await desk.last(UUID(new))
    assert (told["type"], told["payload"]["amount"]) == ("command.succeeded", "1000.00")
    assert told["source"] == {"topic": ADJUSTMENTS_TOPIC, "partition": desk.partition, "offset": 0}
    assert [one["type"] for one in await desk.outcomes(old)] == ["command.rejected"]
    [row] = await letters(desk)
    assert (row["state"], row["disposition"], row["command_id"]) == ("redriven", "refused", old)
    await desk.gapless()


async def test_an_edit_is_a_decision_in_the_audit_with_what_was_and_what_is(
    open_desk: OpenDesk, editor: MakeEditor
) -> None:
    desk = open_desk(EDITOR=editor('s/"1e3"/"1000.00"/'))
    _, dead_letter_id = await refused(desk)
    before = bytes((await desk.one("SELECT value FROM records"))["value"])
    await desk.cli("dead-letters", "redrive", "--edit", "--new-id", str(dead_letter_id), *WHY)
    told = json.loads(bytes((await desk.one("SELECT value FROM audit WHERE action = 'dead-letters.edit'"))["value"]))
    kept = bytes((await desk.one("SELECT value FROM redrives"))["value"])
    assert (told["actor"], told["reason"], told["subject"]) == ("ann", "mended upstream", str(dead_letter_id))
    assert (told["before"]["text"], told["before"]["sha256"]) == (before.decode(), sha256(before).hexdigest())
    assert (told["after"]["text"], told["after"]["sha256"]) == (kept.decode(), sha256(kept).hexdigest())
    assert json.loads(kept)["payload"]["amount"] == "1000.00"
    assert bytes((await desk.one("SELECT value FROM records"))["value"]) == before
    shown = await desk.cli_json("dead-letters", "show", str(dead_letter_id))
    assert json.loads(shown["redrives"][0]["edited"])["payload"]["amount"] == "1000.00"


async def test_an_edit_that_is_not_right_or_changes_nothing_is_refused(open_desk: OpenDesk, editor: MakeEditor) -> None:
    for script, told in (('s/"1e3"/"1e4"/', "DECIMAL_INVALID"), ("s/{/(/", "unreadable"), ("", "was not changed")):
        desk = open_desk(EDITOR=editor(script))
        _, dead_letter_id = await refused(desk)
        new_id = ("--new-id",) if script else ()
        done = await desk.cli("dead-letters", "redrive", "--edit", str(dead_letter_id), *new_id, *WHY)
        assert (done.returncode, done.stdout, await places(desk)) == (5, "", [])
        assert told in done.stderr
    for program, code in (("false", 5), ("no-such-editor", 1), ("", 1)):
        done = await open_desk(EDITOR=program).cli("dead-letters", "redrive", "--edit", str(dead_letter_id), *WHY)
        assert (done.returncode, done.stdout) == (code, "")


async def test_an_edit_keeps_its_own_id_while_nothing_has_used_that(desk: Desk, tmp_path: Path) -> None:
    """Else what was read could be taken too, under its own id, by a later redrive or replay."""
    [own] = await quarantined(desk, 1)
    [dead_letter_id] = await ids(desk)
    other = new_command("cash.adjust", desk.account_no)
    done = await edit(desk, [{"dead_letter_id": dead_letter_id, "value": other}], tmp_path)
    assert done.returncode == 5
    assert own in done.stderr
    done = await edit(desk, [{"dead_letter_id": dead_letter_id, "value": {**other, "command_id": own}}], tmp_path)
    assert done.returncode == 0, done.stderr
    assert await places(desk) == [own]
    assert [(row["state"], row["disposition"]) for row in await letters(desk)] == [("redriven", "accepted")]


async def test_what_was_malformed_or_lacked_its_key_is_taken_as_a_person_vouches_for_it(
    desk: Desk, tmp_path: Path
) -> None:
    await desk.read(ADJUSTMENTS_TOPIC, b"\xff{", key=b"\x00")
    command = new_command("cash.adjust", desk.account_no)
    await desk.read(ADJUSTMENTS_TOPIC, json.dumps(command).encode(), key=b"another")
    first, second = await ids(desk)
    edits = [
        {"dead_letter_id": second, "value": command},
        {"dead_letter_id": first, "value": json.dumps(new_command("cash.adjust", desk.account_no))},
    ]
    done = await edit(desk, edits, tmp_path, "--new-id")
    assert done.returncode == 0, done.stderr
    taken = await places(desk)
    assert taken[0] == json.loads(edits[1]["value"])["command_id"]
    assert taken[1] != command["command_id"]
    again = await edit(desk, edits, tmp_path, "--new-id")
    assert (again.returncode, await places(desk)) == (5, taken)


async def test_of_many_edits_those_that_are_right_are_taken_and_the_others_named(desk: Desk, tmp_path: Path) -> None:
    await desk.read(ADJUSTMENTS_TOPIC, b"{")
    await desk.read(ADJUSTMENTS_TOPIC, b"{")
    good = new_command("cash.adjust", desk.account_no)
    edits = [{"dead_letter_id": one, "value": value} for one, value in zip(await ids(desk), (good, "{"), strict=True)]
    done = await edit(desk, edits, tmp_path)
    assert (done.returncode, json.loads(done.stdout)["became"]) == (4, {"accepted": 1, "malformed": 1})
    assert [row["redrive_count"] for row in await letters(desk)] == [1, 0]
    for lines in (
        [edits[0], edits[0]],
        [{"value": "x"}],
        [{"dead_letter_id": "x", "value": "x"}],
        [{"dead_letter_id": new_command_id(), "value": good}, {"dead_letter_id": new_command_id(), "value": good}],
    ):
        assert (await edit(desk, lines, tmp_path)).returncode == 2


async def test_what_was_read_is_never_taken_beside_its_edit(desk: Desk, tmp_path: Path) -> None:
    """Not even by a release that can read it, whether it is redriven or fed by a replay."""
    was = new_command("cash.adjust", desk.account_no)
    await desk.read(ADJUSTMENTS_TOPIC, b"\xff" + json.dumps(was).encode())
    [dead_letter_id] = await ids(desk)
    done = await edit(desk, [{"dead_letter_id": dead_letter_id, "value": {**was, "command_id": NEW}}], tmp_path)
    assert done.returncode == 0, done.stderr
    record = RawRecord(ADJUSTMENTS_TOPIC, desk.partition, 0, 0, desk.account_no.encode(), json.dumps(was).encode(), ())
    judged = check(record, TOPIC_TYPES)
    assert isinstance(judged, Command)
    async with transaction(desk.engine) as connection:
        epochs = {(ADJUSTMENTS_TOPIC, desk.partition): 1}
        fed = await feed_batch(connection, [(record, judged)], epochs, accept_options(desk.settings))
    assert (list(fed.values()), await places(desk)) == (["accepted"], [NEW])
    assert (await desk.cli("dead-letters", "redrive", str(dead_letter_id), *WHY)).returncode == 5


async def test_the_runbooks_commands_do_what_it_says(
    open_desk: OpenDesk, editor: MakeEditor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(EDITOR=editor('s/"1e3"/"1000.00"/'))
    [quarantined_id] = await quarantined(desk, 1)
    [sample] = map(str, await ids(desk))
    [group] = await desk.cli_json("dead-letters", "list")
    await desk.read(ADJUSTMENTS_TOPIC, b"{")
    ignored = str((await ids(desk))[-1])
    wrong = str((await refused(desk))[1])
    many = str((await refused(desk))[1])
    (tmp_path / "edits.jsonl").write_text(
        json.dumps({"dead_letter_id": many, "value": new_command("cash.adjust", desk.account_no)})
    )
    monkeypatch.chdir(tmp_path)
    page = (CHECKOUT / "docs/runbooks/dead-letters.md").read_text()
    lines = re.findall(r"(?m)^ +ledger-worker (.*)$", page)
    assert len(lines) == 12
    for line in lines:
        named = ignored if " ignore " in line else wrong if "--edit" in line else sample
        typed = re.sub("DEAD_LETTER_ID|LAST_ID|4b4c7c2e[-0-9a-f]*", named, line)
        done = await desk.cli(*shlex.split(typed.replace("FINGERPRINT", group["fingerprint"])))
        assert done.returncode == 0, (line, done.stderr)
    taken = await places(desk)
    assert (len(taken), taken[0]) == (3, quarantined_id)
    assert {row["state"] for row in await letters(desk)} == {"redriven", "ignored"}
