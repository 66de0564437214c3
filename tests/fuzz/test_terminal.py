"""What a terminal is shown: nothing that came from outside commands it, and JSON still says what it said."""

import json
import re
from collections.abc import Callable
from typing import Any, Self
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.commandline import Ended, run
from tests.fuzz.strategies import texts
from worker.errors import PartUnavailableError
from worker.ledger.records import RawRecord

ESCAPES = "\x1b[2J\x1b]0;owned\x07 \x9b31m \x7f\x08\r \u202e"
COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OURS = re.compile("\x1b\\[[0-9;]*m")  # colour and weight, which rich and typer put around what they print
ID = "0f8fad5b-d9cb-469f-a165-70867728950e"

hostile = (texts | st.just(ESCAPES)).filter(lambda text: len(text) < 1_000)


def is_harmless(ended: Ended) -> None:
    for shown in (ended.out, ended.err):
        assert not COMMANDS.search(OURS.sub("", shown)), repr(shown)


def dead_letter(text: str) -> dict[str, Any]:
    names = ("reason", "code", "field", "topic", "message", "key_text", "value_text")
    return {"dead_letter_id": ID, **dict.fromkeys(names, text), "headers": [{"name": text, "value": text}], "offset": 1}


def command(text: str) -> dict[str, Any]:
    event = {
        "at": "2026-11-22T08:30:00Z",
        "event": "check.refused",
        "detail": text,
        "data": {text: text},
        "series": None,
        "nth": 0,
    }
    return {
        "kind": "command",
        "command_id": ID,
        "summary": text,
        "state": "in_doubt",
        "issued_by": text,
        "issued_at": "2026-11-22T08:30:00Z",
        "not_after": None,
        "payload": {text: text},
        "events": [event],
        **waits(text),
    }


def account(text: str) -> dict[str, Any]:
    rows = {
        "next": [dict.fromkeys(("command_id", "command_type", "amount", "state"), text)],
        "doubt_balance": [dict.fromkeys(("operation", "count", "amount", "unit", "oldest_at"), text)],
        "doubts": [dict.fromkeys(("command_id", "operation", "amount", "age", "next", "next_at", text), text)],
        "parked": [dict.fromkeys(("command_id", "command_type", "amount", "age", "reason"), text)],
        "timers": [dict.fromkeys(("expires_at", "command_id", "adjust_no", "amount", "timer"), text)],
        "last_outcomes": [dict.fromkeys(("account_seq", "recorded_at", "type", "command_id", "code"), text)],
    }
    names = ("account_no", "summary", "state", "hold_reason", "wake_at", "owner", "lease_until")
    numbers = dict.fromkeys(("fence", "next_position", "account_seq", "waiting"), 1)
    return {"kind": "account", **dict.fromkeys(names, text), **numbers, **rows, **waits(text)}


def waits(text: str) -> dict[str, Any]:
    moves = [{"command": text, "from_at": text}]
    return {"waits_for": text, "waits_until": text, "moved_by": moves}


def parked(text: str) -> dict[str, Any]:
    return {
        "command_id": ID,
        "reason": text,
        "in_doubt": True,
        "attempts_made": [{"message": text, "numbers": {text: [text, {}]}}],
    }


@given(
    hostile,
    st.booleans(),
    st.sampled_from(["table", "json"]),
    st.sampled_from(
        [
            (["explain", "x"], "explain", command),
            (["explain", "x"], "explain", account),
            (["dead-letters", "list", "--all"], "dead_letters", dead_letter),
            (["dead-letters", "show", ID], "dead_letters", dead_letter),
            (["parked", "list"], "parked", parked),
            (["parked", "show", ID], "parked", parked),
            (["in-doubt", "list"], "in_doubt", lambda text: {"command_id": ID, "reason": text, "operation": text}),
        ]
    ),
)
@example(ESCAPES, True, "table", (["explain", "x"], "explain", command))
@example(ESCAPES, True, "table", (["dead-letters", "show", ID], "dead_letters", dead_letter))
@example(ESCAPES, False, "table", (["dead-letters", "list", "--all"], "dead_letters", dead_letter))
@example(ESCAPES, True, "json", (["parked", "show", ID], "parked", parked))
def test_nothing_stored_commands_a_terminal(
    text: str, terminal: bool, form: str, case: tuple[list[str], str, Callable[[str], dict[str, Any]]]
) -> None:
    arguments, module, made = case
    with patch(f"worker.cli.{module}.read", lambda _gather: [made(text)]):
        ended = run([*arguments, "--output", form], terminal=terminal)
    assert ended.code == 0, ended
    is_harmless(ended)
    if form == "json":
        shown = json.loads(ended.out)
        assert (shown[0] if isinstance(shown, list) else shown) == made(text)


@given(hostile)
@example(ESCAPES)
def test_no_error_commands_a_terminal_and_it_is_one_line(text: str) -> None:
    def refuses(_gather: object) -> None:
        raise PartUnavailableError(f"Postgres does not answer: {text}")

    with patch("worker.cli.explain.read", refuses):
        ended = run(["explain", "x"])
    assert ended.code == 1
    is_harmless(ended)
    assert len(ended.err.splitlines()) == 1


class Follows:
    """Stands for a consumer: gives one record, then the end."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    async def read(self, _wait_s: float) -> list[Any]:
        return [RawRecord("t", 0, 0, 0, None, self.value)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        return None


@given(
    st.binary(max_size=60)
    | hostile.map(lambda text: json.dumps({"error": text}, ensure_ascii=False).encode("utf-8", "replace"))
)
@example(ESCAPES.encode())
def test_a_followed_outcome_commands_no_terminal(value: bytes) -> None:
    with patch("worker.kafka.reader.open_reader", lambda *_a, **_k: Follows(value)):
        ended = run(["tail", "--count", "1"], terminal=True)
    assert ended.code == 0
    is_harmless(ended)


@pytest.mark.parametrize("value", ['{"a":"\x9b31m\u202e"}'.encode(), b'{"a": "\xc3\xa9"}'])
def test_a_pipe_gets_an_outcome_byte_for_byte(value: bytes) -> None:
    with patch("worker.kafka.reader.open_reader", lambda *_a, **_k: Follows(value)):
        assert run(["tail", "--count", "1"]).out.encode() == value + b"\n"
