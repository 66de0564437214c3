from typing import Any

from tests.contract.sandbox.desk import Desk

ASSET = "/v1/whaleapi/asset"


async def flows(desk: Desk) -> list[dict[str, Any]]:
    answer = await desk.post(f"{ASSET}/financial_flows", {"account_no": "A1"})
    found: list[dict[str, Any]] = answer["data"]["financial_flows_list"]
    return found


async def test_what_is_revoked_leaves_no_trace_in_history_and_balance(desk: Desk) -> None:
    base = {"account_no": "A1", "currency": "USD", "biz_code": "B"}
    kept = (await desk.post(f"{ASSET}/adjust_cash", {**base, "direction": 1, "amount": "3"}))["data"]["serial_num"]
    gone = (await desk.post(f"{ASSET}/adjust_cash", {**base, "direction": 1, "amount": "5"}))["data"]["serial_num"]
    freeze = (await desk.post(f"{ASSET}/frozen_cash", {**base, "frozen_amount": "7"}))["data"]["serial_num"]
    for number in (gone, freeze):
        assert await desk.post("/_sandbox/revoke", {"account_no": "A1", "number": number}) == {"removed": 1}
    assert [flow["serial_num"] for flow in await flows(desk)] == [kept]
    [cash] = (await desk.get(f"{ASSET}/cash_info", account_no="A1", currency="USD"))["data"]["cash_list"]
    assert cash["available_amount"] == "1000003.0000"
    assert len(await desk.effects()) == 3, "what was applied was applied"
    again = await desk.send("POST", "/_sandbox/revoke", {"account_no": "A1", "number": gone})
    assert again.status == 400


async def test_a_revoked_order_is_unknown(desk: Desk) -> None:
    fields = {"symbol": "700.HK", "side": "Buy", "order_type": "MO", "time_in_force": "Day", "submitted_quantity": "1"}
    placed = await desk.post("/v1/whaleapi/trade/order", {"account_no": "A1", **fields})
    order_id = placed["data"]["order_id"]
    await desk.post("/_sandbox/revoke", {"account_no": "A1", "number": order_id})
    shown = await desk.get("/v1/whaleapi/trade/order", account_no="A1", order_id=order_id)
    assert shown["code"] == 603001
    assert (await desk.get("/v1/whaleapi/trade/order/history", account_no="A1"))["data"]["orders"] == []
