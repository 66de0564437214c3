"""Looks: what the brokerage's own lists say about a call that is in doubt. A look changes nothing and may be repeated.

Paging is documented without its first page's number and default size, so the first read names no page; the pages 1, 2, …
follow while `has_more` says so (page 1 may repeat the first read). Absence counts only when every page was read.
"""

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from worker.ledger.verdicts import Absent, Ended, Evidence, Numbers, Request, Seen, Unreadable
from worker.whale.entry import Intent, LookInput, Reader, query_request, remark_of_change, tag
from worker.whale.wire import Answer, Exchange, clean, number_in, read_envelope

ORDER_PATH: Final = "/v1/whaleapi/trade/order"
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 500
HISTORY_MARGIN_S: Final = 86_400  # our clock may differ from the brokerage's, and its day from ours
HTTP_OK: Final = 200

WITHDRAWN: Final = frozenset({"WaitToCancel", "PendingCancelStatus", "CanceledStatus", "PartialWithdrawal"})
BEING_REPLACED: Final = frozenset({"WaitToReplace", "PendingReplaceStatus", "ReplacedNotReported"})
LIVE: Final = frozenset(
    {
        "NotReported",
        "ProtectedNotReported",
        "VarietiesNotReported",
        "WaitToNew",
        "NewStatus",
        "ReplacedStatus",
        "PartialFilledStatus",
    }
)
ENDS: Final = frozenset({"FilledStatus", "RejectedStatus", "CanceledStatus", "ExpiredStatus", "PartialWithdrawal"})
KNOWN: Final = WITHDRAWN | BEING_REPLACED | LIVE | ENDS

CHANGEABLE: Final = (
    "quantity",
    "price",
    "trigger_price",
    "trailing_amount",
    "trailing_percent",
    "limit_offset",
    "limit_depth_level",
    "monitor_price",
    "trigger_count",
)


async def look_for_order(reader: Reader, look: LookInput) -> Evidence:
    """Look for our tag in the remarks of today's and of historical orders, every page of both."""
    wanted = tag(look.intent.command_id).strip()
    account_no = look.intent.account_no
    start_at = str(max(0, int(look.first_sent_unix_s) - HISTORY_MARGIN_S))
    read_count = 0
    for name, fields in (
        ("today", {"account_no": account_no}),
        ("history", {"account_no": account_no, "start_at": start_at}),
    ):
        found = await _search(reader, f"{ORDER_PATH}/{name}", fields, wanted)
        if not isinstance(found, int):
            return found
        read_count += found
    return Absent(f"no order with {wanted} among {read_count} of today's and historical orders")


async def look_for_withdrawal(reader: Reader, look: LookInput) -> Evidence:
    """Ask for the order: cancelled or being cancelled is Seen, another end is Ended, else Absent."""
    order = await read_order(reader, look.intent)
    if isinstance(order, Unreadable):
        return order
    status = str(order.get("status"))
    if status in WITHDRAWN:
        return Seen(_numbers(look.intent), f"the order is {status}", _shown(order))
    if status in ENDS:
        return Ended(status, f"the order ended as {status}")
    return Absent(f"the order is {status}")


async def look_for_change(reader: Reader, look: LookInput) -> Evidence:
    """Ask for the order: wanted values present (compared as numbers) or being replaced is Seen, an end is Ended.

    A wanted value that the answer does not show proves nothing.
    """
    order = await read_order(reader, look.intent)
    if isinstance(order, Unreadable):
        return order
    status = str(order.get("status"))
    differing = _differing(order, look.intent)
    if not differing:
        return Seen(_numbers(look.intent), f"the order is {status} and has the values asked for", _shown(order))
    if status in BEING_REPLACED:
        return Seen(_numbers(look.intent), f"the order is {status}", _shown(order))
    if status in ENDS:
        return Ended(status, f"the order ended as {status} without the change of {', '.join(differing)}")
    return Absent(f"the order is {status}; not as asked for, or not shown: {', '.join(differing)}")


async def read_order(reader: Reader, intent: Intent) -> Mapping[str, Any] | Unreadable:
    """Return the order as Order Details shows it, with a known status; also the state to keep before a call."""
    order_id = _numbers(intent).order_id
    exchange = await reader(query_request("GET", ORDER_PATH, {"order_id": order_id, "account_no": intent.account_no}))
    data = read_data(exchange)
    if isinstance(data, Unreadable):
        return data
    if number_in(data, "order_id") != order_id:
        return Unreadable("the answer is not about that order")
    status = data.get("status")
    if not isinstance(status, str) or status not in KNOWN:
        return Unreadable(clean(f"unknown order status {status!r}"))
    return data


def read_data(exchange: Exchange) -> Mapping[str, Any] | Unreadable:
    """Return `data` of a successful look-up, else why there is none; for looks and for every other read."""
    if not isinstance(exchange, Answer):
        return Unreadable(f"no answer ({exchange.kind}): {exchange.message}")
    envelope = read_envelope(exchange.body)
    if envelope is None:
        return Unreadable(f"HTTP {exchange.status} with a body that cannot be read")
    if exchange.status != HTTP_OK or envelope.code != "0":
        return Unreadable(f"HTTP {exchange.status}, code {envelope.code}: {envelope.message}")
    return Unreadable("success without data") if envelope.data is None else envelope.data


def credentials_check(account_no: str) -> Request:
    """Return the signed read that tells a refused signature (403201) of one command from one of the whole client."""
    return query_request("GET", f"{ORDER_PATH}/today", {"account_no": account_no, "size": "1"})


async def order_pages(
    reader: Reader, path: str, fields: Mapping[str, str]
) -> AsyncIterator[dict[str, Mapping[str, Any]] | Unreadable]:
    """Give a list of orders page by page, rows by number; the last thing given says why, where its end was not reached."""
    known: set[str] = set()
    for page in range(PAGES_MAX):
        query = {**fields, "page": str(page) if page else None, "size": str(PAGE_SIZE)}
        data = read_data(await reader(query_request("GET", path, query)))
        if isinstance(data, Unreadable):
            yield data
            return
        rows = _rows(data)
        if rows is None:
            yield Unreadable("a list of orders without `orders` or `has_more`")
            return
        yield rows
        fresh = rows.keys() - known
        known |= fresh
        if not data["has_more"]:
            return
        if not fresh and page > 1:
            yield Unreadable(f"page {page} brings nothing new although there is said to be more")
            return
    yield Unreadable(f"more than {PAGES_MAX} pages of orders")


async def _search(reader: Reader, path: str, fields: Mapping[str, str], wanted: str) -> Seen | Unreadable | int:
    """Return the order found, why the list could not be read to its end, or how many orders were read."""
    known: set[str] = set()
    async for rows in order_pages(reader, path, fields):
        if isinstance(rows, Unreadable):
            return rows
        matching = [row for row in rows.values() if wanted in _text(row.get("remark"))]
        if matching:
            return _found(matching)
        known |= rows.keys()
    return len(known)


def _rows(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]] | None:
    orders = data.get("orders")
    if orders is None and data.get("has_more") is False:
        return {}
    if not isinstance(orders, list) or not isinstance(data.get("has_more"), bool):
        return None
    rows: dict[str, Mapping[str, Any]] = {}
    for row in orders:
        number = number_in(row, "order_id") if isinstance(row, dict) else None
        if number is None:
            return None
        rows[number] = row
    return rows


def _found(matching: list[Mapping[str, Any]]) -> Seen:
    ids = sorted(str(row["order_id"]) for row in matching)
    detail = {"order_ids": " ".join(ids), **_shown(matching[0])}
    return Seen(Numbers(order_id=ids[0]), f"found by its tag: order {', '.join(ids)}", detail)


def _differing(order: Mapping[str, Any], intent: Intent) -> list[str]:
    names = [
        name
        for name in CHANGEABLE
        if (wanted := intent.payload.get(name)) is not None and not _same_number(order.get(name), wanted)
    ]
    remark = remark_of_change(intent)
    if remark is not None and _text(order.get("remark")).strip() != remark.strip():
        names.append("remark")
    return names


def _same_number(shown: object, wanted: object) -> bool:
    first, second = _decimal(shown), _decimal(wanted)
    return first is not None and first == second


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _shown(order: Mapping[str, Any]) -> dict[str, str]:
    names = ("status", *CHANGEABLE, "executed_quantity", "remark", "updated_at")
    return {name: clean(str(order[name])) for name in names if order.get(name) is not None}


def _numbers(intent: Intent) -> Numbers:
    if intent.target is None or intent.target.order_id is None:
        raise ValueError("the order's number must be known before it is looked for")
    return intent.target
