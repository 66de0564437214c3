import asyncio
from typing import Any

import pytest
from aiohttp import ClientError, ClientTimeout

from sandbox.faults import Kind
from tests.contract.sandbox.desk import Desk

ADJUST = "/v1/whaleapi/asset/adjust_cash"
ORDER = "/v1/whaleapi/trade/order"
TEMP = "/v1/risk_event/temp_adjust"
EXPIRE = "/v1/risk_event/temp_adjust_expire"


def cash(**more: Any) -> dict[str, Any]:
    body = {"account_no": "A1", "direction": 1, "currency": "USD", "amount": "10.00", "biz_code": "B"}
    return body | {"remark": "note", "request_id": "r1", **more}


def order() -> dict[str, Any]:
    body = {"account_no": "A1", "symbol": "700.HK", "side": "Buy", "order_type": "MO"}
    return body | {"submitted_quantity": "100", "time_in_force": "Day"}


async def cut(desk: Desk, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        await desk.send("POST", path, body)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("error_before", 500, 500000),
        ("rate_limited", 429, 429002),
        ("replayed_signature", 403, 403202),
        ("unauthorized", 401, 401003),
        ("refused", 400, 602001),
    ],
)
async def test_a_call_turned_away_is_not_applied(desk: Desk, kind: str, status: int, code: int) -> None:
    await desk.fault(kind=kind)
    answered = await desk.send("POST", ADJUST, cash())
    assert (answered.status, (await answered.json())["code"]) == (status, code)
    assert await desk.effects() == []
    assert (await desk.post(ADJUST, cash()))["code"] == 0


async def test_a_lost_request_is_not_applied_and_not_answered(desk: Desk) -> None:
    await desk.fault(kind="drop_request")
    await cut(desk, ADJUST, cash())
    assert await desk.effects() == []


async def test_a_lost_answer_is_applied(desk: Desk) -> None:
    await desk.fault(kind="drop_answer")
    await cut(desk, ADJUST, cash())
    assert [one["request_id"] for one in await desk.effects()] == ["r1"]
    assert (await desk.post(ADJUST, cash()))["code"] == 0
    assert len(await desk.effects()) == 1


async def test_an_error_after_is_applied(desk: Desk) -> None:
    await desk.fault(kind="error_after")
    answered = await desk.send("POST", ADJUST, cash())
    assert (answered.status, (await answered.json())["code"]) == (500, 500000)
    assert len(await desk.effects()) == 1


async def test_a_malformed_answer_is_applied(desk: Desk) -> None:
    await desk.fault(kind="malformed")
    answered = await desk.send("POST", ADJUST, cash())
    assert (answered.status, await answered.text()) == (200, '{"code":0,"message":"succ')
    assert len(await desk.effects()) == 1


async def test_a_late_apply_is_cut_at_once_and_applied_after_its_delay(desk: Desk) -> None:
    await desk.fault(kind="late_apply", delay_s=0.5)
    await cut(desk, ADJUST, cash())
    assert await desk.effects() == []
    assert [one["request_id"] for one in await desk.effects_until(1)] == ["r1"]


async def test_a_delayed_call_is_applied_though_its_client_has_gone(desk: Desk) -> None:
    await desk.fault(kind="delay", delay_s=0.3)
    with pytest.raises(TimeoutError):
        await desk.send("POST", ADJUST, cash(), timeout=ClientTimeout(total=0.1))
    assert len(await desk.effects_until(1)) == 1


async def test_a_delayed_call_is_answered(desk: Desk) -> None:
    await desk.fault(kind="delay", delay_s=0.01)
    assert (await desk.post(ADJUST, cash()))["code"] == 0


async def test_a_late_apply_after_the_resend_is_no_second_effect(desk: Desk) -> None:
    await desk.fault(kind="late_apply", delay_s=0.2)
    await desk.fault(kind="delay", delay_s=0.4)
    await cut(desk, ADJUST, cash())
    await desk.post(ADJUST, cash())
    await desk.post(ADJUST, cash(request_id="r2"))
    assert [one["request_id"] for one in await desk.effects()] == ["r1", "r2"]


@pytest.mark.parametrize(
    ("path", "body", "inner"),
    [
        (ADJUST, cash(), {"error_code": "SAVE_ERROR", "serial_num": ""}),
        (ORDER, order(), {"code": "FAILED"}),
        ("/v1/whaleapi/asset/temp_adjust", {}, {"code": "SAVE_ERROR", "adjust_no": ""}),
    ],
)
async def test_an_inner_failure_hides_in_an_outer_success(
    desk: Desk, path: str, body: dict[str, Any], inner: dict[str, str]
) -> None:
    await desk.fault(kind="inner_failed")
    answered = await desk.send("POST", path, body)
    answer = await answered.json()
    assert (answered.status, answer["code"]) == (200, 0)
    assert inner.items() <= answer["data"].items()
    assert "order_id" not in answer["data"]
    assert await desk.effects() == []


@pytest.mark.parametrize(("path", "code"), [(TEMP, "SAVE_ERROR"), (EXPIRE, "FAILED")])
async def test_an_inner_failure_of_a_flat_page_is_flat(desk: Desk, path: str, code: str) -> None:
    await desk.fault(kind="inner_failed")
    assert (await desk.post(path, {}))["code"] == code


async def test_an_inner_failure_may_carry_any_code(desk: Desk) -> None:
    await desk.fault(kind="inner_failed", code="MARKET_CLOSED")
    assert (await desk.post(ADJUST, cash()))["data"]["error_code"] == "MARKET_CLOSED"


async def test_a_refusal_may_carry_any_status_and_code(desk: Desk) -> None:
    await desk.fault(kind="refused", status=403, code=403201)
    answered = await desk.send("POST", ADJUST, cash())
    assert (answered.status, (await answered.json())["code"]) == (403, 403201)


async def test_a_rate_limit_may_come_without_json(desk: Desk) -> None:
    await desk.fault(kind="rate_limited", json=False)
    answered = await desk.send("POST", ADJUST, cash())
    assert (answered.status, answered.content_type, answered.headers["Retry-After"]) == (429, "text/plain", "1")


async def test_a_look_up_fails_too(desk: Desk) -> None:
    await desk.fault(kind="drop_answer", operation="read", times=-1)  # the client asks again by itself
    assert (await desk.post(ADJUST, cash()))["code"] == 0
    with pytest.raises(ClientError):
        await desk.get(ORDER + "/today", account_no="A1")


async def test_a_fault_waits_for_the_call_that_it_means(desk: Desk) -> None:
    await desk.fault(kind="error_before", operation="cash.adjust", account_no="A1", remark="ot")
    for other in (cash(account_no="A2"), cash(remark="x", request_id="r2"), cash(remark=None, request_id="r3")):
        assert (await desk.send("POST", ADJUST, other)).status == 200
    assert (await desk.send("POST", ORDER, order())).status == 200
    assert (await desk.send("POST", ADJUST, cash())).status == 500


async def test_the_account_and_remark_of_a_leg_are_matched_too(desk: Desk) -> None:
    await desk.fault(kind="error_before", account_no="A9", remark="lw1:")
    body = {"security_type": "CASH", "cash_adjusts": {"account_no": "A9", "remark": "lw1:tag x"}}
    assert (await desk.send("POST", TEMP, body)).status == 500


async def test_an_expire_is_matched_by_the_account_of_its_adjustment(desk: Desk) -> None:
    leg = {"account_no": "A1", "currency": "USD", "direction": "CREDIT", "incurred_amount": "1.00"}
    leg |= {"biz_code": "B", "remark": "", "expire_time": int(desk.hour.now_s) + 60}
    booked = await desk.post(TEMP, {"security_type": "CASH", "op_user": "a", "cash_adjusts": leg})
    await desk.fault(kind="error_before", account_no="A1", operation="temp.expire")
    expire = {"adjust_no": booked["adjust_no"], "op_user": "a"}
    assert (await desk.send("POST", EXPIRE, expire)).status == 500
    assert [one["account_no"] for one in await desk.calls(operation="temp.expire")] == ["A1"]


async def test_times_counts_down_and_the_next_fault_follows(desk: Desk) -> None:
    await desk.fault(kind="error_before", times=2)
    await desk.fault(kind="unauthorized")
    statuses = [(await desk.send("POST", ADJUST, cash())).status for _ in range(4)]
    assert statuses == [500, 500, 401, 200]


async def test_minus_one_is_for_ever_until_the_faults_are_cleared(desk: Desk) -> None:
    await desk.fault(kind="error_before", times=-1)
    assert [(await desk.send("POST", ADJUST, cash())).status for _ in range(3)] == [500, 500, 500]
    assert await (await desk.send("DELETE", "/_sandbox/faults")).json() == {"removed": 1}
    assert (await desk.send("POST", ADJUST, cash())).status == 200


@pytest.mark.parametrize("kind", list(Kind))
async def test_every_kind_is_taken_with_all_documented_fields(desk: Desk, kind: Kind) -> None:
    await desk.fault(operation="cash.freeze", account_no="A1", remark="x", kind=kind, times=1, delay_s=0.5)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({}, "kind"),
        ({"kind": "explode"}, "kind"),
        ({"kind": "delay", "operation": "cash.move"}, "operation"),
        ({"kind": "delay", "operation": "sweep"}, "operation"),
        ({"kind": "delay", "times": 0}, "times"),
        ({"kind": "delay", "times": -2}, "times"),
        ({"kind": "delay", "delay_s": "1"}, "delay_s"),
        ({"kind": "delay", "delay_s": -1}, "delay_s"),
        ({"kind": "refused", "code": "NO"}, "code"),
        ({"kind": "delay", "delay": 1}, "delay"),
    ],
)
async def test_a_wrong_fault_is_refused_by_name(desk: Desk, fault: dict[str, Any], named: str) -> None:
    refused = await desk.send("POST", "/_sandbox/faults", fault)
    answer = await refused.json()
    assert (refused.status, answer["message"].partition(":")[0]) == (400, named)


async def test_many_calls_at_once_are_each_applied_once(desk: Desk) -> None:
    await desk.fault(kind="error_after", times=5)
    bodies = [cash(request_id=f"r{number}", account_no=f"A{number}") for number in range(40)]
    await asyncio.gather(*(desk.send("POST", ADJUST, body) for body in bodies))
    assert sorted(one["request_id"] for one in await desk.effects()) == sorted(body["request_id"] for body in bodies)
