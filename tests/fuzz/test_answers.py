"""Answers of the brokerage: whatever comes is a verdict or evidence, and Confirmed only by the rule, said here again."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.strategies import anything, as_json, changed, damaged, texts
from worker.ledger.verdicts import (
    Absent,
    Confirmed,
    Ended,
    InDoubt,
    NotSent,
    Numbers,
    Refused,
    Request,
    Seen,
    Unreadable,
)
from worker.whale.answer import AnswerError, AnswerReader
from worker.whale.operations import REGISTRY, Intent, LookInput, Variants, tag
from worker.whale.probes import KNOWN, PAGES_MAX, WITHDRAWN
from worker.whale.verdict import judge
from worker.whale.wire import Answer, Exchange

ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
CHANGE = {"order": {"order_id": "70"}, "quantity": "200", "price": "50.1", "remark": "r"}
LOOK = LookInput(Intent(ID, "H1", CHANGE, None, Numbers(order_id="70")), 1_795_363_200.5, Variants())
WORDS = ["0", "SUCCESS", "", "FAILED", "SAVE_ERROR", "PARAM_ERROR", "STOCK_NOT_EXISTS", 0, 1, None, True, [], {}, 0.0]
CODES = [0, "0", " 0 ", "00", -0, 0.0, "SUCCESS", None, 1, 401, 403201, 429001, 500000, 408, 10**17, True, False, "0x0"]
STATUSES = st.sampled_from([200] * 6 + [201, 204, 301, 400, 401, 404, 408, 418, 429, 500, 599]) | st.integers(200, 999)

texts_of_answers = st.sampled_from(["TA1", "70", "", "a b", 70, -1, 10**80, True, None]) | anything
datas = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(WORDS) | texts,
        "error_code": st.sampled_from(WORDS) | anything,
        "message": st.sampled_from(["ok", "PARAM_ERROR"]) | anything,
        "adjust_no": texts_of_answers,
        "serial_num": texts_of_answers,
        "order_id": texts_of_answers,
        "data": anything,
    },
)
envelopes = st.fixed_dictionaries(
    {"code": st.sampled_from(CODES) | anything},
    optional={"message": texts, "msg": anything, "data": datas | st.builds(lambda d: {"code": 0, "data": d}, datas)},
)
headers = st.fixed_dictionaries({}, optional={"retry-after": texts, "x-trace-id": texts, "location": texts})


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    value = draw(envelopes | datas | anything)
    body = as_json(draw, value)
    return draw(damaged(body)) if draw(st.integers(0, 4)) == 0 else body


def may_be_confirmed(command_type: str, answer: Answer) -> bool:
    """Say whether the design lets this answer confirm, read with nothing of the worker: HTTP 200, outer 0, inner success, number."""
    if answer.status != 200:
        return False
    envelope = json.loads(answer.body.decode("utf-8-sig"))
    if command_type.startswith("temp.") and envelope.get("code") == "SUCCESS":
        data: Any = envelope  # the documented bare body
    elif command_type.startswith("temp.") and str(envelope.get("code")).strip() == "SUCCESS":
        data = envelope
    else:
        data = envelope
        for _ in range(4):  # wrapped in itself at most three times
            if not is_zero(data.get("code")):
                break
            inner = data.get("data")
            if inner is None:
                data = None
                break
            data = inner
            if not (is_zero(data.get("code")) and "data" in data):
                break
        if data is envelope and not is_success(envelope.get("code")):
            return False
    return inner_success(command_type, data)


def inner_success(command_type: str, data: Mapping[str, Any] | None) -> bool:
    given: Mapping[str, Any] = data or {}
    words = [given.get("code"), given.get("error_code")]
    number = {"temp.adjust": "adjust_no", "order.place": "order_id"}.get(command_type, "serial_num")
    if command_type.startswith("temp."):
        return str(words[0]).strip() == "SUCCESS" and (command_type == "temp.expire" or is_number(given.get(number)))
    if not all(is_success(word) for word in words):
        return False
    if command_type in ("order.modify", "order.withdraw"):
        return True
    return data is not None and (command_type == "cash.debit_frozen" or is_number(given.get(number)))


def is_zero(code: object) -> bool:
    return not isinstance(code, bool | float) and str(code).strip() in {"0", "00", "-0", "000"}


def is_success(word: object) -> bool:
    """Absent, empty (also once control characters are gone), 0 or SUCCESS."""
    if word is None:
        return True
    cleared = "".join(" " if c < " " or c == "\x7f" else c for c in str(word)).strip()
    return not isinstance(word, bool | float | list | dict) and cleared in {"", "0", "SUCCESS"}


def is_number(value: object) -> bool:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return (
        isinstance(text, str) and 0 < len(text) <= 64 and all(c.isascii() and (c.isalnum() or c in "._-") for c in text)
    )


def judged(command_type: str, answer: Answer) -> None:
    verdict = judge(REGISTRY[command_type], answer)
    assert verdict == judge(REGISTRY[command_type], answer)
    match verdict:
        case Confirmed(numbers):
            assert may_be_confirmed(command_type, answer), (command_type, answer, verdict)
            made = (numbers.adjust_no, numbers.serial_num, numbers.order_id)
            assert all(number is None or is_number(number) for number in made)
        case Refused(message=message) | InDoubt(message=message):
            _can_be_stored(message)
        case NotSent(message=message, retry_after_s=wait_s):
            _can_be_stored(message)
            assert wait_s is None or 0 <= wait_s <= 300


def _can_be_stored(text: str) -> None:
    assert "\x00" not in text
    text.encode()
    assert len(text) < 2_000


@given(st.sampled_from(sorted(REGISTRY)), STATUSES, bodies(), headers)
def test_any_answer_is_a_verdict_and_confirms_only_by_the_rule(
    command_type: str, status: int, body: bytes, given_headers: dict[str, str]
) -> None:
    judged(command_type, Answer(status, body, given_headers, 1.0, 2.0))


@pytest.mark.parametrize("name", ["code", "error_code"])
def test_however_deep_an_inner_code_is_the_answer_is_a_verdict(name: str) -> None:
    for depth in range(850, 1_000):  # around Python's limit there was a depth that could be read and not be written
        body = b'{"code":0,"data":{"%s":%s}}' % (name.encode(), b"[" * depth + b"]" * depth)
        judged("cash.adjust", Answer(200, body, {}, 1.0, 2.0))


@given(st.sampled_from(sorted(REGISTRY)), st.binary(max_size=100))
def test_any_body_is_a_verdict(command_type: str, body: bytes) -> None:
    judged(command_type, Answer(200, body, {}, 1.0, 2.0))


@given(st.data(), st.sampled_from(sorted(REGISTRY)))
def test_a_valid_answer_gone_wrong_confirms_only_by_the_rule(data: st.DataObject, command_type: str) -> None:
    valid = {
        "code": 0,
        "message": "success",
        "data": {"code": "SUCCESS", "error_code": "", "adjust_no": "TA1", "serial_num": "12", "order_id": "70"},
    }
    judged(command_type, Answer(200, as_json(data.draw, data.draw(changed(valid))), {}, 1.0, 2.0))
    assert isinstance(judge(REGISTRY[command_type], Answer(200, json.dumps(valid).encode(), {}, 1.0, 2.0)), Confirmed)


orders = st.fixed_dictionaries(
    {"order_id": st.sampled_from(["70", "71", 70])},
    optional={
        "status": st.sampled_from(sorted(KNOWN)) | anything,
        "remark": st.sampled_from([tag(ID), "x"]) | anything,
        "quantity": st.sampled_from(["200", 200, "2E+2", "NaN", "1e999999999999"]) | anything,
        "price": st.sampled_from(["50.10", 50.1]) | anything,
        "updated_at": anything,
    },
)
lists = st.fixed_dictionaries(
    {}, optional={"orders": st.lists(orders | anything, max_size=3) | anything, "has_more": st.booleans() | anything}
)
pages = st.builds(
    lambda data, code, status: Answer(
        status, json.dumps({"code": code, "data": data}).encode("utf-8", "replace"), {}, 1.0, 2.0
    ),
    orders | lists | anything,
    st.sampled_from([0] * 6 + [1]),
    st.sampled_from([200] * 6 + [400, 500]),
)


@given(
    st.sampled_from(["order.place", "order.modify", "order.withdraw"]),
    st.lists(pages | bodies().map(lambda body: Answer(200, body, {}, 1.0, 2.0)), min_size=1, max_size=4),
)
@example("order.withdraw", [Answer(200, b'{"code":0,"data":{"order_id":"70","status":["NewStatus"]}}', {}, 1.0, 2.0)])
def test_any_list_or_order_is_evidence_and_absence_needs_readable_answers(
    command_type: str, answers: list[Answer]
) -> None:
    read: list[Answer] = []

    async def reader(_request: Request) -> Exchange:
        read.append(answers[min(len(read), len(answers) - 1)])
        return read[-1]

    look = REGISTRY[command_type].look
    assert look is not None
    found = asyncio.run(look(reader, LOOK))
    assert len(read) <= 2 * PAGES_MAX
    assert isinstance(found, Seen | Absent | Ended | Unreadable)
    _can_be_stored(found.note)
    if not isinstance(found, Unreadable):
        assert all(answer.status == 200 for answer in read)
    if isinstance(found, Seen):
        for name, text in found.detail.items():
            _can_be_stored(name + text)
        if command_type == "order.withdraw":
            assert json.loads(read[-1].body.decode("utf-8-sig"))["data"]["status"] in WITHDRAWN
        if command_type == "order.place":
            assert tag(ID).strip() in json.dumps(json.loads(read[-1].body.decode("utf-8-sig")))


WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nX-Trace-Id: t\r\nConnection: close\r\n\r\n{}",
    b"HTTP/1.0 200 OK\r\n\r\n{}",
)


@given(st.sampled_from(WHOLE).flatmap(damaged) | st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=20))
def test_any_bytes_of_a_connection_are_an_answer_or_none(data: bytes, cuts: list[int]) -> None:
    def fed(pieces: list[bytes]) -> Answer | str:
        reader = AnswerReader()
        try:
            for piece in pieces:
                if reader.feed(piece):
                    return reader.answer(1.0, 2.0)
        except AnswerError as error:
            return error.kind
        return "more"

    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    found = fed([piece for piece in [*pieces, data[at:]] if piece])
    if isinstance(found, Answer):
        assert 200 <= found.status <= 999
        for name, text in found.headers.items():
            _can_be_stored(name + text)
        judged("cash.adjust", found)
