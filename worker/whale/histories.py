"""The brokerage's histories of one account: cash, positions, freezes and orders, each read whole or not at all.

The pages say that `page` is not applied when a time range is given, and not what `size` does then. So no page is asked for:
a range that brings exactly `size` rows, or more bytes than an answer may have, is halved and read again.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from worker.ledger.books import Book, Line, decimal_of
from worker.ledger.verdicts import Request, Unreadable
from worker.whale.entry import Reader, json_request, query_request, tagged_id
from worker.whale.probes import ORDER_PATH, PAGE_SIZE, order_pages, read_data
from worker.whale.wire import Answer, NoAnswer, clean, number_in, read_envelope

SECONDS_MAX: Final = 10**11
REFUSED: Final = (400, 404)
_ASSET: Final = "/v1/whaleapi/asset"
_SIDES: Final = {"1": -1, "2": 1}  # of flows: 1 out, 2 in; adjustments count otherwise
_FROZEN_TYPES: Final = {"1": 1, "2": -1, "LOCK": 1, "UNLOCK": -1}
_TERMS: Final = ("symbol", "side", "quantity", "price", "status")


class History(NamedTuple):
    """One list of lines: how it is asked for, and where its answer keeps what."""

    book: Book
    method: str
    path: str
    rows: str
    unit: str
    amount: str
    direction: str
    signs: Mapping[str, int]


CASH: Final = History(
    Book.CASH, "POST", f"{_ASSET}/financial_flows", "financial_flows_list", "currency", "amount", "direction", _SIDES
)
POSITIONS: Final = History(
    Book.POSITIONS, "POST", f"{_ASSET}/stock_flows", "financial_flows_list", "symbol", "quantity", "direction", _SIDES
)
FREEZES: Final = History(
    Book.FREEZES,
    "GET",
    f"{_ASSET}/financial_frozen_flows",
    "frozen_flows_list",
    "currency",
    "amount",
    "frozen_type",
    _FROZEN_TYPES,
)
HISTORIES: Final = (CASH, POSITIONS, FREEZES)


async def read_history(
    reader: Reader, history: History, account_no: str, start_s: int, end_s: int
) -> list[Line] | Unreadable:
    """Return all lines of the seconds from `start_s` to `end_s`, both included."""
    exchange = await reader(_request(history, account_no, start_s, end_s))
    too_large = isinstance(exchange, NoAnswer) and exchange.kind == "too_large"
    if not too_large:
        data = read_data(exchange)
        if isinstance(data, Unreadable):
            return data
        lines = _lines(history, data)
        if isinstance(lines, Unreadable) or len(lines) != PAGE_SIZE:
            return lines if isinstance(lines, Unreadable) else _within(lines, start_s, end_s)
    if start_s == end_s:
        return Unreadable(f"the {history.book} history of second {start_s} has more lines than can be told to be all")
    middle = (start_s + end_s) // 2
    first = await read_history(reader, history, account_no, start_s, middle)
    if isinstance(first, Unreadable):
        return first
    second = await read_history(reader, history, account_no, middle + 1, end_s)
    return second if isinstance(second, Unreadable) else first + second


async def read_orders(reader: Reader, account_no: str, start_s: int, end_s: int) -> list[Line] | Unreadable:
    """Return the orders submitted in those seconds, out of today's and the historical ones, every page of both."""
    found: dict[str, Line] = {}
    for name, fields in (
        ("today", {"account_no": account_no}),
        ("history", {"account_no": account_no, "start_at": str(start_s), "end_at": str(end_s)}),
    ):
        async for rows in order_pages(reader, f"{ORDER_PATH}/{name}", fields):
            if isinstance(rows, Unreadable):
                return rows
            for row in rows.values():
                line = _order(row)
                if isinstance(line, Unreadable):
                    return line
                found[line.number] = line
    return _within(list(found.values()), start_s, end_s)


async def read_one_order(reader: Reader, account_no: str, order_id: str) -> Line | Unreadable | None:
    """Return one order by its number; None where the brokerage refuses the question: it has no such order."""
    exchange = await reader(query_request("GET", ORDER_PATH, {"order_id": order_id, "account_no": account_no}))
    data = read_data(exchange)
    if not isinstance(data, Unreadable):
        return _order(data)
    refused = isinstance(exchange, Answer) and exchange.status in REFUSED and read_envelope(exchange.body) is not None
    return None if refused else data


def _request(history: History, account_no: str, start_s: int, end_s: int) -> Request:
    # whether the ends belong to the range is not said, so a second more is asked for on both sides
    fields = {
        "account_no": account_no,
        "start_time": max(0, start_s - 1),
        "end_time": end_s + 1,
        "size": PAGE_SIZE,
    }
    if history.method == "POST":
        return json_request("POST", history.path, fields)
    return query_request("GET", history.path, {name: str(value) for name, value in fields.items()})


def _lines(history: History, data: Mapping[str, Any]) -> list[Line] | Unreadable:
    rows = data.get(history.rows)
    if rows is None:
        rows = []
    if not isinstance(rows, list):
        return Unreadable(f"the {history.book} history has no {history.rows}")
    lines = []
    for row in rows:
        line = _line(history, row) if isinstance(row, dict) else None
        if line is None:
            return Unreadable(clean(f"a line of the {history.book} history cannot be read: {row!r}"))
        lines.append(line)
    return lines


def _line(history: History, row: Mapping[str, Any]) -> Line | None:
    number, at, unit = number_in(row, "serial_num"), _instant(row.get("bussiness_time")), row.get(history.unit)
    amount, sign = decimal_of(row.get(history.amount)), history.signs.get(str(row.get(history.direction)))
    if number is None or at is None or amount is None or sign is None or not isinstance(unit, str):
        return None
    if amount < 0 and sign > 0:
        return None  # it says in and out at once
    text = clean(str(row.get("description") or row.get("flow_name") or ""))
    code = clean(str(row.get("bussiness_code") or ""))
    return Line(history.book, number, clean(unit), abs(amount) * Decimal(sign), at, text, code, tagged_id(text))


def _order(row: Mapping[str, Any]) -> Line | Unreadable:
    number, at, quantity = (
        number_in(row, "order_id"),
        _instant(row.get("submitted_at")),
        decimal_of(row.get("quantity")),
    )
    if number is None or at is None or quantity is None:
        return Unreadable(clean(f"an order cannot be read: {row!r}"))
    remark = row.get("remark")
    text = clean(remark) if isinstance(remark, str) else ""
    terms = {name: clean(str(row.get(name) or "")) for name in _TERMS}
    return Line(Book.ORDERS, number, terms["symbol"], quantity, at, text, "", tagged_id(text), terms)


def _within(lines: Sequence[Line], start_s: int, end_s: int) -> list[Line]:
    return [line for line in lines if start_s <= int(line.at.timestamp()) <= end_s]


def _instant(value: object) -> datetime | None:
    """Read unix seconds, as the pages show them: a whole number as text, perhaps with decimals."""
    seconds = decimal_of(value)
    if seconds is None or not 0 <= seconds < SECONDS_MAX:
        return None
    return datetime.fromtimestamp(int(seconds), UTC)
