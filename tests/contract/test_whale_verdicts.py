"""Every row of the table of verdicts, and that what is not in it is in doubt."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.ledger.verdicts import Confirmed, InDoubt, NotSent, Numbers, Pause, Refused, Verdict
from worker.whale import wire
from worker.whale.operations import REGISTRY
from worker.whale.verdict import NOT_ABOUT_THE_TOKEN, RETRY_AFTER_S_MAX, judge
from worker.whale.wire import Answer, NoAnswer, clean, number_in, read_envelope

ASSETS = ("cash.adjust", "position.adjust", "cash.freeze", "cash.unfreeze", "cash.debit_frozen")
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text()


def answer(status: int, body: Any, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, data, {name.replace("_", "-"): value for name, value in headers.items()}, 1.0, 2.0)


def verdict(command_type: str, status: int, body: Any, extra: frozenset[str] = frozenset(), **headers: str) -> Verdict:
    told = judge(REGISTRY[command_type], answer(status, body, **headers), extra)
    rule = told.rule
    for written in ("_before_send", "_after_send"):
        rule = rule.removesuffix(written)
    assert rule in DOCUMENTED or (rule.startswith("http_") and rule.endswith("_unreadable"))
    return told


def ok(data: Any = None, **more: Any) -> dict[str, Any]:
    return {"code": 0, "message": "success", "data": data, **more}


SUCCESSES: list[tuple[str, Any, Numbers]] = [
    *((name, ok({"msg": "success", "serial_num": "77"}), Numbers(serial_num="77")) for name in ASSETS),
    *(
        (name, ok({"serial_num": "77", "error_code": code}), Numbers(serial_num="77"))
        for name in ASSETS
        for code in ("", "0", 0, None, "SUCCESS")
    ),
    (
        "cash.adjust",
        {"code": "0", "msg": "success", "data": {"serial_num": 1234567890123456789}},
        Numbers(serial_num="1234567890123456789"),
    ),
    ("cash.adjust", {"code": 0, "data": {"serial_num": "77"}}, Numbers(serial_num="77")),
    ("cash.debit_frozen", ok({"msg": "success", "error_code": ""}), Numbers()),
    (
        "temp.adjust",
        {"adjust_no": "TA1", "code": "SUCCESS", "message": "", "request_id": "x"},
        Numbers(adjust_no="TA1"),
    ),
    ("temp.adjust", ok({"adjust_no": "TA1", "code": "SUCCESS", "message": ""}), Numbers(adjust_no="TA1")),
    (
        "temp.adjust",
        ok({"code": 0, "message": "", "data": {"adjust_no": "TA1", "code": "SUCCESS"}}),
        Numbers(adjust_no="TA1"),
    ),
    ("temp.expire", {"adjust_no": "TA1", "code": "SUCCESS", "message": ""}, Numbers(adjust_no="TA1")),
    ("temp.expire", ok({"code": "SUCCESS"}), Numbers()),
    ("order.place", ok({"order_id": "70"}), Numbers(order_id="70")),
    ("order.modify", ok({}), Numbers()),
    ("order.modify", {"code": "0", "message": "success"}, Numbers()),
    ("order.withdraw", ok(None), Numbers()),
]


@pytest.mark.parametrize(("command_type", "body", "numbers"), SUCCESSES)
def test_outer_and_inner_success_is_confirmed_with_the_number(command_type: str, body: Any, numbers: Numbers) -> None:
    told = verdict(command_type, 200, body)
    assert isinstance(told, Confirmed)
    assert told.numbers == numbers


@pytest.mark.parametrize(("command_type", "body", "numbers"), SUCCESSES)
@pytest.mark.parametrize("status", [201, 202, 204, 206, 400, 402, 409, 422, 500])
def test_success_counts_only_under_http_200(command_type: str, body: Any, numbers: Numbers, status: int) -> None:
    assert isinstance(verdict(command_type, status, body), InDoubt), numbers


@pytest.mark.parametrize(
    ("command_type", "body", "rule"),
    [
        *((name, ok({"msg": "success"}), "number_missing") for name in ASSETS if name != "cash.debit_frozen"),
        *((name, ok(), "data_missing") for name in ASSETS),
        *((name, ok({"serial_num": "7", "error_code": "SAVE_ERROR"}), "inner_code_unknown") for name in ASSETS),
        *((name, ok({"serial_num": "7", "error_code": "FAILED"}), "inner_code_unknown") for name in ASSETS),
        *((name, ok({"serial_num": "7", "error_code": False}), "inner_code_unknown") for name in ASSETS),
        *(
            (name, ok({"serial_num": "7", "code": "FAILED", "error_code": "0"}), "inner_code_unknown")
            for name in ASSETS
        ),
        ("cash.adjust", ok({"serial_num": ""}), "number_missing"),
        ("cash.adjust", ok({"serial_num": 1.5}), "number_missing"),
        ("cash.adjust", ok({"serial_num": "a/b"}), "number_missing"),
        ("temp.adjust", ok({"code": "SUCCESS"}), "number_missing"),
        ("temp.adjust", ok({"adjust_no": "TA1"}), "inner_code_missing"),
        ("temp.adjust", ok({"adjust_no": "TA1", "code": "SAVE_ERROR", "message": "PARAM_ERROR"}), "inner_code_unknown"),
        ("temp.adjust", {"code": "SAVE_ERROR", "message": "PARAM_ERROR"}, "inner_code_unknown"),
        ("temp.adjust", {"code": "FAILED", "message": ""}, "inner_code_unknown"),
        ("temp.adjust", ok(), "inner_code_missing"),
        ("temp.expire", ok({"code": "SAVE_ERROR"}), "inner_code_unknown"),
        ("temp.expire", ok({}), "inner_code_missing"),
        ("order.place", ok({}), "number_missing"),
        ("order.place", ok({"order_id": "70", "code": "FAILED"}), "inner_code_unknown"),
        ("order.modify", ok({"code": "FAILED"}), "inner_code_unknown"),
        ("order.withdraw", ok({"error_code": "FAILED"}), "inner_code_unknown"),
    ],
)
def test_half_a_success_is_in_doubt(command_type: str, body: Any, rule: str) -> None:
    told = verdict(command_type, 200, body)
    assert isinstance(told, InDoubt)
    assert told.rule == rule


@pytest.mark.parametrize("word", ["PARAM_ERROR", "STOCK_NOT_EXISTS"])
@pytest.mark.parametrize("command_type", sorted(REGISTRY))
def test_named_inner_codes_are_refusals(command_type: str, word: str) -> None:
    inner = {"code": word} if command_type.startswith("temp.") else {"error_code": word}
    told = verdict(command_type, 200, ok({**inner, "message": "no"}))
    assert told == Refused(word, "no", "inner_code_final")


def test_the_code_in_the_message_of_a_temporary_adjustment_is_read() -> None:
    told = verdict("temp.adjust", 200, ok({"adjust_no": "", "code": "ERROR", "message": "STOCK_NOT_EXISTS"}))
    assert isinstance(told, Refused)
    assert told.code == "STOCK_NOT_EXISTS"


@pytest.mark.parametrize("body", [{"code": "FAILED", "message": "m"}, ok({"code": "FAILED", "message": "m"})])
def test_failed_refuses_this_expiry(body: Any) -> None:
    assert verdict("temp.expire", 200, body) == Refused("FAILED", "m", "inner_code_final")


def test_bare_words_under_http_400_follow_the_same_lists() -> None:
    assert isinstance(verdict("temp.adjust", 400, {"code": "PARAM_ERROR", "message": "m"}), Refused)
    assert isinstance(verdict("temp.adjust", 400, {"code": "SAVE_ERROR", "message": "m"}), InDoubt)
    assert isinstance(verdict("temp.adjust", 400, {"code": "SUCCESS", "adjust_no": "TA1"}), InDoubt)


@pytest.mark.parametrize("command_type", sorted(REGISTRY))
@pytest.mark.parametrize("code", [400, "400", 404062, 1, -1], ids=repr)
def test_http_400_with_a_readable_code_is_a_refusal(command_type: str, code: object) -> None:
    for body in ({"code": code, "msg": "no"}, {"code": code, "message": "no", "data": None}):
        told = verdict(command_type, 400, body)
        assert told == Refused(str(code), "no", "http_400_envelope")


@pytest.mark.parametrize("status", [200, 201, 402, 403, 409, 410, 413, 415, 422])
def test_an_unknown_code_elsewhere_is_in_doubt_unless_named_final(status: int) -> None:
    body = {"code": 603001, "message": "no"}
    assert isinstance(verdict("cash.adjust", status, body), InDoubt)
    assert verdict("cash.adjust", status, body, frozenset({"603001"})) == Refused("603001", "no", "code_final")


def test_further_final_codes_hold_for_inner_codes_too() -> None:
    body = ok({"error_code": "INSUFFICIENT", "msg": "no"})
    assert isinstance(verdict("cash.adjust", 200, body), InDoubt)
    told = verdict("cash.adjust", 200, body, frozenset({"INSUFFICIENT"}))
    assert told == Refused("INSUFFICIENT", "no", "inner_code_final")


@pytest.mark.parametrize("command_type", sorted(REGISTRY))
@pytest.mark.parametrize(
    ("status", "body", "rule", "pause"),
    [
        *((status, b"", "http_3xx", Pause.ADDRESS) for status in (300, 301, 302, 303, 304, 307, 308)),
        *((status, b"<html>", f"http_{status}", Pause.ADDRESS) for status in (404, 405)),
        *((403, {"code": code, "message": "m"}, f"code_{code}", Pause.ADDRESS) for code in (403203, 403205, 403305)),
        (403, {"code": 403201, "message": "m"}, "code_403201", Pause.SIGNATURE),
        (400, {"code": "403201", "msg": "m"}, "code_403201", Pause.SIGNATURE),
        (401, {"code": 401003, "message": "m"}, "token_refused", Pause.CREDENTIALS),
        (400, {"code": 401004, "message": "m"}, "token_refused", Pause.CREDENTIALS),
        (401, {"code": 401, "message": "m"}, "token_refused", Pause.CREDENTIALS),
        (401, {"code": 1, "message": "m"}, "token_refused", Pause.CREDENTIALS),
        (429, b"slow down", "http_429", None),
        (429, {"code": 429002, "message": "m"}, "http_429", None),
        (429, ok({}), "http_429", None),
        (400, {"code": 429001, "message": "m"}, "code_429", None),
        (200, {"code": "429002", "message": "m"}, "code_429", None),
    ],
)
def test_what_the_gateway_turns_away_was_not_sent(
    command_type: str, status: int, body: Any, rule: str, pause: Pause | None
) -> None:
    told = verdict(command_type, status, body)
    assert isinstance(told, NotSent)
    assert (told.rule, told.pause) == (rule, pause)


@pytest.mark.parametrize("code", sorted(NOT_ABOUT_THE_TOKEN))
def test_the_state_of_one_user_pauses_nobody_else(code: str) -> None:
    assert isinstance(verdict("order.place", 400, {"code": int(code), "message": "m"}), Refused)
    assert isinstance(verdict("order.place", 401, {"code": int(code), "message": "m"}), InDoubt)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("99999999999999", RETRY_AFTER_S_MAX),
        ("-1", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
        ("٣", None),
    ],
)
def test_the_wait_is_as_told_and_bounded(text: str, seconds: float | None) -> None:
    told = verdict("cash.adjust", 429, b"", retry_after=text)
    assert isinstance(told, NotSent)
    assert told.retry_after_s == seconds


@pytest.mark.parametrize("command_type", sorted(REGISTRY))
@pytest.mark.parametrize(
    ("status", "body", "rule"),
    [
        (408, {"code": 408, "message": "m"}, "http_408"),
        *((status, {"code": 500000, "message": "m"}, "http_5xx") for status in (500, 502, 503, 504, 599)),
        (503, {"code": 429002, "message": "m"}, "http_5xx"),
        (500, {"code": 401003, "message": "m"}, "http_5xx"),
        (403, {"code": 403202, "message": "m"}, "code_403202"),
        (400, {"code": 500, "message": "m"}, "code_5xx"),
        (400, {"code": 500000, "message": "m"}, "code_5xx"),
        (200, b"", "http_200_unreadable"),
        (400, b"<html>", "http_400_unreadable"),
        (401, b"<html>", "http_401_unreadable"),
        (403, b"", "http_403_unreadable"),
        (101, b"", "http_101_unreadable"),
    ],
)
def test_what_may_have_been_done_is_in_doubt(command_type: str, status: int, body: Any, rule: str) -> None:
    told = verdict(command_type, status, body)
    assert isinstance(told, InDoubt)
    assert told.rule == rule


@pytest.mark.parametrize("kind", ["dns", "refused", "tls", "late", "timeout", "reset"])
def test_nothing_left_is_not_sent(kind: Any) -> None:
    told = judge(REGISTRY["temp.adjust"], NoAnswer(sent=False, kind=kind, message="m"))
    assert told == NotSent("send_before_passed" if kind == "late" else f"{kind}_before_send", "m")


@pytest.mark.parametrize("kind", ["tls", "timeout", "reset", "cut", "too_large"])
def test_something_may_have_left_is_in_doubt(kind: Any) -> None:
    told = judge(REGISTRY["temp.adjust"], NoAnswer(sent=True, kind=kind, message="m"))
    assert told == InDoubt(f"{kind}_after_send", "m")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"0",
        b'"0"',
        b"{}",
        b'{"code":0',
        b'{"code":0}x',
        b'{"code":0,"code":0}',
        b'{"code":0,"data":{"a":1,"a":2}}',
        b'{"code":NaN}',
        b'{"code":true}',
        b'{"code":0.0}',
        b'{"code":null}',
        b'{"code":""}',
        b'{"code":[]}',
        b'{"code":99999999999999999999}',
        b'{"code":0,"data":[]}',
        b'{"code":0,"data":"ok"}',
        b'{"code":"SUCCESS","data":{"order_id":"1"}}',
        b'{"order_id":"1"}',
        b'\xff{"code":0}',
        '{"code":0}'.encode("utf-16"),
        b'{"code":' + b"[" * 100_000,
        b'{"code":' + b"1" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_an_envelope_confirms_and_refuses_nothing(body: bytes) -> None:
    assert read_envelope(body) is None
    for command_type in REGISTRY:
        for status in (200, 400):
            assert isinstance(verdict(command_type, status, body), InDoubt)


def test_the_first_outer_code_that_is_not_zero_counts() -> None:
    envelope = read_envelope(b'{"code":0,"data":{"code":400,"msg":"no","data":{"code":0,"data":{}}}}')
    assert envelope is not None
    assert (envelope.code, envelope.message) == ("400", "no")


def test_texts_of_the_brokerage_fit_a_database_and_a_terminal() -> None:
    told = verdict("cash.adjust", 400, b'{"code":400,"msg":"a\\u0000b\\ud800\\u001b[31m' + b"x" * 5000 + b'"}')
    assert isinstance(told, Refused)
    told.message.encode()
    assert told.message.startswith("a b?")
    assert told.message.isprintable()
    assert len(told.message) <= wire.TEXT_CHARS_MAX
    assert clean("\x00") == ""


def test_a_number_is_one_that_can_be_referred_to() -> None:
    data = {"good": "A-1._", "whole": 7, "truth": True, "long": "x" * 65, "odd": "a b", "none": None}
    found = {name: number_in(data, name) for name in data}
    assert found == {"good": "A-1._", "whole": "7", "truth": None, "long": None, "odd": None, "none": None}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["code", "data", "message", "msg", "error_code", "serial_num", "adjust_no", "order_id"]),
            inner,
        )
    ),
    max_leaves=10,
)


@given(
    command_type=st.sampled_from(sorted(REGISTRY)),
    status=st.integers(100, 599),
    body=st.binary(max_size=20) | JSON_VALUES.map(lambda value: json.dumps(value).encode()),
)
def test_any_answer_has_a_verdict_and_only_http_200_confirms(command_type: str, status: int, body: bytes) -> None:
    told = judge(REGISTRY[command_type], Answer(status, body, {}, 1.0, 2.0))
    assert isinstance(told, Confirmed | Refused | InDoubt | NotSent)
    assert status == 200 or not isinstance(told, Confirmed)
    if isinstance(told, Confirmed):
        envelope = read_envelope(body)
        assert envelope is not None
        assert envelope.code in {None, "0"}
