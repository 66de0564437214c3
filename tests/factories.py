"""Valid commands of all ten types, and records that carry them: what a test changes is what it is about."""

import json
from typing import Any

from worker.ledger.records import Headers, RawRecord

ADJUSTMENTS_TOPIC = "ledger.commands.adjustments.v1"
FREEZES_TOPIC = "ledger.commands.freezes.v1"
ORDERS_TOPIC = "ledger.commands.orders.v1"

COMMAND_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
EARLIER_ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
ACCOUNT_NO = "H10240001"

TOPIC_OF = {
    "cash.adjust": ADJUSTMENTS_TOPIC,
    "position.adjust": ADJUSTMENTS_TOPIC,
    "temp.adjust": ADJUSTMENTS_TOPIC,
    "temp.expire": ADJUSTMENTS_TOPIC,
    "cash.freeze": FREEZES_TOPIC,
    "cash.unfreeze": FREEZES_TOPIC,
    "cash.debit_frozen": FREEZES_TOPIC,
    "order.place": ORDERS_TOPIC,
    "order.modify": ORDERS_TOPIC,
    "order.withdraw": ORDERS_TOPIC,
}
TYPES = tuple(TOPIC_OF)
TOPIC_TYPES = {
    topic: frozenset(name for name, home in TOPIC_OF.items() if home == topic)
    for topic in (ADJUSTMENTS_TOPIC, FREEZES_TOPIC, ORDERS_TOPIC)
}

_PAYLOADS: dict[str, dict[str, Any]] = {
    "cash.adjust": {
        "direction": "CREDIT",
        "currency": "USD",
        "amount": "1000.00",
        "biz_code": "OPLCSTBD",
        "remark": "dividend",
        "risk_check": True,
    },
    "position.adjust": {
        "direction": "CREDIT",
        "market": "HK",
        "symbol": "00700.HK",
        "quantity": "2000",
        "biz_code": "OPLCSTBD",
    },
    "temp.adjust": {
        "security_type": "CASH",
        "direction": "CREDIT",
        "currency": "USD",
        "amount": "1000.00",
        "biz_code": "CASH_ADJ_001",
        "remark": "intraday buying power",
        "expires_at": "2026-11-22T16:00:00Z",
        "op_user": "admin",
    },
    "temp.expire": {"adjust": {"command_id": EARLIER_ID}, "op_user": "admin"},
    "cash.freeze": {"currency": "HKD", "amount": "35", "biz_code": "CMTF"},
    "cash.unfreeze": {"freeze": {"command_id": EARLIER_ID}, "currency": "HKD", "amount": "35", "biz_code": "CMTF"},
    "cash.debit_frozen": {"freeze": {"serial_num": "1234567890123456789"}},
    "order.place": {
        "symbol": "AAPL.US",
        "side": "Buy",
        "order_type": "LO",
        "quantity": "100",
        "time_in_force": "Day",
        "price": "88.5",
    },
    "order.modify": {"order": {"command_id": EARLIER_ID}, "quantity": "200", "price": "50.1"},
    "order.withdraw": {"order": {"order_id": "701276261045858304"}},
}
TEMP_ADJUST_STOCK: dict[str, Any] = {
    "security_type": "STOCK",
    "direction": "CREDIT",
    "counter_id": "ST/US/AAPL",
    "quantity": "100",
    "currency": "USD",
    "cost_price": "200.00",
    "position_side": "LONG",
    "biz_code": "STOCK_ADJ_001",
    "remark": "lent",
    "expires_at": "2026-11-22T16:00:00Z",
    "op_user": "admin",
}
ABSENT = object()


def payload(command_type: str, **changes: Any) -> dict[str, Any]:
    """A valid payload, members changed; ABSENT takes one out."""
    return _changed(_PAYLOADS[command_type], changes)


def command(command_type: str, /, **changes: Any) -> dict[str, Any]:
    """A valid command, members changed; a changed `payload` replaces the whole; ABSENT takes one out."""
    valid = {
        "command_id": COMMAND_ID,
        "type": command_type,
        "account_no": ACCOUNT_NO,
        "issued_at": "2026-11-22T08:30:00Z",
        "issued_by": "margin-desk",
        "not_after": None,
        "correlation_id": None,
        "payload": dict(_PAYLOADS.get(command_type, {})),
    }
    return _changed(valid, changes)


def record(
    value: dict[str, Any] | bytes | None,
    *,
    topic: str | None = None,
    key: bytes | str | None = ACCOUNT_NO,
    headers: Headers = (),
    partition: int = 0,
    offset: int = 42,
    timestamp_ms: int = 1_795_336_200_000,
) -> RawRecord:
    """A record with that value, on the topic where its command type belongs and keyed by ACCOUNT_NO, unless told."""
    if topic is None:
        topic = TOPIC_OF.get(value.get("type", ""), ADJUSTMENTS_TOPIC) if isinstance(value, dict) else ADJUSTMENTS_TOPIC
    return RawRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=key.encode() if isinstance(key, str) else key,
        value=json.dumps(value).encode() if isinstance(value, dict) else value,
        headers=headers,
    )


def _changed(valid: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = {**valid, **changes}
    return {name: value for name, value in merged.items() if value is not ABSENT}


GOOD = json.dumps(command("cash.adjust")).encode()

# what has no readable identity: each is a dead letter, reason MALFORMED, and nothing else
MALFORMED: dict[str, bytes | None] = {
    "tombstone": None,
    "empty": b"",
    "blank": b" ",
    "null": b"null",
    "list": b"[]",
    "string": b'"text"',
    "number": b"1",
    "unclosed": b"{",
    "no members": b"{}",
    "trailing garbage": GOOD + b"x",
    "two objects": GOOD + b"{}",
    "byte-order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-32": GOOD.decode().encode("utf-32-le"),
    "not UTF-8": GOOD.replace(b"margin-desk", b"\xff\xfe"),
    "surrogate in UTF-8": GOOD.replace(b"margin-desk", b"\xed\xa0\x80"),
    "overlong UTF-8": GOOD.replace(b"margin-desk", b"\xc0\x80"),
    "raw NUL in a string": GOOD.replace(b"margin-desk", b"\x00"),
    "raw line break in a string": GOOD.replace(b"margin-desk", b"line\nbreak"),
    "lone surrogate": GOOD.replace(b"margin-desk", b"\\ud800"),
    "surrogates turned around": GOOD.replace(b"margin-desk", b"\\udc00\\ud800"),
    "lone surrogate in a name": GOOD.replace(b"issued_by", b"\\uD800"),
    "duplicate name": GOOD.replace(b'"currency": "USD"', b'"currency": "USD", "currency": "USD"'),
    "duplicate name, escaped": GOOD.replace(b'"currency": "USD"', b'"currency": "USD", "\\u0063urrency": "USD"'),
    "duplicate id": GOOD[:-1] + b', "command_id": "0f8fad5b-d9cb-469f-a165-70867728950e"}',
    "NaN": GOOD.replace(b'"1000.00"', b"NaN"),
    "infinity": GOOD.replace(b'"1000.00"', b"-Infinity"),
    "leading zero": GOOD.replace(b'"1000.00"', b"01"),
    "single quotes": GOOD.replace(b'"1000.00"', b"'1'"),
    "seventeen deep": GOOD.replace(b'"1000.00"', b"[" * 15 + b"]" * 15),
    "brackets only": b"[" * 65_000,
    "deep and unclosed": b'{"a":' * 12_000,
    "deep and closed": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "quotes only": b'"' * 65_000,
    "escaped quotes only": b'\\"' * 32_000,
    "unclosed string": b'{"' + b'\\"' * 32_000,
    "digits only": b"9" * 65_000,
}
