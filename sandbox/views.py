"""The look-ups: orders one by one and in pages, balances, flows. None of them changes anything."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeVar

from sandbox import clock, fields, orders
from sandbox.envelope import Done, Json
from sandbox.ledger import EXACT, Account, Flow, Ledger, Order

_SIZE_DEFAULT = 100
_SIZE_MAX = 1000
_ZERO = Decimal(0)
_Row = TypeVar("_Row")
_THOUSANDTH = Decimal("0.001")
_ORDER_TEXTS = ("trigger_price", "expire_date", "trailing_amount", "trailing_percent", "limit_offset", "outside_rth")


def order_details(ledger: Ledger, request: Json) -> Done:
    """Show one order with its history."""
    order = orders.find(ledger, request)
    extra: Json = {}
    for prefix in ("free", "deductions", "platform_deducted"):
        extra |= {f"{prefix}_status": 0, f"{prefix}_amount": "", f"{prefix}_currency": ""}
    currency = order.values["currency"]
    charges: Json = {"items": [], "total_amount": "0.00", "currency": currency}
    data = {**_row(order), **extra, "history": list(order.history), "charge_detail": charges}
    return Done({"code": 0, "message": "success", "data": data})


def orders_today(ledger: Ledger, request: Json) -> Done:
    """Page through the orders submitted on this UTC day; of one account where it is named."""
    today = clock.day_of(ledger.wall_s())
    found: Iterable[Order] = ledger.orders.values()
    if request.get("account_no"):
        found = ledger.account(fields.account_no(request)).orders
    return _orders_page(request, [order for order in found if clock.day_of(order.submitted_at) == today])


def orders_history(ledger: Ledger, request: Json) -> Done:
    """Page through an account's orders of all days, today included."""
    found = ledger.account(fields.account_no(request)).orders
    start, end = _bounds(request, "start_at", "end_at")
    return _orders_page(request, [order for order in found if start <= int(order.submitted_at) <= end])


def cash_info(ledger: Ledger, request: Json) -> Done:
    """Show cash by currency; the totals add currencies at par, the sandbox knows no rates."""
    account = ledger.account(fields.account_no(request))
    named = fields.optional_text(request, "currency")
    currencies = [named] if named else sorted({"HKD", "USD", *account.cash, *account.frozen, *account.temporary_cash})
    rows = [_cash_row(account, currency) for currency in currencies]

    def total(name: str) -> str:
        return _money(sum((Decimal(row[name]) for row in rows), _ZERO))

    data: Json = {
        "total_cash": total("cash_amount"),
        "total_available_cash": total("available_amount"),
        "total_withdraw_cash": total("withdraw_amount"),
        "cash_list": rows,
    }
    return Done({"code": 0, "data": data})


def stock_info(ledger: Ledger, request: Json) -> Done:
    """Show the long positions, temporary adjustments included."""
    account = ledger.account(fields.account_no(request))
    rows = []
    for symbol in sorted({*account.positions, *account.temporary_positions}):
        own = account.positions.get(symbol, _ZERO)
        total = EXACT.add(own, account.temporary_positions.get(symbol, _ZERO))
        if total > 0:
            rows.append(_stock_row(symbol, own, total))
    return Done({"code": 0, "data": {"stock_list": rows}})


def cash_flows(ledger: Ledger, request: Json) -> Done:
    """List what cash adjustments and debits did; temporary adjustments do not show."""
    account = ledger.account(fields.account_no(request))
    unit = fields.optional_text(request, "currency")
    found = _flows(request, account.cash_flows, unit, "financial_flows_direction")
    rows = [{**_flow(flow), "amount": f"{flow.amount:f}", "currency": flow.unit, **_side(flow)} for flow in found]
    return Done({"code": 0, "data": {"financial_flows_list": rows}})


def stock_flows(ledger: Ledger, request: Json) -> Done:
    """List what position adjustments did, under the key of the cash page."""
    account = ledger.account(fields.account_no(request))
    unit = fields.optional_text(request, "symbol")
    found = _flows(request, account.stock_flows, unit, "stock_flows_direction")
    rows = [{**_flow(flow), "quantity": f"{flow.amount:f}", **_security(flow), **_side(flow)} for flow in found]
    return Done({"code": 0, "data": {"financial_flows_list": rows}})


def cash_frozen_flows(ledger: Ledger, request: Json) -> Done:
    """List freezes (frozen_type 1) and releases (2), debits included."""
    account = ledger.account(fields.account_no(request))
    wanted = str(request.get("frozen_status") or "0")
    unit = fields.optional_text(request, "currency")
    found = _flows(request, account.frozen_flows, unit, None)
    rows = [
        {**_flow(flow), "amount": f"{abs(flow.amount):f}", "currency": flow.unit, "frozen_type": _frozen_type(flow)}
        for flow in found
        if wanted in ("0", str(_frozen_type(flow)))
    ]
    return Done({"code": 0, "data": {"frozen_flows_list": rows}})


def stock_frozen_flows(ledger: Ledger, request: Json) -> Done:
    """List frozen securities: always none, no operation here freezes any."""
    ledger.account(fields.account_no(request))
    return Done({"code": 0, "data": {"frozen_stock_flows_list": []}})


def price_text(value: str | None) -> str:
    """Show a price with at least three decimals, as the brokerage's samples do; nothing for none."""
    if not value:
        return ""
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    return str(number.quantize(_THOUSANDTH)) if isinstance(exponent, int) and exponent > -3 else value


def _orders_page(request: Json, found: list[Order]) -> Done:
    statuses = request.get("status")
    allowed = statuses if isinstance(statuses, list) else [statuses] if statuses else None
    for status in allowed or ():
        if status not in orders.STATUSES:
            raise fields.bad("status", "is not an order status")
    kept = [
        order
        for order in reversed(found)
        if (allowed is None or order.status in allowed)
        and request.get("symbol") in (None, "", order.values["symbol"])
        and request.get("side") in (None, "", order.values["side"])
        and request.get("market") in (None, "", order.values["symbol"].rpartition(".")[2])
    ]
    page, has_more = _page(request, kept)
    data: Json = {"has_more": has_more, "orders": [_row(order) for order in page]}
    return Done({"code": 0, "message": "success", "data": data})


def _row(order: Order) -> Json:
    values = order.values
    return {
        "order_id": order.order_id,
        "status": order.status,
        "stock_name": values["symbol"],
        "quantity": values["quantity"],
        "executed_quantity": f"{order.executed_quantity:f}",
        "price": price_text(values.get("price")),
        "executed_price": price_text(f"{order.executed_price:f}"),
        "submitted_at": str(int(order.submitted_at)),
        "side": values["side"],
        "symbol": values["symbol"],
        "order_type": values["order_type"],
        "last_done": price_text(values.get("price")),
        "msg": "",
        "tag": "GTC" if values["time_in_force"] == "GTC" else "Normal",
        "time_in_force": values["time_in_force"],
        "updated_at": str(int(order.updated_at)),
        "trigger_at": "0",
        "trigger_status": "DEACTIVE" if values.get("trigger_price") else "NOT_USED",
        "currency": values["currency"],
        "remark": values.get("remark", ""),
        **{name: values.get(name, "") for name in _ORDER_TEXTS},
    }


def _cash_row(account: Account, currency: str) -> dict[str, str]:
    available = account.available_cash(currency)
    temporary = account.temporary_cash.get(currency, _ZERO)
    return {
        "currency": currency,
        "cash_amount": _money(EXACT.add(account.cash_of(currency), temporary)),
        "available_amount": _money(available),
        "withdraw_amount": _money(EXACT.subtract(available, temporary)),
    }


def _stock_row(symbol: str, own: Decimal, total: Decimal) -> Json:
    market = symbol.rpartition(".")[2]
    zeros = ("last_done", "pre_close", "average_cost_price", "diluted_cost_cost", "buy_amount", "sell_amount")
    return {
        "symbol": symbol,
        "market": market,
        "currency": orders.CURRENCIES.get(market, "USD"),
        "total_quantity": f"{total:f}",
        "available_quantity": f"{total:f}",
        "init_quantity": f"{own:f}",
        **dict.fromkeys(zeros, "0.000"),
    }


def _flows(request: Json, flows: Sequence[Flow], unit: str | None, direction: str | None) -> Sequence[Flow]:
    start, end = _bounds(request, "start_time", "end_time")
    side = request.get(direction) if direction else None
    market = request.get("market")
    found = [
        flow
        for flow in reversed(flows)
        if start <= int(flow.at_s) <= end
        and unit in (None, flow.unit)
        and market in (None, "", flow.unit.rpartition(".")[2])
        and (not side or str(side) == str(_direction(flow)))
    ]
    in_range = bool(request.get("start_time") or request.get("end_time"))
    return found if in_range and direction else _page(request, found)[0]


def _flow(flow: Flow) -> Json:
    return {
        "flow_name": flow.name,
        "bussiness_time": str(int(flow.at_s)),
        "description": flow.description,
        "serial_num": flow.serial_num,
        "bussiness_code": flow.biz_code,
    }


def _direction(flow: Flow) -> int:
    return 2 if flow.amount > 0 else 1


def _side(flow: Flow) -> Json:
    return {"direction": _direction(flow)}


def _security(flow: Flow) -> Json:
    return {"symbol": flow.unit, "market": flow.unit.rpartition(".")[2]}


def _frozen_type(flow: Flow) -> int:
    return 1 if flow.amount > 0 else 2


def _page(request: Json, found: Sequence[_Row]) -> tuple[Sequence[_Row], bool]:
    page = _number(request, "page", 1, 10**9) or 1
    size = _number(request, "size", 1, _SIZE_MAX) or _SIZE_DEFAULT
    end = page * size
    return found[end - size : end], len(found) > end


def _bounds(request: Json, start: str, end: str) -> tuple[int, int]:
    last = _number(request, end, 0, 10**12)
    return _number(request, start, 0, 10**12) or 0, 10**12 if last is None else last


def _number(request: Json, name: str, low: int, high: int) -> int | None:
    value = request.get(name)
    if value in (None, ""):
        return None
    written = str(value)
    if not written.isascii() or not written.isdigit() or not low <= int(written) <= high:
        raise fields.bad(name, f"must be a whole number from {low} to {high}")
    return int(written)


def _money(value: Decimal) -> str:
    return f"{value:.4f}"
