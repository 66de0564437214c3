"""Outcomes and dead letters: the bytes that others rely on."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from schemas.dead_letters import DeadLetter, Reason
from schemas.export import documents
from schemas.outcomes import (
    Error,
    Outcome,
    OutcomeType,
    Position,
    Result,
    Source,
    Timing,
    cloud_event_headers,
    event_id,
)
from tests.factories import ACCOUNT_NO, COMMAND_ID, payload

AT = datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC)
POSITION = Position("ledger.commands.adjustments.v1", 0, 3, 42)
OUTCOME = Outcome(
    event_id=event_id(OutcomeType.SUCCEEDED, UUID(COMMAND_ID)),
    type=OutcomeType.SUCCEEDED,
    command_id=UUID(COMMAND_ID),
    command_type="temp.adjust",
    account_no=ACCOUNT_NO,
    account_seq=17,
    occurred_at=AT,
    recorded_at=AT + timedelta(milliseconds=7),
    issued_by="margin-desk",
    correlation_id=None,
    attempts=1,
    result=Result(adjust_no="TA2026112200001", expires_at=datetime(2026, 11, 22, 16, tzinfo=UTC)),
    error=None,
    payload=payload("temp.adjust"),
    timing=Timing(accepted_at=AT),
    decided_by=None,
    refers_to=None,
    source=Source("ledger.commands.adjustments.v1", 3, 42),
)
REJECTED = replace(
    OUTCOME,
    type=OutcomeType.REJECTED,
    result=None,
    payload=None,
    command_type=None,
    issued_by=None,
    error=Error("NOT_POSITIVE", "payload.amount: must be greater than zero", "validation", "payload.amount"),
    refers_to=OUTCOME.event_id,
    decided_by="ana",
    correlation_id="c-ü",
)
LETTER = DeadLetter(
    reason=Reason.REFUSED,
    message="type: 'x17' is unknown",
    code="TYPE_UNKNOWN",
    field="type",
    topic="ledger.commands.orders.v1",
    partition=3,
    offset=42,
    timestamp_ms=1_795_336_200_000,
    failed_at=AT,
)


def test_an_outcome_is_written_as_documented_with_every_member_in_its_place() -> None:
    assert OUTCOME.to_bytes().decode() == (
        '{"event_id":"' + str(OUTCOME.event_id) + '","type":"command.succeeded",'
        '"command_id":"0f8fad5b-d9cb-469f-a165-70867728950e","command_type":"temp.adjust","account_no":"H10240001",'
        '"account_seq":17,"occurred_at":"2026-11-22T08:30:00.123456Z","recorded_at":"2026-11-22T08:30:00.130456Z",'
        '"issued_by":"margin-desk","correlation_id":null,"attempts":1,"result":{"adjust_no":"TA2026112200001",'
        '"serial_num":null,"order_id":null,"expires_at":"2026-11-22T16:00:00Z","ended_by":null,"basis":"answer"},'
        '"error":null,"payload":{"security_type":"CASH","direction":"CREDIT","currency":"USD","amount":"1000.00",'
        '"biz_code":"CASH_ADJ_001","remark":"intraday buying power","expires_at":"2026-11-22T16:00:00Z",'
        '"op_user":"admin"},"timing":{"accepted_at":"2026-11-22T08:30:00.123456Z","first_sent_at":null,'
        '"answered_at":null},"decided_by":null,"refers_to":null,'
        '"source":{"topic":"ledger.commands.adjustments.v1","partition":3,"offset":42}}'
    )


def test_an_instant_is_written_in_utc_whatever_zone_it_is_given_in() -> None:
    elsewhere = replace(OUTCOME, occurred_at=AT.astimezone(timezone(timedelta(hours=8))))
    assert elsewhere.to_bytes() == OUTCOME.to_bytes()


@pytest.mark.parametrize("outcome", [OUTCOME, REJECTED], ids=["succeeded", "rejected"])
def test_an_outcome_and_its_headers_match_their_json_schemas(outcome: Outcome) -> None:
    written = json.loads(outcome.to_bytes())
    Draft202012Validator(documents()["outcome.json"]).validate(written)
    headers = {name: value.decode() for name, value in cloud_event_headers(outcome, "00-ab")}
    Draft202012Validator(documents()["outcome-headers.json"]).validate(headers)
    for name in written:
        lacking = {other: value for other, value in written.items() if other != name}
        assert not Draft202012Validator(documents()["outcome.json"]).is_valid(lacking)


def test_text_that_utf_8_cannot_carry_never_stops_an_outcome() -> None:
    broken = replace(REJECTED, error=Error("BROKERAGE_X", "\ud800", "brokerage"))
    assert json.loads(broken.to_bytes())["error"]["message"] == "?"


def test_cloud_event_headers_carry_the_correlation_and_the_trace_only_if_there_are_any() -> None:
    bare = dict(cloud_event_headers(OUTCOME))
    assert bare == {
        "content-type": b"application/json",
        "ce_specversion": b"1.0",
        "ce_id": str(OUTCOME.event_id).encode(),
        "ce_source": b"/ledger-worker",
        "ce_type": b"ledger.command.succeeded.v1",
        "ce_subject": b"H10240001",
        "ce_time": b"2026-11-22T08:30:00.123456Z",
        "ce_causationid": COMMAND_ID.encode(),
    }
    full = dict(cloud_event_headers(REJECTED, "00-ab"))
    assert full.keys() - bare.keys() == {"ce_correlationid", "traceparent"}
    assert full["ce_correlationid"] == "c-ü".encode()


def test_the_id_of_a_fact_never_changes() -> None:
    command_id = UUID(COMMAND_ID)
    assert [
        str(event_id(OutcomeType.SUCCEEDED, command_id)),
        str(event_id(OutcomeType.DUPLICATE, command_id, source=POSITION)),
        str(event_id(OutcomeType.PARKED, command_id, attempt=2)),
    ] == [
        "1627fa1a-68b8-5c1c-ae0a-d16f30360ae2",
        "186720c0-159d-594e-b0e3-2424f3336639",
        "f4c27e2b-8202-56b6-bbf1-e694a432d613",
    ]


def test_different_facts_have_different_ids() -> None:
    command_id, other = UUID(COMMAND_ID), UUID(int=0)
    facts: list[tuple[OutcomeType, UUID, dict[str, Any]]] = [
        (OutcomeType.SUCCEEDED, command_id, {}),
        (OutcomeType.SUCCEEDED, other, {}),
        (OutcomeType.REJECTED, command_id, {}),
        (OutcomeType.EXPIRED, command_id, {}),
        (OutcomeType.DUPLICATE, command_id, {"source": POSITION}),
        (OutcomeType.DUPLICATE, command_id, {"source": replace_epoch(1)}),
        (OutcomeType.CONFLICTED, command_id, {"source": POSITION}),
        (OutcomeType.IN_DOUBT, command_id, {"attempt": 1}),
        (OutcomeType.IN_DOUBT, command_id, {"attempt": 1, "of_expiry": True}),
        (OutcomeType.IN_DOUBT, command_id, {"attempt": 2}),
        (OutcomeType.PARKED, command_id, {"attempt": 1}),
    ]
    ids = {event_id(outcome_type, identity, **more) for outcome_type, identity, more in facts}
    assert len(ids) == len(facts)
    assert {identity.version for identity in ids} == {5}


def replace_epoch(epoch: int) -> Position:
    return replace(POSITION, epoch=epoch)


@pytest.mark.parametrize(
    ("outcome_type", "more"),
    [
        (OutcomeType.SUCCEEDED, {"source": POSITION}),
        (OutcomeType.SUCCEEDED, {"attempt": 1}),
        (OutcomeType.DUPLICATE, {}),
        (OutcomeType.CONFLICTED, {"source": POSITION, "attempt": 1}),
        (OutcomeType.IN_DOUBT, {}),
        (OutcomeType.PARKED, {"source": POSITION}),
    ],
)
def test_an_id_is_not_made_of_what_does_not_identify_the_fact(outcome_type: OutcomeType, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not identified by"):
        event_id(outcome_type, UUID(COMMAND_ID), **more)


def test_original_headers_come_first_byte_for_byte_then_ours() -> None:
    original = ((b"\xff\xfe", b"\x00"), (b"dlq_reason", None), (b"a", b""), (b"a", b"again"))
    headers = LETTER.headers(original)
    assert tuple(headers[:4]) == original
    ours = {name.decode(): (value or b"").decode() for name, value in headers[4:]}
    Draft202012Validator(documents()["dead-letter-headers.json"]).validate(ours)
    assert list(ours) == [
        "dlq_reason",
        "dlq_error_message",
        "dlq_error_fingerprint",
        "dlq_original_topic",
        "dlq_original_partition",
        "dlq_original_offset",
        "dlq_original_timestamp",
        "dlq_failed_at",
        "dlq_redrive_count",
    ]
    assert ours["dlq_original_timestamp"] == "1795336200000"
    assert ours["dlq_failed_at"] == "2026-11-22T08:30:00.123456Z"


def test_equal_causes_share_a_fingerprint_whatever_the_values() -> None:
    fingerprint = LETTER.fingerprint()
    assert replace(LETTER, message="type: 'y2' is unknown", offset=43, failed_at=AT + timedelta(1)).fingerprint() == (
        fingerprint
    )
    for other in (
        replace(LETTER, reason=Reason.MALFORMED),
        replace(LETTER, code=None),
        replace(LETTER, field=None),
        replace(LETTER, message="type: 'x17' is absent"),
    ):
        assert other.fingerprint() != fingerprint
