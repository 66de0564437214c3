"""Each line of `ledger-worker` on the pages and in each `--help` that no test of its own types, typed as it stands there."""

import json
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.factories import COMMAND_ID
from tests.integration.operate.conftest import DONE, Desk
from tests.integration.operate.test_redrive import letters, quarantined
from tests.integration.operate.typed import typed
from tests.support import Topics, new_command
from tests.support.database import Databases
from tests.support.kafka import create_topics
from tests.support.walked import typed_here
from worker.ledger.decide import SIGNATURE_ALONE
from worker.ledger.retention import Aged
from worker.ledger.verdicts import NotSent
from worker.store.engine import opened

ALONE = NotSent(SIGNATURE_ALONE, "HTTP 403, code 403201: signature")
BOOKED = "TA2026112200001"
AN_ID = re.compile(r"[0-9a-f]{8}-(…|[-0-9a-f]{27})|[0-9a-f]{4}…|4711|ID")
NOTHING = 3
ENDS = {
    "doctor": 1,  # no worker reads here
    "dead-letters seen --fingerprint": 4,  # others of that kind were redriven already
    "prune": NOTHING,  # nothing is as old
    "reconcile": NOTHING,  # nobody booked anything on that day
    "recover --whole": NOTHING,  # the line before has done it
    "replay plan --topic ledger.commands.freezes.v1": NOTHING,
    "replay plan --topic ledger.commands.orders.v1": NOTHING,
    "replay run": NOTHING,
    "resume --topic ledger.commands.orders.v1 --partition 3 --reason 'upstream": NOTHING,
    "tail --count 1": NOTHING,
    "topics adopt": NOTHING,
}
"""What a line begins with that does not end with 0 here; the runbooks' tests have what it finds where there is something."""


_COMMANDS = json.dumps(new_command("cash.adjust", "H10240001")) + "\n"


def _write(name: str, text: str) -> None:
    Path(name).write_text(text)


class Reader:
    """Types the lines of one page; whatever a line names by an example's id is there."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._made: dict[str, str] = {}

    async def prepare(self, line: str) -> None:
        """Make what takes a turn of the account's lane, which a later line may stop."""
        match shlex.split(line)[1]:
            case "explain" | "timers" if not self._made.get("booked"):
                self._made["booked"] = str(await self._desk.booked(BOOKED))
            case "in-doubt":
                self._made[line] = str(await self._desk.parked())
            case "parked":
                self._made[line] = str(await self._desk.send("cash.adjust"))
                await self._desk.answer(ALONE)
            case "outbox":
                await self._desk.send("cash.adjust")
                await self._desk.answer(DONE)
            case "commands":
                self._made[line] = str(await self._desk.send("cash.adjust"))

    async def type(self, line: str) -> None:
        """Type a line; where it changes something and does not say --yes, nobody can be asked, and it is refused first."""
        words = shlex.split(line.partition(" | ")[0].partition(" < ")[0])[1:]
        words = [await self._filled(line, words[0], word) for word in words]
        if words[0] == "tail" and "--until-idle" not in words:
            words += ["--until-idle", "0.2"]
        if words[0] in {"recover", "replay", "topics"} and not self._made.setdefault("forgotten", ""):
            await self._desk.do("DELETE FROM offsets")  # what the desk accepted was never on the topic
            self._made["forgotten"] = "offsets"
        ends = next((code for start, code in ENDS.items() if line.startswith(f"ledger-worker {start}")), 0)
        stdin = _COMMANDS if "-" in words else None
        done = await typed(self._desk.env, *words, stdin=stdin)
        if "--reason" in words and "--yes" not in words and (ends, done.returncode) != (NOTHING, NOTHING):
            assert done.returncode == 5, f"{line}: {done.returncode} {done.stderr}"
            done = await typed(self._desk.env, *words, "--yes")
        assert done.returncode == ends, f"{line}: {done.stderr}"

    async def _filled(self, line: str, command: str, word: str) -> str:
        """Put what is there in the place of an example's id, topic or fingerprint."""
        desk = self._desk
        if topic := re.fullmatch(r"ledger\.commands\.(\w+)\.v1", word):
            return desk.env[f"LEDGER_TOPIC_{topic[1].upper()}"]
        if word == "edits.jsonl":
            used = str(await desk.send("cash.adjust", payload={"amount": "1e3"}))
            letter_id = str((await letters(desk))[-1]["dead_letter_id"])
            value = new_command("cash.adjust", desk.account_no, command_id=used)
            _write(word, json.dumps({"dead_letter_id": letter_id, "value": value}) + "\n")
        if word == "analytics.outcomes":
            await create_topics(desk.env["LEDGER_KAFKA_BOOTSTRAP_SERVERS"], [f"{desk.settings.topic_outcomes}.again"])
            return f"{desk.settings.topic_outcomes}.again"
        if command == "in-doubt" and word in {BOOKED, "NUMBER"}:
            return "TA2026112200009"
        if not AN_ID.fullmatch(word):
            return word
        match command:
            case "dead-letters":
                letter = await self._letter()
                return str(letter["dead_letter_id" if "-" in word else "fingerprint"])
            case "outbox":
                row = await desk.one("""
                    UPDATE outbox SET set_aside_reason = 'too large'
                    WHERE outbox_id = (SELECT min(outbox_id) FROM outbox) RETURNING outbox_id
                """)
                return str(row["outbox_id"])
            case "replay":
                plan = await desk.cli_json("replay", "plan", "--topic", desk.settings.topic_adjustments)
                return str(plan["plan_id"])
            case "explain" | "timers":
                return self._made["booked"]
            case _:
                return self._made[line]

    async def _letter(self) -> dict[str, object]:
        await quarantined(self._desk, 1)
        return (await letters(self._desk))[-1]


@pytest.fixture
def page_env(
    worker_env: dict[str, str], applied_topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Settings under which a doubt is decidable at once, and a folder with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    _write("commands.jsonl", _COMMANDS)
    _write("request.json", "{}")
    _write("ids.txt", f"{COMMAND_ID}\n")
    _write("editor", '#!/bin/sh\nsed -i s/dividend/mended/ "$1"\n')
    Path("editor").chmod(0o755)
    ages = {f"LEDGER_{what.setting.upper()}": "400" for what in Aged}
    at_once = {"LEDGER_LATE_APPLY_S": "0", "LEDGER_WHALE_KEY_LIFE_S": "0"}
    return {**worker_env, **ages, **at_once, "EDITOR": str(tmp_path / "editor")}


@asynccontextmanager
async def reader_of(lines: list[str], env: dict[str, str], databases: Databases) -> AsyncIterator[Reader]:
    with databases.migrated() as url:
        async with opened(url) as engine:
            desk = Desk(engine, {**env, "LEDGER_DATABASE_URL": url})
            desk.account_no, desk.partition = "H10240001", 0
            reader = Reader(desk)
            for line in sorted(lines, key=lambda one: " cancel " in one):  # those stay queued
                await reader.prepare(line)
            yield reader


@pytest.mark.timeout(300)  # a hundred commands, one after the other
async def test_each_line_of_the_pages_does_what_it_says(
    page_env: dict[str, str], databases: Databases, subtests: pytest.Subtests
) -> None:
    for folder in ((), ("schemas-of-ledger",), ("pinned",)):
        assert (await typed(page_env, "schemas", "export", *folder)).returncode == 0
    looked: set[str] = set()
    for page, all_lines in typed_here():
        lines = [line for line in all_lines if "--reason" in line or line not in looked]
        looked.update(lines)
        if lines:
            async with reader_of(lines, page_env, databases) as reader:
                for line in lines:
                    with subtests.test(f"{page}: {line}"):
                        await reader.type(line)
    assert len(looked) > 100
