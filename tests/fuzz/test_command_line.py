"""The command line: any file and any argument ends with an exit code of the contract and a sentence, never a traceback."""

import json
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.factories import TOPIC_TYPES
from tests.fuzz.commandline import ENV, Ended, run
from tests.fuzz.strategies import anything, as_json, damaged, texts
from tests.fuzz.test_records import commands
from worker.cli.send import _routed
from worker.settings import Settings

DONE, ERROR, USAGE, NOTHING, PARTLY, GUARDED = range(6)
SETTINGS = Settings.from_env(ENV)

# What a program may be given as arguments: no NUL, and bytes that are not UTF-8 as lone surrogates of that half.
arguments = texts.map(lambda text: text.replace("\x00", "").encode("utf-8", "replace").decode()) | st.binary(
    max_size=8
).map(lambda data: data.replace(b"\x00", b"").decode("utf-8", "surrogateescape"))
ids = st.sampled_from(["0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-D9CB-469F-A165-70867728950E"]) | arguments
numbers = st.sampled_from(["TA1", "x" * 64, "x" * 65]) | arguments


def ended_well(ended: Ended, *codes: int) -> None:
    assert ended.code in codes, ended
    assert "Traceback" not in ended.err
    if ended.code != DONE:
        assert ended.err.strip()


@st.composite
def files(draw: st.DrawFn) -> bytes:
    lines = draw(
        st.lists(st.binary(max_size=40) | commands().map(lambda found: found[2].replace(b"\n", b" ")), max_size=4)
    )
    lines.append(b"{")  # so that it is never right, and ends before it asks for Kafka
    data = draw(st.sampled_from([b"\n", b"\r\n", b"\n\n \n"])).join(lines)
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + data + draw(st.sampled_from([b"", b"\n"]))


@given(files(), st.booleans())
@example(b'{"type":[]}\n', False)
@example(b'{"type":{}}', True)
@example(b"[" * 100_000, False)
@example(b'{"a":' + b"9" * 5_000 + b"}", False)
def test_any_file_that_is_not_right_is_refused_line_by_line(data: bytes, from_stdin: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "commands.jsonl")
        path.write_bytes(data)
        ended = run(["send", "-" if from_stdin else str(path)], stdin=data)
    ended_well(ended, ERROR)
    assert ended.out == ""
    assert "nothing was sent" in ended.err


@pytest.mark.parametrize("data", [b"", b"\n\n", b" \r\n"])
def test_a_file_without_a_line_is_an_error(data: bytes) -> None:
    ended = run(["send", "-"], stdin=data)
    ended_well(ended, ERROR)
    assert "has no line to send" in ended.err


@pytest.mark.parametrize("file", ["/", "/dev/null/x", "no-such-file", "x" * 5_000])
def test_a_file_that_cannot_be_read_is_a_usage_error(file: str) -> None:
    ended_well(run(["send", file]), USAGE)
    ended_well(run(["whale", "sign", "--method", "GET", "--path", "/", "--body", file]), USAGE)


@given(anything | st.fixed_dictionaries({"type": anything, "account_no": anything}), st.data())
@example({"type": []}, None)
def test_whatever_an_unchecked_line_is_it_has_a_topic(value: Any, data: st.DataObject | None) -> None:
    line = json.dumps(value).encode() if data is None else data.draw(damaged(as_json(data.draw, value)))
    routed = _routed(1, line, TOPIC_TYPES, SETTINGS)
    assert routed.topic in TOPIC_TYPES
    assert routed.value == line


@given(st.binary(max_size=200), arguments, arguments, arguments, arguments)
@example(b"", "\udcff", "/", "", "")
def test_any_request_is_signed_or_a_usage_error(
    body: bytes, method: str, path: str, query: str, timestamp: str
) -> None:
    given_options = {"--method": method, "--path": path, "--query": query, "--timestamp": timestamp}
    ended = run(
        ["whale", "sign", "--body=-", *(f"{name}={value}" for name, value in given_options.items())], stdin=body
    )
    ended_well(ended, DONE, USAGE)
    if ended.code == DONE:
        assert set(json.loads(ended.out)) == {"canonical_text", "string_to_sign", "signature", "headers"}


@given(
    ids,
    st.none() | numbers,
    arguments,
    st.sets(st.sampled_from(["--applied", "--not-applied", "--number-unknown", "--resend", "--expiry"])),
)
@example("\udcff", None, "", {"--applied"})
@example("0f8fad5b-d9cb-469f-a165-70867728950e", None, "", {"--applied"})
@example("0f8fad5b-d9cb-469f-a165-70867728950e", None, "why", {"--not-applied"})
def test_any_decision_is_asked_for_or_refused(id_: str, number: str | None, reason: str, options: set[str]) -> None:
    with patch("worker.cli.in_doubt._preview", AsyncMock(return_value=("It ends.", None))):
        ended = run(
            [
                "in-doubt",
                "resolve",
                *sorted(options),
                f"--reason={reason}",
                "--",
                id_,
                *([] if number is None else [number]),
            ]
        )
    ended_well(ended, USAGE, GUARDED)


@given(arguments, arguments, st.sampled_from(["--until-idle", "--count", "--account", "--limit"]) | arguments)
@example("nan", "", "--until-idle")
@example("\udcff", "", "--account")
def test_any_argument_of_a_reader_is_taken_or_a_usage_error(first: str, second: str, option: str) -> None:
    async def prints_all(*of_tail: Any) -> int:
        return of_tail[3] or 0

    with patch("worker.cli.tail._follow", prints_all), patch("worker.cli.explain.read", lambda _gather: []):
        ended_well(run(["tail", option, first]), DONE, USAGE, NOTHING)
        ended_well(run(["explain", option, second]), DONE, USAGE)
        ended_well(run(["explain", "--", first]), DONE, USAGE)


def test_waiting_for_no_number_of_seconds_is_a_usage_error() -> None:
    ended_well(run(["tail", "--until-idle", "nan"]), USAGE)


@given(arguments)
def test_any_id_of_a_listing_is_looked_for_or_a_usage_error(id_: str) -> None:
    with patch("worker.cli.dead_letters.read", lambda _gather: []), patch("worker.cli.parked.read", lambda _gather: []):
        for group in ("dead-letters", "parked"):
            ended = run([group, "show", "--", id_])
            ended_well(ended, USAGE, NOTHING)
