"""Every operation of the contract has a complete entry, and its calls hold documented fields only."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import pytest

from worker.ledger.verdicts import Keying, Numbers, Request
from worker.whale.operations import REGISTRY, Intent, Variants, tag

ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
TAG = "lw1:b6h22w6zzndj7ilfocdhokevby "
EXPIRES = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
VARIANTS = [
    Variants(*choice)  # type: ignore[arg-type]
    for choice in itertools.product(("v1", "v2"), ("risk_event", "whaleapi"), ("query", "body"))
]

CASH = {"direction": "CREDIT", "currency": "USD", "amount": "1000.00", "biz_code": "CASH_ADJ_001"}
TEMP = {"direction": "DEBIT", "currency": "USD", "biz_code": "B", "remark": "intraday", "op_user": "admin"}
STOCK = {**TEMP, "security_type": "STOCK", "quantity": "100", "cost_price": "0", "position_side": "LONG"}
TRAILING = {
    "trigger_price": "388.5",
    "trailing_amount": "1",
    "trailing_percent": "2.5",
    "limit_offset": "0",
    "limit_depth_level": -5,
    "monitor_price": "400",
    "trigger_count": 0,
}
PLACE = {"symbol": "AAPL.US", "side": "Buy", "order_type": "LO", "quantity": "100", "time_in_force": "Day"}

INTENTS: dict[str, tuple[str, dict[str, Any], Numbers | None]] = {
    "cash": ("cash.adjust", CASH, None),
    "cash with all": ("cash.adjust", {**CASH, "direction": "DEBIT", "remark": "调账 / x", "risk_check": False}, None),
    "position": (
        "position.adjust",
        {
            "direction": "DEBIT",
            "market": "HK",
            "symbol": "00700.HK",
            "quantity": "2000",
            "biz_code": "B",
            "remark": None,
        },
        None,
    ),
    "freeze": ("cash.freeze", {"currency": "HKD", "amount": "35", "biz_code": "C", "risk_check": True}, None),
    "unfreeze": ("cash.unfreeze", {"currency": "HKD", "amount": "35", "biz_code": "C"}, Numbers(serial_num="77")),
    "debit": ("cash.debit_frozen", {"biz_code": "C"}, Numbers(serial_num="77")),
    "debit without code": ("cash.debit_frozen", {}, Numbers(serial_num="77")),
    "temp cash": ("temp.adjust", {**TEMP, "security_type": "CASH", "amount": "1000.00"}, None),
    "temp stock": ("temp.adjust", {**STOCK, "counter_id": "ST/US/AAPL", "symbol": None}, None),
    "expire": ("temp.expire", {"op_user": "admin"}, Numbers(adjust_no="TA1")),
    "place": ("order.place", {**PLACE, "price": "88.5", "remark": "r"}, None),
    "place with all": (
        "order.place",
        {**PLACE, **TRAILING, "time_in_force": "GTD", "expire_date": "2026-12-01", "outside_rth": "RTH_ONLY"},
        None,
    ),
    "modify": ("order.modify", {"quantity": "5", "price": "1.5"}, Numbers(order_id="70")),
    "modify with all": ("order.modify", {"quantity": "5", **TRAILING, "remark": "r"}, Numbers(order_id="70")),
    "withdraw": ("order.withdraw", {}, Numbers(order_id="70")),
}

# Field → (type, required), from the documentation's request tables; `*` marks fields that its text limits to some types.
LEG = {"currency": (str, 1), "direction": (str, 1), "biz_code": (str, 1), "remark": (str, 1), "account_no": (str, 1)}
LEG |= {"expire_time": (int, 1)}
STOCK_LEG = {**LEG, "incurred_quantity": (str, 1), "cost_price": (str, 1), "position_side": (str, 1)}
ORDER = {name: (int if isinstance(value, int) else str, 0) for name, value in TRAILING.items()}
ORDER |= {"account_no": (str, 1), "remark": (str, 0)}
KEYED = {"account_no": (str, 1), "biz_code": (str, 1), "remark": (str, 0), "request_id": (str, 1)}
FIELDS: dict[str, dict[str, Any]] = {
    "adjust_cash": KEYED
    | {"direction": (int, 1), "currency": (str, 1), "amount": (str, 1), "require_risk_check": (bool, 0)},
    "adjust_stock": KEYED | {"direction": (int, 1), "market": (str, 1), "symbol": (str, 1), "quantity": (str, 1)},
    "frozen_cash": KEYED | {"currency": (str, 1), "frozen_amount": (str, 1), "require_risk_check": (bool, 0)},
    "unfrozen_cash": KEYED | {"currency": (str, 1), "unfrozen_amount": (str, 1), "serial_num": (str, 1)},
    "unfrozen_debit": {"account_no": (str, 1), "serial_num": (str, 1), "request_id": (str, 1), "biz_code": (str, 0)},
    "temp_adjust_expire": {"adjust_no": (str, 1), "op_user": (str, 1)},
    "POST order": ORDER
    | dict.fromkeys(("symbol", "side", "order_type", "submitted_quantity", "time_in_force"), (str, 1))
    | dict.fromkeys(("submitted_price", "expire_date", "outside_rth"), (str, 0)),
    "PUT order": ORDER | {"order_id": (str, 1), "quantity": (str, 1), "price": (str, 0)},
    "DELETE order": {"order_id": (str, 1), "account_no": (str, 1)},
}


def intent(name: str, **changes: Any) -> tuple[str, Intent]:
    command_type, payload, target = INTENTS[name]
    expires_at = EXPIRES if command_type == "temp.adjust" else None
    return command_type, replace(Intent(ID, "H10240001", payload, expires_at, target), **changes)


def build(name: str, variants: Variants | None = None, **changes: Any) -> Request:
    command_type, made = intent(name, **changes)
    return REGISTRY[command_type].build(made, variants or Variants())


def body(request: Request) -> dict[str, Any]:
    parsed = json.loads(request.body) if request.body else dict(parse_qsl(request.query))
    assert isinstance(parsed, dict)
    return parsed


def check_fields(fields: dict[str, Any], table: dict[str, tuple[type, int]]) -> None:
    assert fields.keys() <= table.keys()
    assert {name for name, (_, required) in table.items() if required} <= fields.keys()
    for name, value in fields.items():
        assert type(value) is table[name][0], name


def test_the_registry_has_the_ten_command_types() -> None:
    assert set(REGISTRY) == {command_type for command_type, _, _ in INTENTS.values()}
    assert len(REGISTRY) == 10


@pytest.mark.parametrize("command_type", sorted(REGISTRY))
def test_an_entry_is_complete(command_type: str) -> None:
    entry = REGISTRY[command_type]
    assert entry.command_type == command_type
    assert entry.title
    assert (entry.look is not None) == command_type.startswith("order.")
    assert entry.urgent == (command_type in {"temp.expire", "order.withdraw"})
    assert entry.repeat_is_harmless == (command_type != "order.modify")
    assert {"PARAM_ERROR", "STOCK_NOT_EXISTS"} <= entry.final_codes
    assert "SAVE_ERROR" not in entry.final_codes
    for bound_s in (entry.late_apply_s, entry.deadline_s):
        assert bound_s is None or bound_s > 0


def test_what_keeps_each_operation_from_taking_effect_twice() -> None:
    keyed_by = {name: entry.keyed_by for name, entry in REGISTRY.items()}
    assert keyed_by == {
        "cash.adjust": Keying.REQUEST_ID,
        "position.adjust": Keying.REQUEST_ID,
        "cash.freeze": Keying.REQUEST_ID,
        "cash.unfreeze": Keying.REQUEST_ID,
        "cash.debit_frozen": Keying.REQUEST_ID,
        "temp.adjust": Keying.NOTHING,
        "temp.expire": Keying.TARGET,
        "order.place": Keying.TAG,
        "order.modify": Keying.TARGET,
        "order.withdraw": Keying.TARGET,
    }
    references = {name: entry.reference for name, entry in REGISTRY.items() if entry.reference}
    assert references == {
        "cash.unfreeze": "freeze",
        "cash.debit_frozen": "freeze",
        "temp.expire": "adjust",
        "order.modify": "order",
        "order.withdraw": "order",
    }


@pytest.mark.parametrize("variants", VARIANTS, ids=lambda one: f"{one.api_version}-{one.temp_route}-{one.withdraw_ids}")
@pytest.mark.parametrize("name", INTENTS)
def test_a_call_holds_documented_fields_of_the_documented_types(name: str, variants: Variants) -> None:
    request = build(name, variants)
    assert request == build(name, variants)
    fields, last = body(request), request.path.rsplit("/", 1)[1]
    if last == "temp_adjust":
        leg_name = "cash_adjusts" if name == "temp cash" else "stock_adjusts"
        assert list(fields) == ["security_type", leg_name, "op_user"]
        how = "Symbol" if variants.temp_route == "whaleapi" else "counter_id"
        table = {**LEG, "incurred_amount": (str, 1)} if name == "temp cash" else {**STOCK_LEG, how: (str, 1)}
        check_fields(fields[leg_name], table)
    else:
        check_fields(fields, FIELDS[f"{request.method} order" if last == "order" else last])


@pytest.mark.parametrize("variants", VARIANTS, ids=lambda one: f"{one.api_version}-{one.temp_route}-{one.withdraw_ids}")
def test_paths_follow_the_variants(variants: Variants) -> None:
    version = variants.api_version
    asset, order = f"/{version}/whaleapi/asset", f"/{version}/whaleapi/trade/order"
    temp = "/v1/risk_event/temp_adjust" if variants.temp_route == "risk_event" else f"{asset}/temp_adjust"
    assert {
        name: (build(name, variants).method, build(name, variants).path) for name in INTENTS if " " not in name
    } == {
        "cash": ("POST", f"{asset}/adjust_cash"),
        "position": ("POST", f"{asset}/adjust_stock"),
        "freeze": ("POST", f"{asset}/frozen_cash"),
        "unfreeze": ("POST", f"{asset}/unfrozen_cash"),
        "debit": ("POST", "/v1/whaleapi/asset/unfrozen_debit"),
        "expire": ("POST", "/v1/risk_event/temp_adjust_expire"),
        "place": ("POST", "/v1/whaleapi/trade/order"),
        "modify": ("PUT", order),
        "withdraw": ("DELETE", order),
    }
    assert build("temp cash", variants).path == temp
    withdraw = build("withdraw", variants)
    assert bool(withdraw.query) == (variants.withdraw_ids == "query")
    assert bool(withdraw.body) == (variants.withdraw_ids == "body")


def test_a_body_is_the_bytes_that_are_signed_and_stored() -> None:
    assert (
        build("cash with all").body
        == (
            '{"account_no":"H10240001","direction":0,"currency":"USD","amount":"1000.00","biz_code":"CASH_ADJ_001",'
            '"remark":"调账 / x","request_id":"0f8fad5b-d9cb-469f-a165-70867728950e","require_risk_check":false}'
        ).encode()
    )
    assert build("withdraw").query == "order_id=70&account_no=H10240001"


def test_directions_are_numbers_for_adjustments_and_words_for_temporary_ones() -> None:
    assert body(build("cash"))["direction"] == 1
    assert body(build("position"))["direction"] == 0
    assert body(build("temp cash"))["cash_adjusts"]["direction"] == "DEBIT"


def test_a_temporary_adjustment_ends_at_whole_unix_seconds() -> None:
    assert body(build("temp cash"))["cash_adjusts"]["expire_time"] == 1_795_363_200


def test_the_tag_is_31_characters_and_goes_before_the_remark() -> None:
    assert tag(ID) == TAG
    assert len(TAG) == 31
    assert body(build("place"))["remark"] == TAG + "r"
    assert body(build("place with all"))["remark"] == TAG
    assert body(build("temp cash"))["cash_adjusts"]["remark"] == TAG + "intraday"
    assert body(build("temp stock"))["stock_adjusts"]["remark"] == TAG + "intraday"


def test_a_change_repeats_the_tag_of_the_placing_command() -> None:
    other = tag(UUID(int=7))
    assert body(build("modify with all", target_tag=other))["remark"] == other + "r"
    assert body(build("modify with all"))["remark"] == "r"
    assert "remark" not in body(build("modify", target_tag=other))


def test_a_stock_is_named_as_its_route_wants_it() -> None:
    whaleapi, risk_event = Variants(temp_route="whaleapi"), Variants()
    by_symbol = {**STOCK, "symbol": "AAPL.US", "counter_id": None}
    assert body(build("temp stock", whaleapi))["stock_adjusts"]["Symbol"] == "AAPL.US"
    assert body(build("temp stock", whaleapi, payload=by_symbol))["stock_adjusts"]["Symbol"] == "AAPL.US"
    assert body(build("temp stock", risk_event))["stock_adjusts"]["counter_id"] == "ST/US/AAPL"


def test_what_a_route_cannot_name_is_refused_before_the_call() -> None:
    whaleapi, risk_event = Variants(temp_route="whaleapi"), Variants()
    refuse = REGISTRY["temp.adjust"].refuse_before_call
    by_symbol = intent("temp stock", payload={**STOCK, "symbol": "AAPL.US"})[1]
    by_odd_id = intent("temp stock", payload={**STOCK, "counter_id": "AAPL"})[1]
    refusal = refuse(by_symbol, risk_event)
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("SYMBOL_UNUSABLE", "payload.symbol")
    assert refuse(by_symbol, whaleapi) is None
    odd = refuse(by_odd_id, whaleapi)
    assert odd is not None
    assert odd.field == "payload.counter_id"
    for name in ("temp cash", "temp stock"):
        for variants in (whaleapi, risk_event):
            assert refuse(intent(name)[1], variants) is None
    for command_type, entry in REGISTRY.items():
        if command_type != "temp.adjust":
            assert entry.refuse_before_call(intent("cash")[1], risk_event) is None


@pytest.mark.parametrize("name", [name for name, (_, _, target) in INTENTS.items() if target])
def test_a_call_without_its_target_is_never_built(name: str) -> None:
    for target in (None, Numbers()):
        with pytest.raises(ValueError, match="must be known"):
            build(name, target=target)
