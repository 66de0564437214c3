from typing import Any

import pytest

from tests.contract.sandbox.desk import Desk

ORDER = "/v1/whaleapi/trade/order"


def limit(**more: Any) -> dict[str, Any]:
    return {
        "account_no": "A1",
        "symbol": "700.HK",
        "side": "Buy",
        "order_type": "LO",
        "submitted_price": "88.5",
        "submitted_quantity": "100",
        "time_in_force": "Day",
        **more,
    }


async def placed(desk: Desk, **more: Any) -> str:
    return str((await desk.post(ORDER, limit(**more)))["data"]["order_id"])


async def details(desk: Desk, order_id: str, account_no: str = "A1") -> dict[str, Any]:
    found: dict[str, Any] = (await desk.get(ORDER, order_id=order_id, account_no=account_no))["data"]
    return found


async def test_a_placed_order_is_new_and_shows_what_was_asked_for(desk: Desk) -> None:
    order_id = await placed(desk, remark="lw1:tag hello")
    assert len(order_id) == 18
    shown = await details(desk, order_id)
    assert shown["status"] == "NewStatus"
    assert (shown["price"], shown["quantity"], shown["remark"]) == ("88.500", "100", "lw1:tag hello")
    assert [(one["operation"], one["number"], one["remark"]) for one in await desk.effects()] == [
        ("order.place", order_id, "lw1:tag hello")
    ]


@pytest.mark.parametrize(
    "body",
    [
        limit(submitted_price=None),
        limit(order_type="LIT"),
        limit(order_type="TSLPPCT"),
        limit(time_in_force="GTD"),
        limit(order_type="XX"),
        limit(symbol="700"),
        limit(symbol="NOSUCH.HK"),
        limit(submitted_quantity=100),
        limit(remark="x" * 65),
        limit(limit_depth_level=6),
        limit(trigger_count="1"),
    ],
)
async def test_a_wrong_order_is_refused_with_a_text_code(desk: Desk, body: dict[str, Any]) -> None:
    refused = await desk.send("POST", ORDER, body)
    assert refused.status == 400
    assert (await refused.json())["code"] in ("400", "602006")
    assert await desk.effects() == []


@pytest.mark.parametrize(
    "order_type", ["LO", "ELO", "MO", "AO", "ALO", "ODD", "LIT", "MIT", "TSLPAMT", "TSLPPCT", "TSMAMT", "TSMPCT", "SLO"]
)
async def test_all_order_types_are_taken(desk: Desk, order_type: str) -> None:
    trailing = {"trailing_amount": "1", "trailing_percent": "2.5", "trigger_price": "88", "limit_offset": "0"}
    assert await placed(desk, order_type=order_type, **trailing)


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_modify_replaces_the_terms_it_names(desk: Desk, version: str) -> None:
    order_id = await placed(desk, remark="keep")
    body = {"account_no": "A1", "order_id": order_id, "price": "50.1", "quantity": "200"}
    answered = await desk.send("PUT", f"/{version}/whaleapi/trade/order", body)
    assert await answered.json() == {"code": 0, "message": "success", "data": {}}
    shown = await details(desk, order_id)
    assert (shown["status"], shown["price"], shown["quantity"]) == ("ReplacedStatus", "50.100", "200")
    assert shown["remark"] == "keep"


async def test_modify_with_the_same_terms_is_no_effect(desk: Desk) -> None:
    order_id = await placed(desk)
    body = {"account_no": "A1", "order_id": order_id, "price": "88.50", "quantity": "100.0"}
    assert (await desk.send("PUT", ORDER, body)).status == 200
    assert (await details(desk, order_id))["status"] == "NewStatus"
    assert await desk.effects(operation="order.modify") == []


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("ids_in", ["query", "body"])
async def test_withdraw_takes_the_ids_in_query_or_body(desk: Desk, version: str, ids_in: str) -> None:
    ids = {"account_no": "A1", "order_id": await placed(desk)}
    path = f"/{version}/whaleapi/trade/order"
    if ids_in == "query":
        answered = await desk.send("DELETE", path, params=ids)
    else:
        answered = await desk.send("DELETE", path, ids)
    assert (await answered.json())["code"] == 0
    assert (await details(desk, ids["order_id"]))["status"] == "CanceledStatus"
    assert [one["request"] for one in await desk.effects(operation="order.withdraw")] == [ids]


async def test_an_ended_order_is_neither_withdrawn_nor_changed(desk: Desk) -> None:
    ids = {"account_no": "A1", "order_id": await placed(desk)}
    await desk.send("DELETE", ORDER, ids)
    again = await desk.send("DELETE", ORDER, ids)
    assert (again.status, (await again.json())["code"]) == (400, 603003)
    changed = await desk.send("PUT", ORDER, {**ids, "quantity": "5", "price": "1"})
    assert (changed.status, (await changed.json())["code"]) == (400, 603002)
    assert len(await desk.effects()) == 2


async def test_an_order_of_another_account_is_unknown(desk: Desk) -> None:
    order_id = await placed(desk)
    refused = await desk.send("GET", ORDER, params={"order_id": order_id, "account_no": "A2"})
    assert (refused.status, (await refused.json())["code"]) == (400, 603001)


async def test_a_partly_filled_order_is_partly_withdrawn(desk: Desk) -> None:
    ids = {"account_no": "A1", "order_id": await placed(desk)}
    drive = {"order_id": ids["order_id"], "status": "PartialFilledStatus", "executed_quantity": "40"}
    assert (await desk.send("POST", "/_sandbox/orders", drive)).status == 200
    too_small = await desk.send("PUT", ORDER, {**ids, "quantity": "40", "price": "1"})
    assert (await too_small.json())["code"] == 603002
    await desk.send("DELETE", ORDER, ids)
    shown = await details(desk, ids["order_id"])
    assert (shown["status"], shown["executed_quantity"]) == ("PartialWithdrawal", "40")


async def test_pages_hold_every_order_once_newest_first(desk: Desk) -> None:
    ids = [await placed(desk) for _ in range(5)]
    seen: list[str] = []
    for page in ("1", "2", "3"):
        data = (await desk.get(ORDER + "/today", account_no="A1", page=page, size="2"))["data"]
        seen += [order["order_id"] for order in data["orders"]]
        assert data["has_more"] is (page != "3")
    assert seen == ids[::-1]


async def test_status_may_be_repeated_in_the_query(desk: Desk) -> None:
    new, withdrawn = await placed(desk), await placed(desk)
    await placed(desk, symbol="AAPL.US")
    await desk.send("DELETE", ORDER, {"account_no": "A1", "order_id": withdrawn})
    query = [("account_no", "A1"), ("market", "HK"), ("status", "NewStatus"), ("status", "CanceledStatus")]
    answered = await desk.send("GET", ORDER + "/history", params=query)
    assert [one["order_id"] for one in (await answered.json())["data"]["orders"]] == [withdrawn, new]


async def test_today_ends_with_the_day_and_history_is_bounded_by_time(desk: Desk) -> None:
    order_id = await placed(desk)
    placed_at = int(desk.hour.now_s)
    desk.hour.now_s += 86_400
    assert (await desk.get(ORDER + "/today", account_no="A1"))["data"]["orders"] == []
    for start, end, expected in ((placed_at, placed_at, [order_id]), (placed_at + 1, placed_at + 9, [])):
        found = await desk.get(ORDER + "/history", account_no="A1", start_at=start, end_at=end)
        assert [one["order_id"] for one in found["data"]["orders"]] == expected


@pytest.mark.parametrize("query", [{"size": "1001"}, {"page": "0"}, {"page": "x"}, {"status": "Gone"}])
async def test_a_wrong_page_is_refused(desk: Desk, query: dict[str, str]) -> None:
    assert (await desk.send("GET", ORDER + "/today", params=query)).status == 400
