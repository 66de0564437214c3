"""Whether the brokerage shows a number that a person gives, and as ours: reads that change nothing.

An order is asked for by its number and must carry our tag. A serial number is looked for in the account's histories and
must have our amount. Temporary adjustments are shown by nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal

from worker.ledger.verdicts import Numbers, Request
from worker.whale.entry import Intent, Reader, json_request, query_request, tag
from worker.whale.probes import HISTORY_MARGIN_S, PAGE_SIZE, read_data, read_order
from worker.whale.wire import Answer, Exchange, clean, number_in, read_envelope

PAGES_MAX: Final = 50
HTTP_BAD_REQUEST: Final = 400
OUT, IN = 1, 2  # of flows; adjustments count otherwise
DENIED: Final = ("401", "403", "429")


@dataclass(frozen=True, slots=True)
class Shown:
    """What was seen: the number is `ours`, it is `not_ours`, or it cannot be told (`unknown`) and why."""

    verdict: Literal["ours", "not_ours", "unknown"]
    told: str


@dataclass(frozen=True, slots=True)
class History:
    """One list of what was booked: where it is, under which member its rows are, and what they count."""

    path: str
    rows: str
    unit: str
    amount: Literal["amount", "quantity"]
    method: Literal["GET", "POST"]


_CASH = History("/v1/whaleapi/asset/financial_flows", "financial_flows_list", "currency", "amount", "POST")
_STOCK = History("/v1/whaleapi/asset/stock_flows", "financial_flows_list", "symbol", "quantity", "POST")
_FROZEN = History("/v1/whaleapi/asset/financial_frozen_flows", "frozen_flows_list", "currency", "amount", "GET")
HISTORIES: Final[Mapping[str, History]] = {
    "cash.adjust": _CASH,
    "position.adjust": _STOCK,
    "cash.freeze": _FROZEN,
    "cash.unfreeze": _FROZEN,
    "cash.debit_frozen": _CASH,
}
"""By command type; a debit of what was frozen takes cash, so it is looked for among cash."""


async def look_for_number(
    reader: Reader, command_type: str, intent: Intent, number: str, first_sent_unix_s: float
) -> Shown:
    """Look whether the brokerage shows `number` as what this command made."""
    if command_type == "order.place":
        return await _order(reader, intent, number)
    history = HISTORIES.get(command_type)
    if history is None:
        return Shown("unknown", "the brokerage offers no look-up of temporary adjustments")
    return await _booked(reader, history, intent, number, first_sent_unix_s)


async def _order(reader: Reader, intent: Intent, number: str) -> Shown:
    exchanges: list[Exchange] = []

    async def noted(request: Request) -> Exchange:
        exchanges.append(await reader(request))
        return exchanges[-1]

    named = Intent(intent.command_id, intent.account_no, intent.payload, target=Numbers(order_id=number))
    order = await read_order(noted, named)
    if not isinstance(order, Mapping):
        if _says_no(exchanges[-1]):
            return Shown(
                "not_ours", f"the brokerage shows no order {number} of account {intent.account_no}: {order.note}"
            )
        return Shown("unknown", f"order {number} could not be looked at: {order.note}")
    remark = order.get("remark")
    if not isinstance(remark, str) or not remark.strip():
        return Shown("unknown", f"order {number} is shown without its remark")
    wanted = tag(intent.command_id).strip()
    seen = clean(f"{order.get('side')} {order.get('quantity')} {order.get('symbol')}, {order.get('status')}")
    if wanted in remark:
        return Shown("ours", f"order {number} carries our tag {wanted}: {seen}")
    return Shown("not_ours", f"order {number} ({seen}) has the remark {clean(remark)!r}, not our tag {wanted}")


def _says_no(exchange: object) -> bool:
    """Tell an answer about the order from one about us: a refused key or rate says nothing of it."""
    if not isinstance(exchange, Answer) or exchange.status != HTTP_BAD_REQUEST:
        return False
    envelope = read_envelope(exchange.body)
    return envelope is not None and envelope.code not in (None, "0") and not str(envelope.code).startswith(DENIED)


async def _booked(reader: Reader, history: History, intent: Intent, number: str, first_sent_unix_s: float) -> Shown:
    known: set[str] = set()
    start = max(0, int(first_sent_unix_s) - HISTORY_MARGIN_S)
    for page in range(1, PAGES_MAX + 1):
        fields: dict[str, Any] = {"account_no": intent.account_no, "start_time": start, "page": page, "size": PAGE_SIZE}
        if history.method == "GET":
            request = query_request("GET", history.path, {name: str(value) for name, value in fields.items()})
        else:
            request = json_request("POST", history.path, fields)
        data = read_data(await reader(request))
        if not isinstance(data, Mapping):
            return Shown("unknown", f"the account's history could not be read: {data.note}")
        rows = data.get(history.rows)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            return Shown("unknown", f"the account's history came without {history.rows}")
        for row in rows:
            if number_in(row, "serial_num") == number:
                return _compared(history, row, intent.payload, number)
        fresh = {str(row.get("serial_num")) for row in rows} - known
        known |= fresh
        if not fresh and len(rows) < PAGE_SIZE:  # a page that is empty, or the same again
            told = f"the history of account {intent.account_no} since the call shows {len(known)} bookings, none of them {number}"
            return Shown("unknown", told)  # a history may lag behind: absence from it proves nothing
        if not fresh:
            break
    return Shown("unknown", "the account's history could not be read to its end")


def _compared(history: History, row: Mapping[str, Any], payload: Mapping[str, Any], number: str) -> Shown:
    unit, amount = row.get(history.unit), _decimal(row.get(history.amount))
    seen = clean(f"{number} is {row.get('flow_name')} of {row.get(history.amount)} {unit}")
    wanted, wanted_unit = _decimal(payload.get(history.amount)), payload.get(history.unit)
    if wanted is not None and amount is None:
        return Shown("unknown", f"{seen}, which cannot be compared")
    if wanted is not None and amount is not None and abs(amount) != abs(wanted):
        return Shown("not_ours", f"{seen}, the command's is {payload.get(history.amount)} {wanted_unit}")
    if wanted_unit is not None and unit != wanted_unit:
        return Shown("not_ours", f"{seen}, the command's is in {wanted_unit}")
    direction, side = payload.get("direction"), row.get("direction")
    if direction is not None and side in (OUT, IN) and (direction == "CREDIT") != (side == IN):
        return Shown("not_ours", f"{seen}, which goes the other way than {direction}")
    return Shown("ours", seen)


def _decimal(value: object) -> Decimal | None:
    if not isinstance(value, str):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
