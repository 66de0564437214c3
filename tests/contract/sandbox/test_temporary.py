from typing import Any

import pytest

from tests.contract.sandbox.desk import Desk

FLAT = "/v1/risk_event/temp_adjust"
EXPIRE = "/v1/risk_event/temp_adjust_expire"
WRAPPED = "/v1/whaleapi/asset/temp_adjust"


def cash(desk: Desk, **more: Any) -> dict[str, Any]:
    leg = {
        "account_no": "A1",
        "currency": "USD",
        "direction": "CREDIT",
        "incurred_amount": "1000.00",
        "biz_code": "CASH_ADJ_001",
        "remark": "lw1:tag note",
        "expire_time": int(desk.hour.now_s) + 60,
        **more,
    }
    return {"security_type": "CASH", "op_user": "admin", "cash_adjusts": leg}


def stock(desk: Desk, **more: Any) -> dict[str, Any]:
    leg = {
        "account_no": "A1",
        "currency": "USD",
        "direction": "CREDIT",
        "incurred_quantity": "100",
        "cost_price": "0",
        "position_side": "LONG",
        "biz_code": "STOCK_ADJ_001",
        "remark": "note",
        "expire_time": int(desk.hour.now_s) + 60,
        **more,
    }
    return {"security_type": "STOCK", "op_user": "admin", "stock_adjusts": leg}


async def available(desk: Desk) -> str:
    found = await desk.get("/v1/whaleapi/asset/cash_info", account_no="A1", currency="USD")
    return str(found["data"]["total_available_cash"])


async def test_cash_is_booked_flat_and_given_back_at_expire(desk: Desk) -> None:
    booked = await desk.post(FLAT, cash(desk))
    assert booked["code"] == "SUCCESS"
    assert booked["request_id"]
    assert await available(desk) == "1001000.0000"
    expire = {"adjust_no": booked["adjust_no"], "op_user": "admin"}
    assert await desk.post(EXPIRE, expire) == {
        "adjust_no": booked["adjust_no"],
        "code": "SUCCESS",
        "message": "success",
    }
    assert await available(desk) == "1000000.0000"
    assert (await desk.post(EXPIRE, expire))["code"] == "FAILED"
    effects = await desk.effects()
    assert [(one["operation"], one["account_no"], one["number"], one["remark"]) for one in effects] == [
        ("temp.adjust", "A1", booked["adjust_no"], "lw1:tag note"),
        ("temp.expire", "A1", booked["adjust_no"], None),
    ]


@pytest.mark.parametrize("path", [WRAPPED, "/v2/whaleapi/asset/temp_adjust"])
async def test_stock_by_symbol_is_booked_in_an_envelope(desk: Desk, path: str) -> None:
    booked = await desk.post(path, stock(desk, Symbol="AAPL.US"))
    assert (booked["code"], booked["data"]["code"]) == (0, "SUCCESS")
    held = await desk.get("/v1/whaleapi/asset/stock_info", account_no="A1")
    assert held["data"]["stock_list"][0]["total_quantity"] == "100"


async def test_stock_by_counter_id_is_the_same_security(desk: Desk) -> None:
    await desk.post(FLAT, stock(desk, counter_id="ST/HK/700"))
    held = await desk.get("/v1/whaleapi/asset/stock_info", account_no="A1")
    assert held["data"]["stock_list"][0]["symbol"] == "700.HK"


async def test_the_sweep_ends_it_after_the_hour_and_the_delay_once(desk: Desk) -> None:
    booked = await desk.post(FLAT, cash(desk))
    desk.hour.now_s += 64.9
    desk.brokerage.sweep()
    assert await available(desk) == "1001000.0000"
    desk.hour.now_s += 0.2
    desk.brokerage.sweep()
    desk.brokerage.sweep()
    assert await available(desk) == "1000000.0000"
    swept = await desk.effects(operation="sweep", account_no="A1")
    assert [one["number"] for one in swept] == [booked["adjust_no"]]
    assert (await desk.post(EXPIRE, {"adjust_no": booked["adjust_no"], "op_user": "a"}))["code"] == "FAILED"


async def test_after_its_hour_and_before_the_sweep_it_can_still_be_ended(desk: Desk) -> None:
    booked = await desk.post(FLAT, cash(desk))
    desk.hour.now_s += 61
    assert (await desk.post(EXPIRE, {"adjust_no": booked["adjust_no"], "op_user": "a"}))["code"] == "SUCCESS"
    desk.hour.now_s += 10
    desk.brokerage.sweep()
    assert await desk.effects(operation="sweep") == []


async def test_an_unknown_number_is_failed(desk: Desk) -> None:
    assert (await desk.post(EXPIRE, {"adjust_no": "TA1", "op_user": "a"}))["code"] == "FAILED"


@pytest.mark.parametrize(
    ("leg", "code"),
    [
        ({"counter_id": "ST/US/NOSUCH1"}, "STOCK_NOT_EXISTS"),
        ({"counter_id": "ST/XX/AAPL"}, "STOCK_NOT_EXISTS"),
        ({"counter_id": "AAPL"}, "PARAM_ERROR"),
        ({"counter_id": "ST/US/AAPL", "expire_time": 1}, "PARAM_ERROR"),
        ({"counter_id": "ST/US/AAPL", "expire_time": 1_790_000_060_000}, "PARAM_ERROR"),
        ({"counter_id": "ST/US/AAPL", "position_side": "BOTH"}, "PARAM_ERROR"),
        ({"counter_id": "ST/US/AAPL", "direction": 1}, "PARAM_ERROR"),
    ],
)
async def test_a_refusal_is_inside_a_successful_answer(desk: Desk, leg: dict[str, Any], code: str) -> None:
    answered = await desk.send("POST", FLAT, stock(desk, **leg))
    answer = await answered.json()
    assert (answered.status, answer["code"], answer["adjust_no"]) == (200, code, "")
    assert await desk.effects() == []
