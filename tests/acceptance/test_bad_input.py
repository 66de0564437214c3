"""Bad input among good commands: the good are answered in their sequence, the bad are kept byte for byte."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests import factories
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, new_command_id, wait_until
from tests.support.kafka import Sent
from tests.support.raw_records import Raw, headers_of, read_raw, write_raw
from tests.support.upstream import Json, Upstream, about, gaps, types_of
from worker.ledger.records import Headers, RawRecord

ODD_HEADERS: Headers = (
    (b"\xff\xfe", b"\x00\xff"),
    (b"", b"a name of no bytes"),
    (b"nothing", None),
    (b"twice", b"1"),
    (b"twice", b"\xc3\x28"),
    (b"traceparent", b"00-not-a-trace"),
    (b"dlq_reason", b"FORGED"),
)
OURS = (
    b"dlq_reason",
    b"dlq_error_message",
    b"dlq_error_fingerprint",
    b"dlq_original_topic",
    b"dlq_original_partition",
    b"dlq_original_offset",
    b"dlq_original_timestamp",
    b"dlq_failed_at",
    b"dlq_redrive_count",
)
VALUE_BYTES_MAX = 65_536


@dataclass(frozen=True)
class Bad:
    """One bad record: what it is called, and what must come of it."""

    name: str
    value: bytes | None
    reason: str = "MALFORMED"
    code: str | None = None
    field: str | None = None
    key: bytes | None = b"anything"
    command_id: str | None = None


def malformed() -> list[Bad]:
    """Everything without a readable identity, and what is too large to look at."""
    found = [Bad(name, value) for name, value in factories.MALFORMED.items()]
    for name, changes in {
        "upper-case id": {"command_id": factories.COMMAND_ID.upper()},
        "id in braces": {"command_id": "{" + factories.COMMAND_ID + "}"},
        "id without hyphens": {"command_id": factories.COMMAND_ID.replace("-", "")},
        "id is a number": {"command_id": 17},
        "no id": {"command_id": None},
        "account with a blank": {"account_no": "H 1"},
        "account of 33": {"account_no": "H" * 33},
        "account with NUL": {"account_no": "H\x00"},
    }.items():
        found.append(Bad(name, json.dumps(factories.command("cash.adjust", **changes)).encode()))
    large = json.dumps(new_command("cash.adjust", "LARGE", {"remark": "x" * VALUE_BYTES_MAX})).encode()
    return [
        *found,
        Bad("one byte too large", large[: VALUE_BYTES_MAX + 1], reason="TOO_LARGE"),
        Bad("as large as the topic takes", b"\x00" * (1_048_576 - 1_000), reason="TOO_LARGE"),
    ]


def refused(account_no: str) -> list[Bad]:
    """Readable identities with something wrong: (what is changed) → code and field."""

    def bad(name: str, code: str, field: str | None, value: Json | bytes, key: bytes | None = None) -> Bad:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        own_key = account_no.encode() if key is None else key
        command_id = json.loads(text[: text.index(b",")] + b"}")["command_id"]
        return Bad(name, text, "REFUSED", code, field, own_key, command_id)

    def adjust(name: str, code: str, field: str, **payload: Any) -> Bad:
        return bad(name, code, f"payload.{field}", new_command("cash.adjust", account_no, payload))

    def envelope(name: str, code: str, field: str, **changes: Any) -> Bad:
        return bad(name, code, field, new_command("cash.adjust", account_no, **changes))

    digits = json.dumps(new_command("cash.adjust", account_no)).encode().replace(b'"1000.00"', b"9" * 10_000)
    deep = json.dumps(new_command("cash.adjust", account_no)).encode().replace(b'"dividend"', b"[" * 14 + b"]" * 14)
    keyless = bad("no key", "KEY_MISSING", None, new_command("cash.adjust", account_no))
    return [
        Bad(keyless.name, keyless.value, "REFUSED", "KEY_MISSING", None, None, keyless.command_id),
        bad("empty key", "KEY_MISMATCH", "account_no", new_command("cash.adjust", account_no), b""),
        bad("other key", "KEY_MISMATCH", "account_no", new_command("cash.adjust", account_no), b"\xff"),
        bad("wrong topic", "WRONG_TOPIC", "type", new_command("cash.freeze", account_no)),
        envelope("unknown type", "TYPE_UNKNOWN", "type", type="cash.gift"),
        envelope("no type", "FIELD_MISSING", "type", type=factories.ABSENT),
        envelope("type is a list", "FIELD_TYPE", "type", type=["cash.adjust"]),
        bad("null payload", "FIELD_MISSING", "payload", {**new_command("cash.adjust", account_no), "payload": None}),
        bad("payload is a list", "FIELD_TYPE", "payload", {**new_command("cash.adjust", account_no), "payload": []}),
        envelope("unknown field", "FIELD_UNKNOWN", "priority", priority=1),
        envelope("bare date", "TIME_INVALID", "issued_at", issued_at="2026-11-22"),
        envelope("time without offset", "TIME_INVALID", "not_after", not_after="2026-11-22T08:30:00"),
        adjust("missing field", "FIELD_MISSING", "biz_code", biz_code=factories.ABSENT),
        adjust("extra field", "FIELD_UNKNOWN", "note", note="x"),
        adjust("amount is a number", "FIELD_TYPE", "amount", amount=1000.0),
        bad("number of 10,000 digits", "FIELD_TYPE", "payload.amount", digits),
        adjust("text of 10,000 digits", "DECIMAL_INVALID", "amount", amount="9" * 10_000),
        adjust("exponent", "DECIMAL_INVALID", "amount", amount="1E+5"),
        adjust("plus", "DECIMAL_INVALID", "amount", amount="+1"),
        adjust("blank", "DECIMAL_INVALID", "amount", amount="1 "),
        adjust("underscore", "DECIMAL_INVALID", "amount", amount="1_000"),
        adjust("zero", "NOT_POSITIVE", "amount", amount="0.00"),
        adjust("three decimals", "DECIMALS_TOO_MANY", "amount", amount="1.001"),
        adjust("unknown direction", "VALUE_UNKNOWN", "direction", direction="credit"),
        adjust("NUL inside a string", "CONTROL_CHARACTER", "remark", remark="a\x00b"),
        bad("sixteen deep", "FIELD_TYPE", "payload.remark", deep),
    ]


def test_bad_input_is_kept_byte_for_byte_and_stops_nothing(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    subtests: pytest.Subtests,
) -> None:
    accounts = [new_account() for _ in range(5)]
    all_bad = [*malformed(), *refused(accounts[0])]
    good = [
        new_command("cash.adjust", accounts[n % len(accounts)], {"amount": f"{n + 1}.00"})
        for n in range(len(all_bad) + 1)
    ]
    workers = [start_worker(settings=QUICK, wait=False) for _ in range(2)]
    topic = upstream.topics.adjustments

    def raw_good(command: Json, headers: Headers = ()) -> Raw:
        value = json.dumps(command).encode()
        return Raw(topic, 3, command["account_no"].encode(), value.ljust(VALUE_BYTES_MAX if headers else 0), headers)

    mixed = [raw_good(good[0], ODD_HEADERS)]  # as large as a command may be
    for bad, command in zip(all_bad, good[1:], strict=True):
        mixed += [Raw(topic, 3, bad.key, bad.value, ODD_HEADERS), raw_good(command)]
    sent = write_raw(upstream.bootstrap, mixed)[1::2]
    for worker in workers:
        worker.wait_ready()

    outcomes = upstream.answered(*good)
    letters = {one_place(one): one for one in read_raw(upstream.bootstrap, upstream.topics.dead_letters, len(sent))}
    assert len(letters) == len(sent)
    for bad, place in zip(all_bad, sent, strict=True):
        with subtests.test(bad.name):
            is_kept(bad, letters[place])
            is_told(bad, outcomes)
    named = {one["command_id"] for one in good} | {bad.command_id for bad in all_bad if bad.command_id}
    assert {one["command_id"] for one in outcomes} == named
    assert len(outcomes) == len(named)
    assert gaps(outcomes) == {}
    for account_no in accounts:
        applied = [one["request_id"] for one in brokerage.effects(account_no=account_no)]
        assert applied == [one["command_id"] for one in good if one["account_no"] == account_no]
    assert [types_of(outcomes, one) for one in good] == [["command.succeeded"]] * len(good)


def one_place(letter: RawRecord) -> Sent:
    told = headers_of(letter, OURS)
    place = told["dlq_original_topic"], int(told["dlq_original_partition"]), int(told["dlq_original_offset"])
    return Sent(*place)


def is_kept(bad: Bad, letter: RawRecord) -> None:
    assert letter.key == bad.key
    assert letter.value == bad.value
    assert letter.headers[: len(ODD_HEADERS)] == ODD_HEADERS
    assert tuple(name for name, _ in letter.headers[len(ODD_HEADERS) :]) == OURS
    told = headers_of(letter, OURS)
    assert told["dlq_reason"] == bad.reason
    assert told["dlq_redrive_count"] == "0"
    assert told["dlq_original_timestamp"].isdigit()
    assert told["dlq_failed_at"].endswith("Z")
    assert told["dlq_error_message"]
    assert told["dlq_error_fingerprint"]


def is_told(bad: Bad, outcomes: list[Json]) -> None:
    if bad.command_id is None:
        return
    (told,) = about(outcomes, {"command_id": bad.command_id})
    assert (told["type"], told["payload"], told["result"]) == ("command.rejected", None, None)
    error = told["error"]
    assert (error["code"], error["field"], error["origin"]) == (bad.code, bad.field, "validation")


def test_each_codec_is_read_and_too_many_refusals_in_a_row_stop_one_partition(
    start_worker: Callable[..., WorkerProcess], upstream: Upstream
) -> None:
    worker = start_worker(settings=QUICK | {"LEDGER_REFUSALS_IN_ROW_MAX": "10"})
    account_no, topic = new_account(), upstream.topics.adjustments
    key = account_no.encode()
    compressed = []
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        pair = [new_command("cash.adjust", account_no) for _ in range(2)]
        values = [json.dumps(pair[0]).encode(), b"{" + b" " * 500, json.dumps(pair[1]).encode()]
        upstream.write([(topic, key, value, ()) for value in values], compression_type=codec)
        compressed += pair
    upstream.answered(*compressed)
    upstream.dead_letters(5)

    freezes, others = upstream.topics.freezes, new_account()
    behind = new_command("cash.freeze", account_no)
    bad = [Raw(freezes, 1, key, json.dumps({"command_id": new_command_id()}).encode()) for _ in range(12)]
    write_raw(upstream.bootstrap, [*bad, Raw(freezes, 1, key, json.dumps(behind).encode())])
    wait_until(lambda: not worker.is_ready(), message="readiness names the stopped partition")
    assert f"{freezes}" in worker.get("/readyz")[1]
    assert "10 records in a row" in worker.get("/readyz")[1]
    going_on = [new_command("cash.freeze", others), new_command("cash.adjust", others)]
    elsewhere = [
        Raw(freezes, 2, others.encode(), json.dumps(going_on[0]).encode()),
        Raw(topic, 1, others.encode(), json.dumps(going_on[1]).encode()),
    ]
    write_raw(upstream.bootstrap, elsewhere)
    outcomes = upstream.answered(*going_on)
    assert about(outcomes, behind) == []
    assert len(upstream.dead_letters(15)) == 15
    assert worker.sigterm() == 0
