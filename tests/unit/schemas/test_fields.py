"""Every field rule, judged twice: by the check stage and by the exported JSON Schema."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.export import documents
from schemas.orders import NEEDED
from tests.factories import ABSENT, EARLIER_ID, TEMP_ADJUST_STOCK, TOPIC_TYPES, TYPES, command, payload, record
from worker.ledger.commands import Command, Refusal
from worker.pipeline.check import check

SCHEMAS = {name.removesuffix(".json"): Draft202012Validator(schema) for name, schema in documents().items()}


def refusal(value: dict[str, Any], *, seen_by_json_schema: bool = True) -> tuple[str, str | None]:
    """What check names; a JSON Schema sees the same, but for what its language cannot say."""
    found = check(record(value), TOPIC_TYPES)
    assert isinstance(found, Refusal), found
    assert SCHEMAS[value["type"]].is_valid(json.loads(json.dumps(value))) is not seen_by_json_schema
    return found.code, found.field


def accepted(value: dict[str, Any]) -> None:
    found = check(record(value), TOPIC_TYPES)
    assert isinstance(found, Command), found
    SCHEMAS[value["type"]].validate(value)


def with_payload(command_type: str, /, **changes: Any) -> dict[str, Any]:
    return command(command_type, payload=payload(command_type, **changes))


def stock(**changes: Any) -> dict[str, Any]:
    return command(
        "temp.adjust", payload={k: v for k, v in {**TEMP_ADJUST_STOCK, **changes}.items() if v is not ABSENT}
    )


@pytest.mark.parametrize("command_type", TYPES)
def test_valid_commands_pass_both_judges(command_type: str) -> None:
    accepted(command(command_type))


REQUIRED = {
    "cash.adjust": ["direction", "currency", "amount", "biz_code"],
    "position.adjust": ["direction", "market", "symbol", "quantity", "biz_code"],
    "temp.adjust": ["direction", "currency", "amount", "biz_code", "remark", "expires_at", "op_user", "security_type"],
    "temp.expire": ["adjust", "op_user"],
    "cash.freeze": ["currency", "amount", "biz_code"],
    "cash.unfreeze": ["freeze", "currency", "amount", "biz_code"],
    "cash.debit_frozen": ["freeze"],
    "order.place": ["symbol", "side", "order_type", "quantity", "time_in_force"],
    "order.modify": ["order", "quantity"],
    "order.withdraw": ["order"],
}


@pytest.mark.parametrize(("command_type", "name"), [(t, name) for t, names in REQUIRED.items() for name in names])
def test_each_required_field_is_asked_for_whether_absent_or_null(command_type: str, name: str) -> None:
    for value in (ABSENT, None):
        assert refusal(with_payload(command_type, **{name: value})) == ("FIELD_MISSING", f"payload.{name}")


@pytest.mark.parametrize(
    "name", ["direction", "quantity", "currency", "cost_price", "position_side", "biz_code", "remark", "expires_at"]
)
def test_each_field_of_the_stock_leg_is_asked_for(name: str) -> None:
    assert refusal(stock(**{name: ABSENT})) == ("FIELD_MISSING", f"payload.{name}")


@pytest.mark.parametrize("command_type", TYPES)
def test_an_optional_field_may_be_null(command_type: str) -> None:
    optional = {"remark", "risk_check", "price", "expire_date"} & set(payload(command_type)) - set(
        REQUIRED[command_type]
    )
    accepted(with_payload(command_type, **dict.fromkeys(optional - {"price"})))
    accepted(command(command_type, not_after=None, correlation_id=None))
    accepted(command(command_type, not_after=ABSENT, correlation_id=ABSENT))


@pytest.mark.parametrize(
    "amount",
    [
        "",
        "-1",
        "+1",
        "01",
        "1.",
        ".5",
        "1e3",
        "1E+5",
        "1_000",
        " 1",
        "1 ",
        "1,5",
        "1\n",
        "\u0661",
        "NaN",
        "0x1",
        "1" * 19,
    ],
)
def test_only_plain_decimals_are_amounts(amount: str) -> None:
    wrong = with_payload("cash.adjust", amount=amount)
    assert refusal(wrong, seen_by_json_schema=not amount.endswith("\n")) == ("DECIMAL_INVALID", "payload.amount")


@pytest.mark.parametrize("amount", [1, 1.5, True, [], {}])
def test_only_strings_are_amounts(amount: object) -> None:
    assert refusal(with_payload("cash.adjust", amount=amount)) == ("FIELD_TYPE", "payload.amount")


@pytest.mark.parametrize("amount", ["0.01", "1", "1.5", "999999999999999999.99"])
def test_cash_of_up_to_eighteen_digits_and_two_decimals_is_taken(amount: str) -> None:
    for command_type in ("cash.adjust", "temp.adjust", "cash.freeze", "cash.unfreeze"):
        accepted(with_payload(command_type, amount=amount))


def test_cash_has_at_most_two_decimals_even_if_they_are_zeros() -> None:
    for command_type in ("cash.adjust", "temp.adjust", "cash.freeze", "cash.unfreeze"):
        assert refusal(with_payload(command_type, amount="1.000"))[0] == "DECIMALS_TOO_MANY"


@pytest.mark.parametrize("zero", ["0", "0.0", "0.00"])
def test_zero_is_refused_but_for_total_cost_and_limit_offset(zero: str) -> None:
    assert refusal(with_payload("cash.adjust", amount=zero)) == ("NOT_POSITIVE", "payload.amount")
    assert refusal(with_payload("position.adjust", quantity=zero)) == ("NOT_POSITIVE", "payload.quantity")
    for name in ("quantity", "price", "trigger_price", "trailing_amount", "trailing_percent", "monitor_price"):
        assert refusal(with_payload("order.modify", **{name: zero})) == ("NOT_POSITIVE", f"payload.{name}")
    accepted(with_payload("order.place", limit_offset=zero))
    accepted(stock(cost_price=zero))


def test_quantities_and_prices_have_up_to_ten_decimals() -> None:
    accepted(with_payload("order.place", quantity="0.0000000001", price="0.0000000001"))
    assert refusal(with_payload("order.place", quantity="0.00000000001"))[0] == "DECIMAL_INVALID"


@pytest.mark.parametrize(
    "order_type", ["LO", "ELO", "MO", "AO", "ALO", "ODD", "LIT", "MIT", "TSLPAMT", "TSLPPCT", "TSMAMT", "TSMPCT", "SLO"]
)
def test_every_order_type_is_taken_with_what_it_needs_and_refused_without(order_type: str) -> None:
    needed = {name: "1.5" for given, name, values in NEEDED if given == "order_type" and order_type in values}
    bare = payload("order.place", order_type=order_type, price=ABSENT)
    accepted(command("order.place", payload={**bare, **needed}))
    for name in needed:
        without = {**bare, **needed, name: None}
        assert refusal(command("order.place", payload=without)) == ("FIELD_MISSING", f"payload.{name}")


def test_a_good_till_date_order_needs_a_real_day() -> None:
    accepted(with_payload("order.place", time_in_force="GTD", expire_date="2028-02-29"))
    assert refusal(with_payload("order.place", time_in_force="GTD")) == ("FIELD_MISSING", "payload.expire_date")
    for day in ("2027-2-1", "20270201", "2027-02-01T00:00:00Z", "", "2027-W01-1"):
        assert refusal(with_payload("order.place", expire_date=day)) == ("DATE_INVALID", "payload.expire_date")
    for day in ("2027-02-29", "0000-01-01"):
        assert refusal(with_payload("order.place", expire_date=day), seen_by_json_schema=False)[0] == "DATE_INVALID"


@pytest.mark.parametrize(
    ("command_type", "name", "value"),
    [
        ("cash.adjust", "direction", "credit"),
        ("temp.adjust", "security_type", "BOND"),
        ("order.place", "side", "BUY"),
        ("order.place", "order_type", "lo"),
        ("order.place", "time_in_force", "DAY"),
        ("order.place", "outside_rth", ""),
    ],
)
def test_a_value_outside_an_enumeration_is_refused(command_type: str, name: str, value: str) -> None:
    assert refusal(with_payload(command_type, **{name: value})) == ("VALUE_UNKNOWN", f"payload.{name}")


def test_depth_level_and_trigger_count_are_json_integers_in_range() -> None:
    for command_type in ("order.place", "order.modify"):
        for name, low, high in (("limit_depth_level", -5, 5), ("trigger_count", 0, 3)):
            accepted(with_payload(command_type, **{name: low}))
            accepted(with_payload(command_type, **{name: high}))
            assert refusal(with_payload(command_type, **{name: low - 1})) == ("OUT_OF_RANGE", f"payload.{name}")
            assert refusal(with_payload(command_type, **{name: high + 1})) == ("OUT_OF_RANGE", f"payload.{name}")
            for value in ("1", True, 1.5):
                assert refusal(with_payload(command_type, **{name: value})) == ("FIELD_TYPE", f"payload.{name}")
            # JSON Schema calls 1.0 an integer
            assert refusal(with_payload(command_type, **{name: 1.0}), seen_by_json_schema=False)[0] == "FIELD_TYPE"


@pytest.mark.parametrize("value", [0, 1, "true", "false", []])
def test_risk_check_is_a_json_boolean(value: object) -> None:
    for command_type in ("cash.adjust", "cash.freeze"):
        accepted(with_payload(command_type, risk_check=False))
        assert refusal(with_payload(command_type, risk_check=value)) == ("FIELD_TYPE", "payload.risk_check")


def test_a_remark_that_gets_our_tag_has_at_most_33_characters() -> None:
    for command_type in ("order.place", "order.modify", "temp.adjust"):
        accepted(with_payload(command_type, remark="ü" * 33))
        assert refusal(with_payload(command_type, remark="u" * 34)) == ("TEXT_TOO_LONG", "payload.remark")
    assert refusal(stock(remark="u" * 34)) == ("TEXT_TOO_LONG", "payload.remark")
    accepted(with_payload("cash.adjust", remark="u" * 900))


@pytest.mark.parametrize(
    ("command_type", "name", "number"),
    [
        ("temp.expire", "adjust", "adjust_no"),
        ("cash.unfreeze", "freeze", "serial_num"),
        ("cash.debit_frozen", "freeze", "serial_num"),
        ("order.modify", "order", "order_id"),
        ("order.withdraw", "order", "order_id"),
    ],
)
def test_a_reference_names_exactly_one_thing(command_type: str, name: str, number: str) -> None:
    where = f"payload.{name}"
    accepted(with_payload(command_type, **{name: {"command_id": EARLIER_ID}}))
    accepted(with_payload(command_type, **{name: {number: "A.b_c-1", "command_id": None}}))
    for value, refused in (
        ({}, ("FIELD_MISSING", where)),
        ({number: None}, ("FIELD_MISSING", where)),
        ({number: "1", "command_id": EARLIER_ID}, ("FIELD_CONFLICT", f"{where}.{number}")),
        ({"command_id": EARLIER_ID.upper()}, ("FORMAT_INVALID", f"{where}.command_id")),
        ({number: "a" * 65}, ("FORMAT_INVALID", f"{where}.{number}")),
        ({number: ""}, ("FORMAT_INVALID", f"{where}.{number}")),
        ({number: "a/b"}, ("FORMAT_INVALID", f"{where}.{number}")),
        ({number: "a\u0000"}, ("CONTROL_CHARACTER", f"{where}.{number}")),
        ({number: 1}, ("FIELD_TYPE", f"{where}.{number}")),
        ({"other": "1"}, ("FIELD_UNKNOWN", f"{where}.other")),
        (EARLIER_ID, ("FIELD_TYPE", where)),
    ):
        assert refusal(with_payload(command_type, **{name: value})) == refused


def test_stock_is_named_by_exactly_one_of_counter_id_and_symbol() -> None:
    accepted(stock())
    accepted(stock(counter_id=ABSENT, symbol="AAPL.US"))
    accepted(stock(counter_id=None, symbol="BRK.B.US"))
    assert refusal(stock(counter_id=ABSENT)) == ("FIELD_MISSING", "payload.counter_id")
    assert refusal(stock(symbol="AAPL.US")) == ("FIELD_CONFLICT", "payload.symbol")
    assert refusal(stock(counter_id="US/AAPL")) == ("FORMAT_INVALID", "payload.counter_id")
    assert refusal(stock(amount="1")) == ("FIELD_UNKNOWN", "payload.amount")


@pytest.mark.parametrize("symbol", ["AAPL", ".US", "AAPL.", "", "A\u0001.US"])
def test_a_symbol_has_a_code_and_a_region(symbol: str) -> None:
    for command_type in ("position.adjust", "order.place"):
        assert refusal(with_payload(command_type, symbol=symbol))[1] == "payload.symbol"


@pytest.mark.parametrize("name", ["currency", "biz_code", "op_user"])
def test_a_required_name_is_not_empty(name: str) -> None:
    assert refusal(with_payload("temp.adjust", **{name: ""})) == ("TEXT_EMPTY", f"payload.{name}")


@pytest.mark.parametrize(
    "at",
    [
        "2026-11-22T08:30:00Z",
        "2026-11-22t08:30:00z",
        "2026-11-22T08:30:00.123456789+05:45",
        "2026-11-22T08:30:00-00:00",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
    ],
)
def test_rfc_3339_instants_are_taken(at: str) -> None:
    accepted(command("cash.adjust", issued_at=at, not_after=at))


@pytest.mark.parametrize(
    "at",
    [
        "",
        "2026-11-22",
        "2026-11-22T08:30Z",
        "2026-11-22T08:30:00",
        "2026-11-22 08:30:00Z",
        "2026-11-22T08:30:00+0100",
        "2026-11-22T08:30:00+01",
        "2026-11-22T08:30:00,5Z",
        "2026-11-22T08:30:00.Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T08:30:60Z",
        "2026-11-22T08:30:00+24:00",
        "2026-11-22T08:30:00+05:60",
        "20261122T083000Z",
        "1795336200",
        "2026-11-22T08:30:00Z\n",
        "٢٠٢٦-11-22T08:30:00Z",
    ],
)
def test_what_is_no_rfc_3339_instant_is_refused(at: str) -> None:
    for name in ("issued_at", "not_after"):
        # Python's `$` also matches before a last line break; that of JSON Schema's language does not
        seen = not at.endswith("\n")
        assert refusal(command("cash.adjust", **{name: at}), seen_by_json_schema=seen) == ("TIME_INVALID", name)


@pytest.mark.parametrize(
    "at", ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00"]
)
def test_an_instant_that_no_calendar_has_is_refused(at: str) -> None:
    assert refusal(command("cash.adjust", issued_at=at), seen_by_json_schema=False) == ("TIME_INVALID", "issued_at")


def test_an_adjustment_lapses_at_a_whole_second() -> None:
    accepted(with_payload("temp.adjust", expires_at="2026-11-22T16:00:00.000Z"))
    for at in ("2026-11-22T16:00:00.5Z", "2026-11-22T16:00:00.0000001+01:00"):
        assert refusal(with_payload("temp.adjust", expires_at=at)) == ("TIME_INVALID", "payload.expires_at")
