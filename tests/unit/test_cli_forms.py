"""The forms that commands are typed in, and what they print; what they would find or do is stood in for."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch
from uuid import UUID

import pytest
from typer.core import TyperGroup

from tests.fuzz.commandline import COMMAND, run
from worker.cli.redrive import _selected
from worker.errors import NothingMatchedError

ID, OTHER = str(UUID(int=7)), str(UUID(int=8))
WHY = ("--reason", "looked into", "--yes")
FINGERPRINT = "0123456789abcdef"


@asynccontextmanager
async def no_database(_url: str) -> AsyncIterator[None]:
    yield None


def fed(*arguments: str, to_feed: int) -> tuple[int, str]:
    """Run `replay run` over a plan with so much to feed; returns how it ended and what it said."""

    async def feed(_engine: object, _settings: object, _plan_id: UUID, how: Any) -> dict[str, int]:
        if not to_feed:
            raise NothingMatchedError("nothing to feed")
        how.confirm(f"This feeds {to_feed} records.")
        return {"accepted": to_feed}

    with patch("worker.store.engine.opened", no_database), patch("worker.operate.replay_run.feed_plan", feed):
        ended = run(["replay", "run", ID, *arguments])
    return ended.code, ended.err


def test_a_plan_without_anything_to_feed_needs_no_reason_and_one_with_is_guarded() -> None:
    assert fed(to_feed=0)[0] == 3
    code, told = fed("--yes", to_feed=3)
    assert code == 5
    assert "--reason" in told
    assert fed("--reason", "why", to_feed=3)[0] == 5
    assert fed(*WHY, to_feed=3)[0] == 0


@pytest.mark.parametrize("rate", ["inf", "nan", "1e400", "-inf"])
@pytest.mark.parametrize("command", [("replay", "run", ID), ("dead-letters", "redrive", ID)])
def test_a_rate_that_is_no_number_of_records_is_a_usage_error(command: tuple[str, ...], rate: str) -> None:
    ended = run([*command, f"--rate={rate}", *WHY])
    assert (ended.code, ended.out) == (2, "")
    assert "--rate" in ended.err


@pytest.mark.parametrize("hold", ["hold", "release"])
def test_a_decision_is_printed_as_json_or_line_by_line_with_the_same_fields(hold: str) -> None:
    done = AsyncMock(return_value={"stopped": "account H1", "account_no": "H1", "expiries_due": {}})
    told = AsyncMock(return_value="It waits.")
    names = ("_stop", "_preview_stop") if hold == "hold" else ("_release", "_preview_release")
    with patch(f"worker.cli.pause.{names[0]}", done), patch(f"worker.cli.pause.{names[1]}", told):
        plain, table = run(["accounts", hold, "H1", *WHY]), run(["accounts", hold, "H1", *WHY, "--output", "table"])
    assert json.loads(plain.out) == done.return_value
    assert table.out.splitlines() == ["stopped       account H1", "account_no    H1", "expiries_due  -"]


def test_several_decisions_are_one_json_list_or_one_below_the_other() -> None:
    async def each(_settings: object, asked: list[Any], *, decided: bool) -> list[tuple[Any, object]]:
        return [(one, {"command_id": str(one.command_id)} if decided else "It ends.") for one in asked]

    with patch("worker.cli.parked._each", each):
        plain = run(["parked", "discard", ID, OTHER, *WHY])
        table = run(["parked", "discard", ID, OTHER, *WHY, "-o", "table"])
    assert [one["command_id"] for one in json.loads(plain.out)] == [ID, OTHER]
    assert table.out.splitlines() == [f"command_id  {ID}", "", f"command_id  {OTHER}"]


def test_what_a_number_means_is_one_json_document() -> None:
    for stories in ([{"kind": "command"}], [{"kind": "command"}, {"kind": "account"}]):
        with patch("worker.cli.explain.read", lambda _gather, found=stories: found):
            ended = run(["explain", "T1", "--output", "json"])
        assert json.loads(ended.out) == (stories[0] if len(stories) == 1 else stories)


@pytest.mark.parametrize("group", ["in-doubt", "parked", "timers", "accounts"])
def test_a_list_with_more_says_how_to_go_on(group: str) -> None:
    key = "account_no" if group == "accounts" else "command_id"
    rows = [{key: one} for one in (ID, OTHER)]
    with patch(f"worker.cli.{group.replace('-', '_')}.read", lambda _gather: rows):
        assert f"--after {ID}" in run([group, "list", "--limit", "1"]).err
        assert "--after" not in run([group, "list", "--limit", "2"]).err


@pytest.mark.parametrize("way", [("--all",), ("--fingerprint", FINGERPRINT)])
def test_one_by_one_dead_letters_do_not_go_on_after_a_group(way: tuple[str, ...]) -> None:
    with patch("worker.cli.dead_letters.read", lambda _gather: []):
        ended = run(["dead-letters", "list", *way, "--after", FINGERPRINT])
        assert ended.code == 2
        assert "dead letter's id" in ended.err
        assert run(["dead-letters", "list", *way, "--after", ID]).code == 0
        assert run(["dead-letters", "list", "--after", FINGERPRINT]).code == 0


@pytest.mark.parametrize("strange", ["\u2028", "\u0085", "\x0b"])
def test_an_edit_keeps_what_only_looks_like_the_end_of_a_line(strange: str, tmp_path: Path) -> None:
    edits = [{"dead_letter_id": one, "value": f"a{strange}b"} for one in (ID, OTHER)]
    text = "\r\n".join(json.dumps(one, ensure_ascii=strange == "\x0b") for one in edits)
    (tmp_path / "edits").write_bytes(text.encode())
    _, found = _selected(None, None, None, None, None, None, str(tmp_path / "edits"), edited=True)
    assert found == {UUID(one): f"a{strange}b".encode() for one in (ID, OTHER)}


def test_documents_are_looked_for_where_they_lie_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["schemas", "export"]).code == 0
    assert (tmp_path / "schemas/json/outcome.json").is_file()
    assert run(["schemas", "check"]).code == 0


def test_what_is_no_document_differs(tmp_path: Path) -> None:
    assert run(["schemas", "export", str(tmp_path)]).code == 0
    (tmp_path / "outcome.json").write_bytes(b"\xff")
    (tmp_path / "ours.json").mkdir()
    ended = run(["schemas", "check", str(tmp_path)])
    assert (ended.code, ended.out.split()) == (1, ["ours.json", "outcome.json"])


def resolved(*arguments: str) -> tuple[int, Any]:
    """Run `in-doubt resolve`; returns how it ended and what it would have decided."""
    seen: list[Any] = []

    async def preview(_settings: object, said: Any) -> tuple[str, Any]:
        seen.append(said)
        return "It ends.", said

    with (
        patch("worker.cli.in_doubt._preview", preview),
        patch("worker.cli.in_doubt._resolve", AsyncMock(return_value={})),
    ):
        ended = run(["in-doubt", "resolve", *arguments])
    return ended.code, seen[0] if seen else None


def test_a_number_may_be_given_to_applied_with_an_equals_sign() -> None:
    code, said = resolved(ID, "--applied=TA77", *WHY)
    assert (code, said.answer.number, said.command_id) == (0, "TA77", UUID(ID))
    code, said = resolved("--applied=TA77", ID, "--reason", "--applied=no", "--yes")
    assert (code, said.answer.number, said.reason) == (0, "TA77", "--applied=no")


@pytest.mark.parametrize("given", ["--applied=", "--applied=--yes", "--applied=-1"])
def test_an_equals_sign_before_no_number_is_a_usage_error(given: str) -> None:
    assert resolved(ID, given, "--reason", "why") == (2, None)


def groups(group: TyperGroup, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, one in group.commands.items():
        if isinstance(one, TyperGroup):
            yield from groups(one, *path, name)


def test_every_group_shows_an_example() -> None:
    assert isinstance(COMMAND, TyperGroup)
    for path in groups(COMMAND):
        shown = run([*path, "--help"]).out
        assert re.search(rf"Examples?:\n +ledger-worker {' '.join(path)}", shown), path
