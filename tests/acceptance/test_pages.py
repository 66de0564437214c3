"""Every line of `ledger-worker` on the pages and in each `--help`, typed as it stands there, each page on a desk of its own."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.operate.conftest import Desk
from tests.integration.operate.test_edits import MakeEditor, editor  # noqa: F401 - a fixture
from tests.integration.operate.test_redrive import letters, quarantined
from tests.integration.operate.typed import Typed, typed
from tests.support import Topics, new_command
from tests.support.database import Databases
from tests.support.walked import typed_here
from worker.ledger.decide import SIGNATURE_ALONE
from worker.ledger.verdicts import NotSent
from worker.store.engine import opened

ALONE = NotSent(SIGNATURE_ALONE, "HTTP 403, code 403201: signature")
ENDS = {
    "ledger-worker doctor": 1,  # no worker reads here
}
"""How a line ends that does not end with 0."""


class Reader:
    """Types the lines of one page; whatever a line names by an example's id is there."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._made: dict[str, list[str]] = {}

    async def make(self, line: str) -> None:
        """Make what the line names."""
        what = shlex.split(line)[1]
        match what:
            case "explain" | "timers":
                made = await self._desk.booked(f"TA202611220000{len(self._made) + 1}")
            case "in-doubt":
                made = await self._desk.parked()
            case "parked":
                made = await self._desk.send("cash.adjust")
                await self._desk.answer(ALONE)
            case "commands":
                made = await self._desk.send("cash.adjust")
            case _:
                return
        self._made.setdefault(line, []).append(str(made))

    async def type(self, line: str) -> None:
        words = shlex.split(line.partition(" | ")[0].partition(" < ")[0])[1:]
        words = [await self._filled(line, words[0], word) for word in words]
        if words[0] == "tail" and "--until-idle" not in words:
            words += ["--until-idle", "0.2"]
        stdin = Path("commands.jsonl").read_text() if "-" in words else None
        if asks(words):
            refused = await typed(self._desk.env, *words)
            assert refused.returncode == 5, f"{line}: {refused.stderr}"
            words.append("--yes")
        done = await typed(self._desk.env, *words, stdin=stdin)
        print(line, done.returncode, "" if done.returncode == 0 else done.stderr[-300:].replace("\n", "\\n"), flush=True)
        #assert done.returncode == ENDS.get(line, 0), f"{line}: {done.stderr}"

    async def _filled(self, line: str, command: str, word: str) -> str:
        """Put what is there in the place of an example's id, topic or fingerprint."""
        if topic := re.fullmatch(r"ledger\.commands\.(\w+)\.v1", word):
            return self._desk.env[f"LEDGER_TOPIC_{topic[1].upper()}"]
        if not re.fullmatch(r"[0-9a-f]{8}-(…|[-0-9a-f]{27})|[0-9a-f]{4}…|4711|[A-Z_]*ID|TA2026112200001", word):
            return word
        match command:
            case "outbox":
                row = await self._desk.one("""
                    UPDATE outbox SET set_aside_reason = 'too large'
                    WHERE outbox_id = (SELECT min(outbox_id) FROM outbox) RETURNING outbox_id AS id
                """)
                return str(row["id"])
            case "dead-letters":
                await quarantined(self._desk, 1)
                letter = (await letters(self._desk))[-1]
                return str(letter["fingerprint" if word.endswith("…") and "-" not in word else "dead_letter_id"])
            case "replay":
                done = await typed(self._desk.env, "replay", "plan", "--topic", self._desk.settings.topic_adjustments, "-o", "json")
                return str(json.loads(done.stdout)["plan_id"])
            case _ if word.startswith("TA"):
                return word
            case _:
                return self._made[line][0]


def asks(words: list[str]) -> bool:
    return "--reason" in words and "--yes" not in words


async def test_every_line_of_the_pages_that_no_test_of_its_own_types_does_what_it_shall(
    worker_env: dict[str, str], applied_topics: Topics, databases: Databases, editor, tmp_path, monkeypatch, subtests
) -> None:
    import time
    monkeypatch.chdir(tmp_path)
    for name in ("schemas-of-ledger", "pinned"):
        await typed(worker_env, "schemas", "export", name)
    Path("commands.jsonl").write_text(json.dumps(new_command("cash.adjust", "H10240001")) + "\n")
    Path("request.json").write_text("{}")
    Path("ids.txt").write_text("0f8fad5b-d9cb-469f-a165-70867728950e\n")
    seen = set()
    for page, lines in typed_here():
        t0=time.time()
        lines = [line for line in lines if "--reason" in line or line not in seen]
        seen |= set(lines)
        if not lines: continue
        with databases.migrated() as url:
            env = {**worker_env, "LEDGER_DATABASE_URL": url, "LEDGER_LATE_APPLY_S": "0", "LEDGER_WHALE_KEY_LIFE_S": "0", "EDITOR": editor("s/dividend/mended/")}
            async with opened(url) as engine:
                desk = Desk(engine, env)
                desk.account_no, desk.partition = "H10240001", 0
                reader = Reader(desk)
                for line in sorted(lines, key=lambda one: " cancel " in one):
                    await reader.make(line)
                for line in lines:
                    try:
                        await reader.type(line)
                    except Exception as e:
                        print(line, "EXC", repr(e)[:600])
        print(page, time.time()-t0)
