"""A look says Seen only for what is there, and Absent only when everything was read."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import pytest

from worker.ledger.verdicts import Absent, Ended, Evidence, Numbers, Request, Seen, Unreadable
from worker.whale.operations import REGISTRY, Intent, LookInput, Variants, tag
from worker.whale.probes import BEING_REPLACED, ENDS, HISTORY_MARGIN_S, LIVE, PAGE_SIZE, WITHDRAWN
from worker.whale.wire import Answer, Exchange, NoAnswer

ID = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
FIRST_SENT_S = 1_795_363_200.5


def ok(data: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps({"code": 0, "message": "success", "data": data}).encode(), {}, 1.0, 2.0)


def order(number: int, remark: object = "") -> dict[str, Any]:
    return {"order_id": str(number), "remark": remark, "status": "NewStatus", "quantity": "100"}


class Lists:
    """Today's and historical orders, in pages; the first page's number is 0 or 1."""

    def __init__(
        self, today: Sequence[Any] = (), history: Sequence[Any] = (), *, size: int = 2, first: int = 1
    ) -> None:
        self.lists = {"today": list(today), "history": list(history)}
        self.size, self.first = size, first
        self.broken: dict[str, Exchange] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def __call__(self, request: Request) -> Exchange:
        name = request.path.rsplit("/", 1)[1]
        query = {key: values[0] for key, values in parse_qs(request.query).items()}
        self.asked.append((name, query))
        page = int(query.get("page", self.first)) - self.first
        if name in self.broken and page > 0:
            return self.broken[name]
        rows, end = self.lists[name], (page + 1) * self.size
        return ok({"orders": rows[page * self.size : end], "has_more": end < len(rows)})


def look_input(target: Numbers | None = None, **payload: Any) -> LookInput:
    return LookInput(Intent(ID, "H1", payload, None, target), FIRST_SENT_S, Variants())


async def look(command_type: str, reader: Any, given: LookInput) -> Evidence:
    probe = REGISTRY[command_type].look
    assert probe is not None
    return await probe(reader, given)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("name", ["today", "history"])
async def test_an_order_is_found_by_its_tag_on_any_page(name: str, place: int, first: int) -> None:
    rows = [order(number, "of somebody") for number in range(7)]
    rows[place] = order(99, tag(ID) + "mine")
    found = await look("order.place", Lists(**{name: rows}, first=first), look_input())  # type: ignore[arg-type]
    assert isinstance(found, Seen)
    assert found.numbers == Numbers(order_id="99")


@pytest.mark.parametrize("remark", [tag(ID), tag(ID).strip(), "x " + tag(ID) + "y"])
async def test_a_trimmed_or_prefixed_remark_is_still_ours(remark: str) -> None:
    assert isinstance(await look("order.place", Lists([order(1, remark)]), look_input()), Seen)


async def test_an_order_alike_in_all_but_its_tag_is_not_ours() -> None:
    others = [order(1), order(2, "mine"), order(3, tag(UUID(int=ID.int + 1)) + "mine")]
    found = await look("order.place", Lists(others), look_input(quantity="100", price="88.50", remark="mine"))
    assert isinstance(found, Absent)


@pytest.mark.parametrize("first", [0, 1])
async def test_absent_needs_every_page_of_both_lists(first: int) -> None:
    lists = Lists([order(n) for n in range(5)], [order(n) for n in range(10, 17)], first=first)
    found = await look("order.place", lists, look_input())
    assert found == Absent(f"no order with {tag(ID).strip()} among 12 of today's and historical orders")


async def test_what_is_asked_for_names_the_account_and_the_time_before_the_first_call() -> None:
    lists = Lists()
    await look("order.place", lists, look_input())
    assert lists.asked == [
        ("today", {"account_no": "H1", "size": str(PAGE_SIZE)}),
        ("history", {"account_no": "H1", "start_at": str(1_795_363_200 - HISTORY_MARGIN_S), "size": str(PAGE_SIZE)}),
    ]


@pytest.mark.parametrize("name", ["today", "history"])
@pytest.mark.parametrize(
    "broken",
    [
        NoAnswer(sent=True, kind="timeout", message=""),
        ok({"orders": []}),
        ok({"orders": None, "has_more": True}),
        ok({"orders": [{"remark": ""}], "has_more": False}),
        ok({"orders": [7], "has_more": False}),
        ok(None),
        ok({"orders": [], "has_more": False}, status=500),
        Answer(400, b'{"code":400,"message":"m"}', {}, 1.0, 2.0),
        Answer(200, b"<html>", {}, 1.0, 2.0),
        ok({"orders": [order(1)], "has_more": True}),  # the same page for ever
    ],
)
async def test_a_list_that_cannot_be_read_to_its_end_proves_nothing(name: str, broken: Exchange) -> None:
    lists = Lists([order(n) for n in range(5)], [order(n) for n in range(5)])
    lists.broken[name] = broken
    assert isinstance(await look("order.place", lists, look_input()), Unreadable)
    assert len(lists.asked) < 10


class Details:
    def __init__(self, answer: Exchange) -> None:
        self.answer = answer

    async def __call__(self, request: Request) -> Exchange:
        assert request == Request("GET", "/v1/whaleapi/trade/order", "order_id=70&account_no=H1")
        return self.answer


def details(status: str, **fields: Any) -> Details:
    return Details(ok({"order_id": "70", "status": status, "quantity": "100.000", "price": "88.50", **fields}))


ORDER = Numbers(order_id="70")


@pytest.mark.parametrize(
    ("statuses", "evidence"),
    [(WITHDRAWN, Seen), (ENDS - WITHDRAWN, Ended), (LIVE | BEING_REPLACED, Absent), ({"Unheard"}, Unreadable)],
)
async def test_a_withdrawal_is_judged_by_the_order_status(statuses: set[str], evidence: type[Evidence]) -> None:
    for status in statuses:
        found = await look("order.withdraw", details(status), look_input(ORDER))
        assert isinstance(found, evidence), status
        if isinstance(found, Seen):
            assert found.numbers == ORDER


@pytest.mark.parametrize(
    ("status", "payload", "evidence"),
    [
        ("NewStatus", {"quantity": "100"}, Seen),
        ("NewStatus", {"quantity": "100", "price": "88.5"}, Seen),
        ("FilledStatus", {"quantity": "100", "price": "88.5"}, Seen),
        ("NewStatus", {"quantity": "100", "price": "88.51"}, Absent),
        ("NewStatus", {"quantity": "100", "monitor_price": "1"}, Absent),
        ("NewStatus", {"quantity": "100", "trigger_count": 2}, Absent),
        ("NewStatus", {"quantity": "100", "remark": "new"}, Absent),
        ("WaitToReplace", {"quantity": "1"}, Seen),
        ("PendingReplaceStatus", {"quantity": "1"}, Seen),
        ("FilledStatus", {"quantity": "1"}, Ended),
        ("CanceledStatus", {"quantity": "1"}, Ended),
        ("Unheard", {"quantity": "100"}, Unreadable),
    ],
)
async def test_a_change_is_seen_when_its_values_are_there_as_numbers(
    status: str, payload: dict[str, Any], evidence: type[Evidence]
) -> None:
    assert isinstance(await look("order.modify", details(status), look_input(ORDER, **payload)), evidence)


async def test_a_changed_remark_is_compared_with_its_tag() -> None:
    given = LookInput(Intent(ID, "H1", {"quantity": "100", "remark": "new"}, None, ORDER, tag(ID)), 0.0, Variants())
    assert isinstance(await look("order.modify", details("NewStatus", remark=tag(ID) + "new"), given), Seen)
    assert isinstance(await look("order.modify", details("NewStatus", remark=tag(ID) + "old"), given), Absent)


@pytest.mark.parametrize("command_type", ["order.modify", "order.withdraw"])
@pytest.mark.parametrize(
    "answer",
    [
        NoAnswer(sent=False, kind="refused", message=""),
        Answer(400, b'{"code":400,"message":"no such order"}', {}, 1.0, 2.0),
        ok({"order_id": "71", "status": "CanceledStatus", "quantity": "100"}),
        ok({"order_id": "70", "quantity": "100"}),
        ok({}),
    ],
)
async def test_an_answer_about_nothing_proves_nothing(command_type: str, answer: Exchange) -> None:
    given = look_input(ORDER, quantity="100")
    assert isinstance(await look(command_type, Details(answer), given), Unreadable)
