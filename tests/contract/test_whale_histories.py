"""A history is read whole, whatever the brokerage does with pages, sizes and ends of ranges, or said not to be."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.brokerage import Brokerage
from sandbox.ledger import Ledger
from sandbox.serve import Options, opened
from tests.contract.whale_calls import client
from worker.ledger.books import Book, Line
from worker.ledger.verdicts import Request, Unreadable
from worker.whale.client import WhaleClient
from worker.whale.histories import CASH, FREEZES, POSITIONS, History, read_history, read_one_order, read_orders
from worker.whale.probes import PAGE_SIZE
from worker.whale.wire import Answer, Exchange, NoAnswer

START_S, END_S = 1_790_000_000, 1_790_003_600


def ok(data: Any) -> Answer:
    return Answer(200, json.dumps({"code": 0, "data": data}).encode(), {}, 1.0, 2.0)


def row(number: int, at_s: int, **changes: Any) -> dict[str, Any]:
    shown = {"flow_name": "Cash Adjustment", "amount": "-20.00", "currency": "HKD", "bussiness_time": str(at_s)}
    return {
        **shown,
        "description": "",
        "direction": 1,
        "serial_num": str(number),
        "bussiness_code": "B",
        **changes,
    }


class Flows:
    """A brokerage that has these lines and shows at most `size_max` of a range, or as many as were asked for."""

    def __init__(
        self, rows: list[dict[str, Any]], *, honours_size: bool, rows_max: int = 10**6, open_ends: bool
    ) -> None:
        self.rows, self.honours_size, self.rows_max, self.open_ends = rows, honours_size, rows_max, open_ends
        self.calls_count = 0

    async def __call__(self, request: Request) -> Exchange:
        self.calls_count += 1
        asked = json.loads(request.body)
        inset = 1 if self.open_ends else 0
        start, end = asked["start_time"] + inset, asked["end_time"] - inset
        found = [one for one in self.rows if start <= int(one["bussiness_time"]) <= end]
        if len(found) > self.rows_max:
            return NoAnswer(sent=True, kind="too_large", message="more than can be read")
        return ok({"financial_flows_list": found[: asked["size"]] if self.honours_size else found})


async def read(reader: Any, history: History = CASH) -> list[Line] | Unreadable:
    return await read_history(reader, history, "A1", START_S, END_S)


@pytest.mark.parametrize("open_ends", [True, False])
@pytest.mark.parametrize("honours_size", [True, False])
@pytest.mark.parametrize("count", [0, 1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 7 * PAGE_SIZE])
async def test_all_lines_of_a_range_are_read_once(count: int, *, honours_size: bool, open_ends: bool) -> None:
    outside = [row(10**6, START_S - 1), row(10**6 + 1, END_S + 1)]
    span = END_S - START_S
    rows = [row(n, START_S + n * span // max(1, count - 1)) for n in range(count)]
    found = await read(Flows([*rows, *outside], honours_size=honours_size, open_ends=open_ends))
    assert not isinstance(found, Unreadable)
    assert sorted(int(line.number) for line in found) == list(range(count))


async def test_an_answer_that_is_too_large_is_asked_for_in_halves() -> None:
    rows = [row(n, START_S + n) for n in range(1000)]
    flows = Flows(rows, honours_size=False, rows_max=300, open_ends=False)
    found = await read(flows)
    assert isinstance(found, list)
    assert len(found) == 1000
    assert flows.calls_count < 40


async def test_a_second_with_more_lines_than_are_shown_is_not_taken_for_whole() -> None:
    rows = [row(n, START_S + 7) for n in range(PAGE_SIZE + 5)]
    flows = Flows(rows, honours_size=True, open_ends=False)
    assert isinstance(await read(flows), Unreadable)
    assert flows.calls_count < 30


@pytest.mark.parametrize(
    "wrong",
    [
        {"serial_num": ""},
        {"serial_num": None},
        {"amount": "1e"},
        {"amount": None},
        {"amount": "NaN"},
        {"direction": 3},
        {"direction": 2},  # in, with an amount that goes out
        {"currency": None},
        {"bussiness_time": "yesterday"},
        {"bussiness_time": "999999999999999"},
    ],
)
async def test_a_line_that_cannot_be_read_is_not_passed_over(wrong: dict[str, Any]) -> None:
    async def shows_it(_request: Request) -> Exchange:
        return ok({"financial_flows_list": [row(1, START_S), row(2, START_S) | wrong]})

    assert isinstance(await read(shows_it), Unreadable)


@pytest.mark.parametrize("direction", [1, "1"], ids=["number", "text"])
@pytest.mark.parametrize("amount", ["20", "-20.00", "20.0"])
async def test_the_direction_gives_an_amount_its_sign(amount: str, direction: object) -> None:
    found = await read(Flows([row(1, START_S, amount=amount, direction=direction)], honours_size=True, open_ends=False))
    assert isinstance(found, list)
    assert found[0].amount == -20


async def test_no_answer_is_no_empty_history() -> None:
    async def silent(_request: Request) -> Exchange:
        return NoAnswer(sent=True, kind="timeout", message="too late")

    assert isinstance(await read(silent), Unreadable)
    assert isinstance(await read_orders(silent, "A1", START_S, END_S), Unreadable)
    assert isinstance(await read_one_order(silent, "A1", "O1"), Unreadable)


@pytest.fixture
async def whale() -> AsyncIterator[WhaleClient]:
    """A client of a sandbox whose time stands still within the range."""
    brokerage = Brokerage(Ledger(wall_s=lambda: START_S + 60.0))
    async with opened(Options(), brokerage) as url, client(url) as opened_client:
        yield opened_client


async def do(whale: WhaleClient, method: str, path: str, **fields: Any) -> dict[str, Any]:
    answer = await whale.read(Request(method, path, "", json.dumps({"account_no": "A1", **fields}).encode()))
    assert isinstance(answer, Answer)
    data: dict[str, Any] = json.loads(answer.body)["data"]
    return data


async def test_the_sandbox_shows_every_effect_in_its_history(whale: WhaleClient) -> None:
    asset = "/v1/whaleapi/asset"
    paid = await do(whale, "POST", f"{asset}/adjust_cash", direction=0, currency="USD", amount="20", biz_code="B")
    await do(
        whale, "POST", f"{asset}/adjust_stock", direction=1, market="HK", symbol="700.HK", quantity="9", biz_code="B"
    )
    freeze = await do(whale, "POST", f"{asset}/frozen_cash", currency="USD", frozen_amount="35", biz_code="B")
    serial = freeze["serial_num"]
    await do(
        whale, "POST", f"{asset}/unfrozen_cash", currency="USD", unfrozen_amount="5", biz_code="B", serial_num=serial
    )
    await do(whale, "POST", f"{asset}/unfrozen_debit", serial_num=serial)
    shown = {}
    for history in (CASH, POSITIONS, FREEZES):
        lines = await read_history(whale.read, history, "A1", START_S, END_S)
        assert isinstance(lines, list)
        shown[history.book] = sorted((line.unit, float(line.amount)) for line in lines)
        assert await read_history(whale.read, history, "A1", END_S - 60, END_S) == []
        if history is CASH:
            assert paid["serial_num"] in {line.number for line in lines}
    assert shown == {
        Book.CASH: [("USD", -30.0), ("USD", -20.0)],
        Book.POSITIONS: [("700.HK", 9.0)],
        Book.FREEZES: [("USD", -30.0), ("USD", -5.0), ("USD", 35.0)],
    }


async def test_orders_are_read_by_range_and_one_by_its_number(whale: WhaleClient) -> None:
    fields = {"symbol": "700.HK", "side": "Buy", "order_type": "LO", "time_in_force": "Day", "submitted_price": "88.5"}
    placed = [
        (await do(whale, "POST", "/v1/whaleapi/trade/order", submitted_quantity="10", **fields))["order_id"]
        for _ in range(PAGE_SIZE + 1)
    ]
    found = await read_orders(whale.read, "A1", START_S, END_S)
    assert isinstance(found, list)
    assert sorted(line.number for line in found) == sorted(placed)
    assert await read_orders(whale.read, "A1", END_S - 60, END_S) == []
    one = await read_one_order(whale.read, "A1", placed[0])
    assert isinstance(one, Line)
    assert (one.amount, one.terms["price"]) == (10, "88.500")
    assert await read_one_order(whale.read, "A1", "12") is None
