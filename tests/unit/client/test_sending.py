"""What a sender is told before anything is sent is what the worker would have said afterwards."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_client import Connection, RefusedError, SettingsError, Topics, new_command
from ledger_client.client import consumer_options, producer_options
from ledger_client.commands import Record, as_record
from schemas.adjustments import CashAdjustPayload, TempAdjustCash, TempAdjustStock
from schemas.commands import MODELS, VALUE_BYTES_MAX
from schemas.envelope import Envelope
from tests.factories import ABSENT, TEMP_ADJUST_STOCK, TOPIC_OF, TOPIC_TYPES, TYPES, command, payload, record
from tests.fuzz.strategies import changed
from worker.ledger.commands import Command, Malformed, Refusal
from worker.pipeline.check import check

HOUR = datetime(2026, 11, 22, 16, tzinfo=UTC)


def cash(amount: str = "10.00", **envelope: Any) -> Envelope:
    payload = CashAdjustPayload(direction="CREDIT", currency="USD", amount=amount, biz_code="OPLCSTBD")
    return new_command(payload, **{"account_no": "H1", "issued_by": "desk", **envelope})


def sent_or_refused(one: dict[str, Any]) -> Record | RefusedError:
    try:
        return as_record(one)
    except RefusedError as error:
        return error


def as_json(one: dict[str, Any]) -> bytes:
    """The bytes of a command; of one with a number that is too long even for Python, some that are unreadable likewise."""
    try:
        return json.dumps(one).encode()
    except ValueError:
        return b"9" * 5_000


@given(st.sampled_from(TYPES).flatmap(lambda name: changed(command(name))))
def test_what_the_worker_would_refuse_is_not_sent_and_what_is_sent_it_takes(given_command: dict[str, Any]) -> None:
    found = sent_or_refused(given_command)
    if isinstance(found, Record):
        raw = record(found.value, topic=TOPIC_OF[found.command_type], key=found.key)
        assert isinstance(check(raw, TOPIC_TYPES), Command)
        return
    topic = TOPIC_OF.get(str(given_command.get("type")), TOPIC_OF["cash.adjust"])
    key = str(given_command.get("account_no")).encode("utf-8", "replace")
    judged = check(record(as_json(given_command), topic=topic, key=key), TOPIC_TYPES)
    assert isinstance(judged, Refusal | Malformed), judged
    if isinstance(judged, Refusal) and judged.code == found.code:
        assert (judged.field, judged.message) == (found.field, found.message)


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [
        (command("cash.adjust", payload=payload("cash.adjust", amount="1.001")), "DECIMALS_TOO_MANY", "payload.amount"),
        (command("cash.adjust", payload=payload("cash.adjust", amount=1000)), "FIELD_TYPE", "payload.amount"),
        (command("cash.adjust", issued_by=ABSENT), "FIELD_MISSING", "issued_by"),
        (command("cash.adjust", desk="x"), "FIELD_UNKNOWN", "desk"),
        (command("cash.adjust", command_id="x"), "FORMAT_INVALID", "command_id"),
        (command("cash.pay"), "TYPE_UNKNOWN", "type"),
        ({}, "FIELD_MISSING", "type"),
        (command("cash.adjust", issued_by="\ud800"), "MALFORMED", None),
        (command("cash.adjust", **{"\ud800": None}), "MALFORMED", None),
        (command("temp.adjust", **{"\ud800": None}), "MALFORMED", None),
        (command("cash.adjust", issued_by="x" * VALUE_BYTES_MAX), "TOO_LARGE", None),
    ],
)
def test_a_refusal_has_the_code_and_the_field_that_the_outcome_would_have(
    wrong: dict[str, Any], code: str, field: str | None
) -> None:
    with pytest.raises(RefusedError) as refused:
        as_record(wrong)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize("command_type", TYPES)
def test_a_mapping_goes_out_as_written_under_its_account(command_type: str) -> None:
    given_command = command(command_type)
    sent = as_record(given_command)
    assert json.loads(sent.value) == given_command
    assert (sent.key, sent.command_type) == (given_command["account_no"].encode(), command_type)


@pytest.mark.parametrize("command_type", TYPES)
def test_the_type_follows_from_the_payload(command_type: str) -> None:
    built = new_command(
        MODELS[command_type].model_validate(command(command_type)).payload, account_no="H1", issued_by="desk"
    )
    assert built.type == command_type
    assert isinstance(
        check(record(as_record(built).value, topic=TOPIC_OF[command_type], key="H1"), TOPIC_TYPES), Command
    )


def test_instants_may_be_given_as_such() -> None:
    leg = {**payload("temp.adjust"), "expires_at": HOUR}
    built = new_command(TempAdjustCash(**leg), account_no="H1", issued_by="desk", not_after=HOUR)
    read = json.loads(as_record(built).value)
    assert (read["payload"]["expires_at"], read["not_after"]) == ("2026-11-22T16:00:00Z",) * 2
    stock = TempAdjustStock(**{**TEMP_ADJUST_STOCK, "expires_at": HOUR})
    assert new_command(stock, account_no="H1", issued_by="desk").type == "temp.adjust"
    with pytest.raises(ValueError, match="whole second"):
        TempAdjustCash(**{**leg, "expires_at": HOUR.replace(microsecond=1)})
    with pytest.raises(ValueError, match="must be a string"):
        TempAdjustCash(**{**leg, "expires_at": HOUR.replace(tzinfo=None)})


def test_an_id_is_new_unless_given_and_the_same_command_has_the_same_bytes() -> None:
    first = cash()
    assert first.command_id != cash().command_id
    assert as_record(first) == as_record(first)
    again = cash(command_id=first.command_id)
    assert again.command_id == first.command_id
    with pytest.raises(RefusedError):
        cash(account_no="no blanks")


def test_nothing_whose_default_loses_or_doubles_is_left_to_the_client_library() -> None:
    options = producer_options(Connection("kafka:9092"))
    assert (options["acks"], options["enable_idempotence"]) == ("all", True)
    assert type(options["partitioner"]).__name__ == "DefaultPartitioner"
    reads = consumer_options(Connection("kafka:9092"))
    assert (reads["group_id"], reads["auto_offset_reset"], reads["enable_auto_commit"]) == (None, "none", False)


def test_the_connection_comes_from_the_workers_variables_and_shows_no_secret(tmp_path: Any) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    connection = Connection.from_env(
        {
            "LEDGER_KAFKA_BOOTSTRAP_SERVERS": "a:1, b:2",
            "LEDGER_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "LEDGER_KAFKA_SASL_USERNAME": "desk",
            "LEDGER_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "password"),
            "LEDGER_TOPIC_ORDERS": "o",
        }
    )
    options = connection.options()
    assert (options["bootstrap_servers"], options["sasl_plain_password"]) == (["a:1", "b:2"], "s3cret")
    assert connection.topics == Topics(orders="o")
    assert "s3cret" not in repr(connection)
    assert [connection.topics.of_type(name) for name in TYPES] == [
        TOPIC_OF[name].replace(TOPIC_OF["order.place"], "o") for name in TYPES
    ]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "LEDGER_KAFKA_BOOTSTRAP_SERVERS"),
        ({"LEDGER_KAFKA_BOOTSTRAP_SERVERS_FILE": "/nowhere"}, "cannot be read"),
        ({"LEDGER_KAFKA_BOOTSTRAP_SERVERS": "a:1", "LEDGER_KAFKA_SECURITY_PROTOCOL": "TLS"}, "none of"),
        ({"LEDGER_KAFKA_BOOTSTRAP_SERVERS": "a:1", "LEDGER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "SASL_USERNAME"),
        (
            {
                "LEDGER_KAFKA_BOOTSTRAP_SERVERS": "a:1",
                "LEDGER_KAFKA_SECURITY_PROTOCOL": "SSL",
                "LEDGER_KAFKA_SSL_CAFILE": "/nowhere",
            },
            "certificates",
        ),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        Connection.from_env(environ).options()
