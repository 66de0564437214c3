"""An example of every document on the wire; those of the exported schemas, and of the documentation."""

from typing import Any

from schemas.commands import CommandType

Json = dict[str, Any]

COMMAND_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
EARLIER_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ACCOUNT_NO = "H10240001"

_PAYLOADS: dict[str, list[Json]] = {
    CommandType.CASH_ADJUST: [
        {"direction": "CREDIT", "currency": "USD", "amount": "1000.00", "biz_code": "OPLCSTBD", "remark": "dividend"}
    ],
    CommandType.POSITION_ADJUST: [
        {"direction": "DEBIT", "market": "HK", "symbol": "00700.HK", "quantity": "200", "biz_code": "OPLCSTBD"}
    ],
    CommandType.TEMP_ADJUST: [
        {
            "security_type": "CASH",
            "direction": "CREDIT",
            "currency": "USD",
            "amount": "1000.00",
            "biz_code": "CASH_ADJ_001",
            "remark": "intraday buying power",
            "expires_at": "2026-11-22T16:00:00Z",
            "op_user": "admin",
        },
        {
            "security_type": "STOCK",
            "direction": "CREDIT",
            "counter_id": "ST/US/AAPL",
            "quantity": "100",
            "currency": "USD",
            "cost_price": "22850.00",
            "position_side": "LONG",
            "biz_code": "STOCK_ADJ_001",
            "remark": "lent for the day",
            "expires_at": "2026-11-22T16:00:00Z",
            "op_user": "admin",
        },
    ],
    CommandType.TEMP_EXPIRE: [
        {"adjust": {"command_id": EARLIER_ID}, "op_user": "admin"},
        {"adjust": {"adjust_no": "TA2026112200001"}, "op_user": "admin"},
    ],
    CommandType.CASH_FREEZE: [{"currency": "HKD", "amount": "35.00", "biz_code": "CMTF", "remark": "custody fee"}],
    CommandType.CASH_UNFREEZE: [
        {"freeze": {"command_id": EARLIER_ID}, "currency": "HKD", "amount": "35.00", "biz_code": "CMTF"}
    ],
    CommandType.CASH_DEBIT_FROZEN: [{"freeze": {"serial_num": "1795381520240515072"}}],
    CommandType.ORDER_PLACE: [
        {
            "symbol": "AAPL.US",
            "side": "Buy",
            "order_type": "LO",
            "quantity": "100",
            "time_in_force": "GTD",
            "price": "228.50",
            "expire_date": "2026-12-18",
            "outside_rth": "RTH_ONLY",
        }
    ],
    CommandType.ORDER_MODIFY: [{"order": {"command_id": EARLIER_ID}, "quantity": "200", "price": "227.90"}],
    CommandType.ORDER_WITHDRAW: [{"order": {"order_id": "701276261045858304"}}],
}


def of_command(name: str) -> list[Json]:
    """Return examples of a command type, whole commands, of each shape that its payload may have."""
    return [
        {
            "command_id": COMMAND_ID,
            "type": str(name),
            "account_no": ACCOUNT_NO,
            "issued_at": "2026-11-22T08:30:00Z",
            "issued_by": "margin-desk",
            "not_after": "2026-11-22T08:35:00Z",
            "correlation_id": "ticket 4711",
            "payload": payload,
        }
        for payload in _PAYLOADS[name]
    ]


_SUCCEEDED: Json = {
    "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d11",
    "type": "command.succeeded",
    "command_id": COMMAND_ID,
    "command_type": "temp.adjust",
    "account_no": ACCOUNT_NO,
    "account_seq": 17,
    "occurred_at": "2026-11-22T08:30:00.123456Z",
    "recorded_at": "2026-11-22T08:30:00.130001Z",
    "issued_by": "margin-desk",
    "correlation_id": "ticket 4711",
    "attempts": 1,
    "result": {
        "adjust_no": "TA2026112200001",
        "serial_num": None,
        "order_id": None,
        "expires_at": "2026-11-22T16:00:00Z",
        "ended_by": None,
        "basis": "answer",
    },
    "error": None,
    "payload": _PAYLOADS[CommandType.TEMP_ADJUST][0],
    "timing": {
        "accepted_at": "2026-11-22T08:30:00.020000Z",
        "first_sent_at": "2026-11-22T08:30:00.050000Z",
        "answered_at": "2026-11-22T08:30:00.123456Z",
    },
    "decided_by": None,
    "refers_to": None,
    "source": {"topic": "ledger.commands.adjustments.v1", "partition": 3, "offset": 42},
}
_UNDECIDED: Json = {"result": None, "timing": {**_SUCCEEDED["timing"], "answered_at": None}}


def _error(code: str, message: str, origin: str = "policy", field: str | None = None) -> Json:
    return {"code": code, "message": message, "origin": origin, "field": field}


OUTCOMES: list[Json] = [
    _SUCCEEDED,
    {
        **_SUCCEEDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d12",
        "type": "command.rejected",
        "attempts": 0,
        "result": None,
        "error": _error(
            "DECIMALS_TOO_MANY", "payload.amount: must have at most 2 decimals", "validation", "payload.amount"
        ),
        "payload": None,
        "timing": {"accepted_at": None, "first_sent_at": None, "answered_at": None},
    },
    {
        **_SUCCEEDED,
        **_UNDECIDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d13",
        "type": "command.in_doubt",
        "error": _error("IN_DOUBT", "the call may or may not have been applied; nobody can look"),
    },
    {
        **_SUCCEEDED,
        **_UNDECIDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d14",
        "type": "command.parked",
        "error": _error("PARKED", "a person must decide"),
    },
    {
        **_SUCCEEDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d15",
        "type": "command.duplicate",
        "refers_to": _SUCCEEDED["event_id"],
    },
    {
        **_SUCCEEDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d16",
        "type": "command.conflicted",
        "attempts": 0,
        "result": None,
        "error": _error("ID_CONFLICT", "this command_id was used before with other content", "validation"),
        "payload": None,
        "timing": {"accepted_at": None, "first_sent_at": None, "answered_at": None},
    },
    {
        **_SUCCEEDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d17",
        "type": "command.corrected",
        "error": _error("CORRECTED", "the answer came after a person had decided that it was not applied"),
        "refers_to": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d12",
    },
    {
        **_SUCCEEDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d18",
        "type": "command.accepted",
        "attempts": 0,
        "result": None,
        "timing": {"accepted_at": "2026-11-22T08:30:00.020000Z", "first_sent_at": None, "answered_at": None},
    },
    {
        **_SUCCEEDED,
        "event_id": "5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d19",
        "type": "temp_adjustment.expired",
        "account_seq": 23,
        "result": {**_SUCCEEDED["result"], "ended_by": "timer"},
    },
]
OUTCOME_HEADERS: Json = {
    "content-type": "application/json",
    "ce_specversion": "1.0",
    "ce_id": _SUCCEEDED["event_id"],
    "ce_source": "/ledger-worker",
    "ce_type": "ledger.command.succeeded.v1",
    "ce_subject": ACCOUNT_NO,
    "ce_time": _SUCCEEDED["occurred_at"],
    "ce_causationid": COMMAND_ID,
    "ce_correlationid": "ticket 4711",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
DEAD_LETTER: Json = {
    "dlq_reason": "MALFORMED",
    "dlq_error_message": "the value is unreadable: not JSON at character 63",
    "dlq_error_fingerprint": "0f8fad5bd9cb469f",
    "dlq_original_topic": "ledger.commands.adjustments.v1",
    "dlq_original_partition": "8",
    "dlq_original_offset": "1",
    "dlq_original_timestamp": "1795336200000",
    "dlq_failed_at": "2026-11-22T08:30:00.130001Z",
    "dlq_redrive_count": "0",
}
