"""The check stage: what each kind of input is taken for, and that nothing makes it raise."""

import itertools
import json
import time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codes import ABOUT
from tests.factories import (
    ABSENT,
    ACCOUNT_NO,
    COMMAND_ID,
    EARLIER_ID,
    FREEZES_TOPIC,
    GOOD,
    MALFORMED,
    ORDERS_TOPIC,
    TEMP_ADJUST_STOCK,
    TOPIC_TYPES,
    TYPES,
    command,
    payload,
    record,
)
from worker.ledger.commands import Command, Malformed, Reference, Refusal
from worker.ledger.records import Headers, RawRecord
from worker.pipeline.check import check

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def judged(value: dict[str, Any] | bytes | None, **of_record: Any) -> Command | Refusal | Malformed:
    return check(record(value, **of_record), TOPIC_TYPES)


def taken(value: dict[str, Any] | bytes, **of_record: Any) -> Command:
    found = judged(value, **of_record)
    assert isinstance(found, Command), found
    return found


def refused(value: dict[str, Any] | bytes, **of_record: Any) -> Refusal:
    found = judged(value, **of_record)
    assert isinstance(found, Refusal), found
    return found


def malformed(value: bytes | None, **of_record: Any) -> Malformed:
    found = judged(value, **of_record)
    assert isinstance(found, Malformed), found
    return found


def text(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("command_type", TYPES)
def test_a_valid_command_of_each_type_is_taken_with_its_payload_as_written(command_type: str) -> None:
    found = taken(command(command_type))
    assert found.command_type == command_type
    assert found.command_id == UUID(COMMAND_ID)
    assert found.payload == payload(command_type)


def test_the_stock_leg_is_taken_and_tells_when_it_lapses() -> None:
    found = taken(command("temp.adjust", payload=TEMP_ADJUST_STOCK))
    assert found.expires_at is not None
    assert found.expires_at.isoformat() == "2026-11-22T16:00:00+00:00"


@pytest.mark.parametrize(
    ("command_type", "reference"),
    [
        ("temp.expire", Reference("adjust", UUID(EARLIER_ID), None)),
        ("cash.unfreeze", Reference("freeze", UUID(EARLIER_ID), None)),
        ("cash.debit_frozen", Reference("freeze", None, "1234567890123456789")),
        ("order.modify", Reference("order", UUID(EARLIER_ID), None)),
        ("order.withdraw", Reference("order", None, "701276261045858304")),
        ("order.place", None),
    ],
)
def test_a_reference_is_read_as_what_it_names(command_type: str, reference: Reference | None) -> None:
    assert taken(command(command_type)).reference == reference


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_one_strict_json_object_is_malformed(value: bytes | None) -> None:
    assert malformed(value).reason == "MALFORMED"


@pytest.mark.parametrize(
    "command_id",
    [
        ABSENT,
        None,
        1,
        "",
        COMMAND_ID.upper(),
        "{" + COMMAND_ID + "}",
        "urn:uuid:" + COMMAND_ID,
        COMMAND_ID.replace("-", ""),
        COMMAND_ID + "\n",
        " " + COMMAND_ID,
        [COMMAND_ID],
    ],
)
def test_an_id_that_is_no_lower_case_hyphenated_uuid_makes_the_record_malformed(command_id: object) -> None:
    malformed(text(command("cash.adjust", command_id=command_id)))


@pytest.mark.parametrize("account_no", [ABSENT, None, 1, "", "a" * 33, "a b", "ä", "a\n", "a\u0000", "٣"])
def test_an_unusable_account_number_makes_the_record_malformed(account_no: object) -> None:
    malformed(text(command("cash.adjust", account_no=account_no)))


def test_sixteen_deep_is_readable_and_seventeen_is_not() -> None:
    deep = GOOD.replace(b'"1000.00"', b"[" * 14 + b"]" * 14)
    assert refused(deep).field == "payload.amount"
    malformed(GOOD.replace(b'"1000.00"', b"[" * 15 + b"]" * 15))


def test_brackets_inside_strings_are_not_depth() -> None:
    taken(text(command("cash.adjust", payload=payload("cash.adjust", remark='\\"' + "[{" * 500))))


def test_the_largest_value_is_read_and_one_byte_more_is_not() -> None:
    padded = GOOD + b" " * (65_536 - len(GOOD))
    taken(padded)
    assert malformed(padded + b" ").reason == "TOO_LARGE"


def test_what_is_too_large_is_not_read() -> None:
    assert malformed(b"[" * 100_000).reason == "TOO_LARGE"


def test_what_is_malformed_says_why_without_repeating_the_record() -> None:
    assert malformed(b"secret-" * 99).message == "the value is unreadable: not JSON at character 0"
    assert malformed(b"\xef\xbb\xbf" + GOOD).message == "the value is unreadable: begins with a byte-order mark"
    assert malformed(GOOD + b"\xff").message == f"the value is unreadable: not UTF-8 at byte {len(GOOD)}"


def test_a_record_without_a_key_is_refused() -> None:
    found = refused(command("cash.adjust"), key=None)
    assert (found.code, found.field) == ("KEY_MISSING", None)


@pytest.mark.parametrize("key", [b"", b"H10240002", b"\xff", ACCOUNT_NO.encode("utf-16"), b"H10240001 "])
def test_a_record_with_another_key_is_refused(key: bytes) -> None:
    assert refused(command("cash.adjust"), key=key).code == "KEY_MISMATCH"


@pytest.mark.parametrize(
    ("command_type", "code", "as_given"),
    [
        (ABSENT, "FIELD_MISSING", None),
        (None, "FIELD_MISSING", None),
        (7, "FIELD_TYPE", None),
        (["cash.adjust"], "FIELD_TYPE", None),
        ("cash.burn", "TYPE_UNKNOWN", "cash.burn"),
        ("CASH.ADJUST", "TYPE_UNKNOWN", "CASH.ADJUST"),
        ("cash.adjust\u0000", "TYPE_UNKNOWN", None),
        ("x" * 65, "TYPE_UNKNOWN", None),
    ],
)
def test_an_unknown_type_is_refused_and_shown_only_if_it_can_be(command_type: object, code: str, as_given: str) -> None:
    found = refused(text(command("cash.adjust", type=command_type)))
    assert (found.code, found.field, found.command_type) == (code, "type", as_given)


@pytest.mark.parametrize("topic", [FREEZES_TOPIC, ORDERS_TOPIC])
def test_a_type_on_the_wrong_topic_is_refused(topic: str) -> None:
    found = refused(command("cash.adjust"), topic=topic)
    assert (found.code, found.field, found.command_type) == ("WRONG_TOPIC", "type", "cash.adjust")


def test_the_first_thing_wrong_is_named_place_before_type_before_topic_before_fields() -> None:
    wrong = command("cash.adjust", extra=1)
    assert refused({**wrong, "type": "x"}, key=None, topic=ORDERS_TOPIC).code == "KEY_MISSING"
    assert refused({**wrong, "type": "x"}, key=b"x", topic=ORDERS_TOPIC).code == "KEY_MISMATCH"
    assert refused({**wrong, "type": "x"}, topic=ORDERS_TOPIC).code == "TYPE_UNKNOWN"
    assert refused(wrong, topic=ORDERS_TOPIC).code == "WRONG_TOPIC"
    assert refused(wrong).code == "FIELD_UNKNOWN"


def test_of_several_wrong_fields_the_records_first_is_named_and_absent_ones_last() -> None:
    wrong = {**payload("cash.adjust", direction=ABSENT), "amount": "0", "currency": 1}
    found = refused(command("cash.adjust", payload=wrong))
    assert found.field == "payload.currency"
    turned = {**{name: wrong[name] for name in reversed(wrong)}}
    assert refused(command("cash.adjust", payload=turned)).field == "payload.amount"
    assert refused(command("cash.adjust", payload=payload("cash.adjust", direction=ABSENT))).field == (
        "payload.direction"
    )
    lacking = payload("cash.adjust", biz_code=ABSENT, amount=ABSENT, currency=ABSENT)
    assert refused(command("cash.adjust", payload=lacking, issued_by=ABSENT)).field == "issued_by"
    assert refused(command("cash.adjust", payload=lacking)).field == "payload.currency"


@pytest.mark.parametrize("command_type", TYPES)
@pytest.mark.parametrize("name", ["issued_at", "issued_by", "payload"])
def test_every_required_member_of_the_envelope_is_asked_for(command_type: str, name: str) -> None:
    for absent in (ABSENT, None):
        found = refused(text(command(command_type, **{name: absent})), topic=record(command(command_type)).topic)
        assert (found.code, found.field) == ("FIELD_MISSING", name)


@pytest.mark.parametrize(("name", "value"), [("payload", []), ("payload", "x"), ("issued_by", 1), ("not_after", 5)])
def test_a_member_of_another_json_type_is_refused(name: str, value: object) -> None:
    found = refused(command("cash.adjust", **{name: value}))
    assert (found.code, found.field) == ("FIELD_TYPE", name)


@pytest.mark.parametrize("command_type", TYPES)
def test_unknown_members_are_refused_at_every_level(command_type: str) -> None:
    assert refused(command(command_type, note=None)).field == "note"
    for name in ("note", "CASH", "payload"):
        found = refused(command(command_type, payload={**payload(command_type), name: None}))
        assert (found.code, found.field) == ("FIELD_UNKNOWN", f"payload.{name}")


@pytest.mark.parametrize("digits", [30, 5_000, 10_000, 60_000])
def test_numbers_of_any_length_are_refused_like_any_number(digits: int) -> None:
    found = refused(GOOD.replace(b'"1000.00"', b"1" * digits))
    assert (found.code, found.field) == ("FIELD_TYPE", "payload.amount")


@pytest.mark.parametrize("number", [b"1E400", b"-1e-99999999999", b"1.0", b"-0"])
def test_numbers_of_any_form_are_refused_like_any_number(number: bytes) -> None:
    assert refused(GOOD.replace(b'"1000.00"', number)).field == "payload.amount"


@pytest.mark.parametrize("name", ["currency", "biz_code", "remark"])
@pytest.mark.parametrize("character", ["\u0000", "\u0001", "\n", "\u001f"])
def test_a_control_character_in_any_string_is_refused(name: str, character: str) -> None:
    found = refused(command("cash.adjust", payload=payload("cash.adjust", **{name: f"a{character}b"})))
    assert (found.code, found.field) == ("CONTROL_CHARACTER", f"payload.{name}")
    for outside in ("issued_by", "correlation_id"):
        found = refused(command("cash.adjust", **{outside: f"a{character}"}))
        assert (found.code, found.field) == ("CONTROL_CHARACTER", outside)
        assert getattr(found, outside) is None


def test_a_name_that_cannot_be_stored_is_shown_as_one_that_can() -> None:
    found = refused(command("cash.adjust", **{"a\u0000\n" + "b" * 9_000: 1}))
    assert found.field is not None
    assert found.field.startswith("a\ufffd\ufffdb")
    assert len(found.field) <= 64
    assert len(found.message) <= 500


def test_a_pair_of_surrogates_is_a_character_and_text_of_all_planes_is_taken() -> None:
    smile = GOOD.replace(b"dividend", b"\\ud83d\\ude00")
    assert taken(smile).payload["remark"] == "😀"
    assert taken(text(command("cash.adjust", issued_by="Kö\u2028\u007f\uffff"))).issued_by == "Kö\u2028\u007f\uffff"


@pytest.mark.parametrize(
    "headers",
    [
        ((b"\xff\xfe", b"\xff"),),
        ((b"", None),),
        ((b"traceparent", None),),
        ((b"traceparent", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"),),
        ((b"traceparent", b"ff" + TRACEPARENT[2:]),),
        ((b"traceparent", TRACEPARENT + b"\n"),),
        ((b"command_id", b"other"), (b"content-type", b"text/html")),
    ],
)
def test_headers_never_decide(headers: Headers) -> None:
    assert taken(command("cash.adjust"), headers=headers).traceparent is None


def test_a_valid_trace_context_is_kept_for_commands_and_refusals() -> None:
    headers = ((b"traceparent", TRACEPARENT),)
    assert taken(command("cash.adjust"), headers=headers).traceparent == TRACEPARENT.decode()
    assert refused(command("cash.adjust", type="x"), headers=headers).traceparent == TRACEPARENT.decode()


def test_a_refusal_keeps_what_can_be_read_of_who_asked() -> None:
    found = refused(command("cash.adjust", correlation_id="c-1", payload={}))
    assert (found.account_no, found.issued_by, found.correlation_id) == (ACCOUNT_NO, "margin-desk", "c-1")


def test_the_same_content_has_the_same_hash_whether_it_is_valid_or_not() -> None:
    valid = taken(command("cash.adjust"))
    assert refused(command("cash.adjust"), key=None).content_hash == valid.content_hash
    assert refused(command("cash.adjust", payload={})).content_hash != valid.content_hash


@pytest.mark.parametrize(
    "value",
    [
        *(value for value in MALFORMED.values() if value and len(value) > 30_000),
        b"[]" * 32_000,
        b'"\\' * 32_000,
        GOOD[:-1] + b"," + b",".join(b'"%x":0' % i for i in range(5_500)) + b"}",
    ],
    ids=itertools.count(),
)
def test_no_value_takes_long(value: bytes) -> None:
    began = time.process_time()
    judged(value)
    assert time.process_time() - began < 1


@settings(deadline=None)
@given(value=st.binary() | st.text().map(str.encode), key=st.none() | st.binary())
def test_no_bytes_make_it_raise(value: bytes, key: bytes | None) -> None:
    assert isinstance(check(RawRecord(ORDERS_TOPIC, 0, 0, -1, key, value), TOPIC_TYPES), Malformed)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(command_type=st.sampled_from(TYPES), value=anything, data=st.data())
def test_any_value_in_any_place_gives_an_answer_that_can_be_stored(
    command_type: str, value: object, data: st.DataObject
) -> None:
    wrong = command(command_type)
    if data.draw(st.booleans()):
        wrong[data.draw(st.sampled_from([*wrong, "extra"]))] = value
    else:
        wrong["payload"][data.draw(st.sampled_from([*wrong["payload"], "extra"]))] = value
    found = judged(text(wrong))
    if isinstance(found, Refusal):
        assert found.code in ABOUT
        for shown in (found.message, found.field, found.command_type, found.issued_by, found.correlation_id):
            assert "\x00" not in (shown or "")
            (shown or "").encode()
        assert len(found.message) <= 500


@settings(deadline=None)
@given(junk=st.binary(max_size=4), at=st.integers(0, len(GOOD)))
def test_no_change_of_a_few_bytes_makes_it_raise(junk: bytes, at: int) -> None:
    judged(GOOD[:at] + junk + GOOD[at + len(junk) :])
