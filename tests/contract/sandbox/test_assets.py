from typing import Any

import pytest

from tests.contract.sandbox.desk import Desk

ASSET = "/v1/whaleapi/asset"


def cash(**more: Any) -> dict[str, Any]:
    return {
        "account_no": "A1",
        "direction": 1,
        "currency": "USD",
        "amount": "10.00",
        "biz_code": "OPLCSTBD",
        **more,
    }


def frozen(**more: Any) -> dict[str, Any]:
    return {"account_no": "A1", "currency": "USD", "frozen_amount": "100.00", "biz_code": "CMTF", **more}


def unfrozen(serial_num: str, amount: str, **more: Any) -> dict[str, Any]:
    body = {"account_no": "A1", "currency": "USD", "unfrozen_amount": amount, "biz_code": "CMTF"}
    return body | {"serial_num": serial_num, **more}


async def available(desk: Desk, account_no: str = "A1", currency: str = "USD") -> str:
    found = await desk.get(ASSET + "/cash_info", account_no=account_no, currency=currency)
    return str(found["data"]["total_available_cash"])


async def test_any_account_has_a_million_of_each_currency(desk: Desk) -> None:
    assert await available(desk, "never-seen", "CHF") == "1000000.0000"


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_cash_goes_in_and_out_exactly(desk: Desk, version: str) -> None:
    path = f"/{version}/whaleapi/asset/adjust_cash"
    assert (await desk.post(path, cash(amount="0.10")))["code"] == 0
    assert (await desk.post(path, cash(amount="0.20", direction=0)))["data"]["error_code"] == ""
    assert await available(desk) == "999999.9000"


async def test_the_same_request_id_answers_the_same_and_acts_once(desk: Desk) -> None:
    first = await desk.post(ASSET + "/adjust_cash", cash(request_id="r1"))
    again = await desk.post(ASSET + "/adjust_cash", cash(request_id="r1"))
    assert first == again
    assert len(first["data"]["serial_num"]) == 19
    assert [effect["request_id"] for effect in await desk.effects()] == ["r1"]
    assert await available(desk) == "1000010.0000"


async def test_a_refused_request_id_may_be_applied_later(desk: Desk) -> None:
    body = frozen(frozen_amount="1000001.00", request_id="r1")
    refused = await desk.send("POST", ASSET + "/frozen_cash", body)
    assert (refused.status, (await refused.json())["code"]) == (400, 602001)
    await desk.post(ASSET + "/adjust_cash", cash())
    assert (await desk.post(ASSET + "/frozen_cash", body))["code"] == 0


async def test_cash_out_may_exceed_the_balance_unless_the_risk_check_is_asked_for(desk: Desk) -> None:
    too_much = cash(direction=0, amount="1000000.01")
    refused = await desk.send("POST", ASSET + "/adjust_cash", {**too_much, "require_risk_check": True})
    assert (refused.status, (await refused.json())["code"]) == (400, 602001)
    assert (await desk.post(ASSET + "/adjust_cash", too_much))["code"] == 0
    assert await available(desk) == "-0.0100"


async def test_a_position_cannot_go_below_zero(desk: Desk) -> None:
    body = {"account_no": "A1", "direction": 1, "market": "HK", "symbol": "00700.HK", "quantity": "5", "biz_code": "B"}
    assert (await desk.post(ASSET + "/adjust_stock", body))["data"]["serial_num"]
    refused = await desk.send("POST", ASSET + "/adjust_stock", {**body, "direction": 0, "quantity": "5.1"})
    assert (await refused.json())["code"] == 602002
    held = await desk.get(ASSET + "/stock_info", account_no="A1")
    assert [(row["symbol"], row["total_quantity"]) for row in held["data"]["stock_list"]] == [("00700.HK", "5")]


async def test_a_freeze_is_given_back_in_parts_and_never_more_than_its_rest(desk: Desk) -> None:
    serial = (await desk.post(ASSET + "/frozen_cash", frozen()))["data"]["serial_num"]
    assert await available(desk) == "999900.0000"
    assert (await desk.post(ASSET + "/unfrozen_cash", unfrozen(serial, "60.00")))["code"] == 0
    refused = await desk.send("POST", ASSET + "/unfrozen_cash", unfrozen(serial, "40.01"))
    assert (refused.status, (await refused.json())["code"]) == (400, 602004)
    assert (await desk.post(ASSET + "/unfrozen_cash", unfrozen(serial, "40.00")))["code"] == 0
    assert await available(desk) == "1000000.0000"


async def test_a_debit_takes_what_is_left_of_the_freeze_once(desk: Desk) -> None:
    serial = (await desk.post(ASSET + "/frozen_cash", frozen()))["data"]["serial_num"]
    await desk.post(ASSET + "/unfrozen_cash", unfrozen(serial, "60.00"))
    debit = {"account_no": "A1", "serial_num": serial}
    assert (await desk.post(ASSET + "/unfrozen_debit", debit))["data"]["error_code"] == ""
    refused = await desk.send("POST", ASSET + "/unfrozen_debit", debit)
    assert (await refused.json())["code"] == 602004
    assert await available(desk) == "999960.0000"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (unfrozen("1", "1.00"), 602003),
        (unfrozen("1", "1.00", account_no="A2"), 602003),
    ],
)
async def test_an_unknown_freeze_is_refused(desk: Desk, body: dict[str, Any], code: int) -> None:
    refused = await desk.send("POST", ASSET + "/unfrozen_cash", body)
    assert (refused.status, (await refused.json())["code"]) == (400, code)


async def test_another_currency_than_the_freeze_is_refused(desk: Desk) -> None:
    serial = (await desk.post(ASSET + "/frozen_cash", frozen()))["data"]["serial_num"]
    refused = await desk.send("POST", ASSET + "/unfrozen_cash", unfrozen(serial, "1.00", currency="HKD"))
    assert (await refused.json())["code"] == 602005


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 10),
        ("amount", "1e3"),
        ("amount", "0.00"),
        ("amount", "1.001"),
        ("amount", "01.00"),
        ("direction", "1"),
        ("direction", True),
        ("currency", "usd"),
        ("biz_code", ""),
        ("account_no", "a b"),
        ("require_risk_check", "yes"),
    ],
)
async def test_a_field_of_the_wrong_shape_is_refused_by_name(desk: Desk, field: str, value: object) -> None:
    refused = await desk.send("POST", ASSET + "/adjust_cash", cash(**{field: value}))
    answer = await refused.json()
    assert (refused.status, answer["code"]) == (400, 400)
    assert answer["msg"].startswith(field + ":")
    assert await desk.effects() == []


async def test_histories_tell_direction_sign_and_serial(desk: Desk) -> None:
    await desk.post(ASSET + "/adjust_cash", cash(remark="in"))
    out = await desk.post(ASSET + "/adjust_cash", cash(direction=0, amount="3.00", remark="out"))
    rows = (await desk.post(ASSET + "/financial_flows", {"account_no": "A1"}))["data"]["financial_flows_list"]
    assert [(row["amount"], row["direction"], row["description"]) for row in rows] == [
        ("-3.00", 1, "out"),
        ("10.00", 2, "in"),
    ]
    assert rows[0]["serial_num"] == out["data"]["serial_num"]
    only_out = await desk.post(ASSET + "/financial_flows", {"account_no": "A1", "financial_flows_direction": 1})
    assert len(only_out["data"]["financial_flows_list"]) == 1
    serial = (await desk.post(ASSET + "/frozen_cash", frozen()))["data"]["serial_num"]
    await desk.post(ASSET + "/unfrozen_cash", unfrozen(serial, "60.00"))
    for status, expected in (("0", [2, 1]), ("1", [1]), ("2", [2])):
        found = await desk.get(ASSET + "/financial_frozen_flows", account_no="A1", frozen_status=status)
        assert [row["frozen_type"] for row in found["data"]["frozen_flows_list"]] == expected


async def test_a_seed_sets_what_it_names_and_nothing_else(desk: Desk) -> None:
    seed = {"account_no": "A1", "cash": {"USD": "5.00"}, "positions": [{"symbol": "AAPL.US", "quantity": "7"}]}
    assert (await desk.send("POST", "/_sandbox/accounts", seed)).status == 200
    assert await available(desk) == "5.0000"
    assert await available(desk, currency="HKD") == "1000000.0000"
    held = await desk.get(ASSET + "/stock_info", account_no="A1")
    assert held["data"]["stock_list"][0]["available_quantity"] == "7"


@pytest.mark.parametrize(
    "seed",
    [
        {"cash": {"USD": "1"}},
        {"account_no": "A1", "cash": {"USD": 1}},
        {"account_no": "A1", "cash": [1]},
        {"account_no": "A1", "positions": [{"symbol": "AAPL.US"}]},
        {"account_no": "A1", "money": {}},
    ],
)
async def test_a_wrong_seed_is_refused(desk: Desk, seed: dict[str, Any]) -> None:
    refused = await desk.send("POST", "/_sandbox/accounts", seed)
    assert refused.status == 400
