import asyncio
from typing import Any

import pytest

from tests.contract.sandbox.desk import DEADLINE_S, Desk

ADJUST = "/v1/whaleapi/asset/adjust_cash"


def cash(**more: Any) -> dict[str, Any]:
    return {"account_no": "A1", "direction": 1, "currency": "USD", "amount": "10.00", "biz_code": "B", **more}


async def test_an_effect_tells_what_was_asked_and_when(desk: Desk) -> None:
    answer = await desk.post(ADJUST, cash(request_id="r1", remark="note"))
    assert await desk.effects() == [
        {
            "operation": "cash.adjust",
            "account_no": "A1",
            "request": cash(request_id="r1", remark="note"),
            "request_id": "r1",
            "remark": "note",
            "number": answer["data"]["serial_num"],
            "received_at": "2026-09-21T14:13:20.000000Z",
            "applied_at": "2026-09-21T14:13:20.000000Z",
        }
    ]


async def test_effects_and_calls_are_narrowed_by_account_and_operation(desk: Desk) -> None:
    for account_no in ("A1", "A2", "A1"):
        await desk.post(ADJUST, cash(account_no=account_no))
    await desk.get("/v1/whaleapi/asset/cash_info", account_no="A1")
    assert len(await desk.effects(account_no="A1")) == 2
    assert await desk.effects(account_no="A1", operation="order.place") == []
    assert len(await desk.calls(account_no="A1")) == 3
    assert [call["query"] for call in await desk.calls(operation="read")] == ["account_no=A1"]


async def test_a_call_is_kept_with_its_answer_whether_or_not_it_was_applied(desk: Desk) -> None:
    done = await desk.post(ADJUST, cash(request_id="r1"))
    await desk.post(ADJUST, cash(request_id="r1"))
    await desk.send("POST", ADJUST, cash(amount="x"))
    await desk.fault(kind="malformed")
    await desk.post_text(ADJUST, cash(request_id="r2"))
    calls = await desk.calls()
    assert [(one["status"], one["applied"], one["fault"]) for one in calls] == [
        (200, True, None),
        (200, False, None),
        (400, False, None),
        (200, True, "malformed"),
    ]
    assert calls[0]["answer"] == calls[1]["answer"] == done
    assert calls[3]["answer"] == '{"code":0,"message":"succ'


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 50_000, b'{"a":' * 50_000])
async def test_an_unreadable_body_is_refused_and_kept(desk: Desk, body: bytes) -> None:
    async with desk.session.post(desk.url + ADJUST, data=body) as refused:
        assert refused.status == 400
        assert (await refused.json())["code"] == 400
    assert [one["status"] for one in await desk.calls()] == [400]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v3/x", 404), ("GET", ADJUST, 405)])
async def test_an_unknown_path_or_method_has_an_envelope_and_is_kept(
    desk: Desk, method: str, path: str, status: int
) -> None:
    refused = await desk.send(method, path)
    assert (refused.status, (await refused.json())["code"]) == (status, status)
    assert [(one["path"], one["operation"]) for one in await desk.calls()] == [(path, None)]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_sandbox/nothing", 404),
        ("PUT", "/_sandbox/faults", 405),
        ("GET", "/_sandbox/effects?account=A1", 400),
        ("POST", "/_sandbox/accounts", 400),
    ],
)
async def test_a_wrong_use_of_the_own_endpoints_is_refused(desk: Desk, method: str, path: str, status: int) -> None:
    refused = await desk.send(method, path)
    assert refused.status == status
    assert await desk.calls() == []


async def test_a_request_that_was_cut_short_was_never_received(desk: Desk) -> None:
    host, port = desk.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {ADJUST} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await desk.post(ADJUST, cash()))["code"] == 0
    assert len(await desk.calls()) == 1


async def test_a_query_is_kept_as_it_was_on_the_wire(desk: Desk) -> None:
    host, port = desk.url.removeprefix("http://").split(":")
    query = "account_no=A1&z=a%20b+c&x=%E4%B8%AD,%27%22%3C%3E{}|^`~!*()"
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /v1/whaleapi/asset/cash_info?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert [one["query"] for one in await desk.calls()] == [query]
