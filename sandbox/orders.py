"""What place, modify and withdraw do to the ledger. Orders stay as they are until someone changes or drives them."""

import re
from collections.abc import Iterator
from decimal import Decimal

from sandbox import fields
from sandbox.envelope import Code, Done, Json, RefusalError
from sandbox.ledger import Ledger, Order

STATUSES = frozenset(
    {
        "NotReported",
        "ReplacedNotReported",
        "ProtectedNotReported",
        "VarietiesNotReported",
        "FilledStatus",
        "WaitToNew",
        "NewStatus",
        "WaitToReplace",
        "PendingReplaceStatus",
        "ReplacedStatus",
        "PartialFilledStatus",
        "WaitToCancel",
        "PendingCancelStatus",
        "RejectedStatus",
        "CanceledStatus",
        "ExpiredStatus",
        "PartialWithdrawal",
    }
)
ENDED = frozenset({"FilledStatus", "RejectedStatus", "CanceledStatus", "ExpiredStatus", "PartialWithdrawal"})
_ON_THE_WAY = frozenset({"WaitToReplace", "PendingReplaceStatus", "WaitToCancel", "PendingCancelStatus"})
_BEING_CANCELLED = frozenset({"WaitToCancel", "PendingCancelStatus"})
_TYPES = frozenset(
    {"LO", "ELO", "MO", "AO", "ALO", "ODD", "LIT", "MIT", "TSLPAMT", "TSLPPCT", "TSMAMT", "TSMPCT", "SLO"}
)
_NEEDS = {
    "submitted_price": {"LO", "ELO", "ALO", "ODD", "LIT"},
    "trigger_price": {"LIT", "MIT"},
    "trailing_amount": {"TSLPAMT", "TSMAMT"},
    "trailing_percent": {"TSLPPCT", "TSMPCT"},
}
_DECIMALS = ("trigger_price", "trailing_amount", "trailing_percent", "limit_offset", "monitor_price")
_ZERO_MEANS = frozenset({"limit_offset"})
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
CURRENCIES = {"US": "USD", "HK": "HKD", "SG": "SGD", "SH": "CNY", "SZ": "CNY", "CN": "CNY"}


def place(ledger: Ledger, request: Json) -> Done:
    """Take an order: it is NewStatus from now on."""
    account_no = fields.account_no(request)
    values = {
        "symbol": fields.symbol(request),
        "side": fields.choice(request, "side", {"Buy", "Sell"}),
        "order_type": fields.choice(request, "order_type", _TYPES),
        "time_in_force": fields.choice(request, "time_in_force", {"Day", "GTC", "GTD"}),
        "quantity": f"{fields.decimal(request, 'submitted_quantity'):f}",
    }
    values["currency"] = CURRENCIES.get(values["symbol"].rpartition(".")[2], "USD")
    for name, types in _NEEDS.items():
        if values["order_type"] in types:
            fields.text(request, name)
    if values["time_in_force"] == "GTD" and not _DATE.fullmatch(fields.text(request, "expire_date")):
        raise fields.bad("expire_date", "must be YYYY-MM-DD")
    if request.get("outside_rth"):
        fields.choice(request, "outside_rth", {"RTH_ONLY", "ANY_TIME", "OVERNIGHT"})
    values.update(_terms(request, "submitted_price"))
    values.update((name, str(request[name])) for name in ("expire_date", "outside_rth") if request.get(name))
    now = ledger.wall_s()
    order = Order(ledger.new_order_id(), account_no, values, submitted_at=now, updated_at=now)
    _note(order, order.status, now)
    ledger.orders[order.order_id] = order
    ledger.account(account_no).orders.append(order)
    body: Json = {"code": 0, "message": "success", "data": {"order_id": order.order_id}}
    return Done(body, order.order_id, changed=True)


def modify(ledger: Ledger, request: Json) -> Done:
    """Give an order new terms: it is ReplacedStatus, or unchanged where it already had them all."""
    order = find(ledger, request)
    quantity = fields.decimal(request, "quantity")
    terms = {"quantity": f"{quantity:f}", **dict(_terms(request, "price"))}
    if order.status in ENDED | _ON_THE_WAY or order.values["order_type"] == "SLO":
        raise RefusalError(Code.ORDER_NOT_CHANGEABLE, f"the order cannot be changed: {order.status}")
    if quantity <= order.executed_quantity:
        raise RefusalError(Code.ORDER_NOT_CHANGEABLE, f"{order.executed_quantity} is already filled")
    done: Json = {"code": 0, "message": "success", "data": {}}
    if all(_same(name, value, order.values.get(name)) for name, value in terms.items()):
        return Done(done, order.order_id)
    order.values.update(terms)
    set_status(order, "ReplacedStatus", ledger.wall_s())
    return Done(done, order.order_id, changed=True)


def withdraw(ledger: Ledger, request: Json) -> Done:
    """Cancel what is left of an order; one that ended or is being cancelled is refused."""
    order = find(ledger, request)
    if order.status in ENDED | _BEING_CANCELLED:
        raise RefusalError(Code.ORDER_ENDED, f"the order cannot be withdrawn: {order.status}")
    left_over = "PartialWithdrawal" if order.executed_quantity else "CanceledStatus"
    set_status(order, left_over, ledger.wall_s())
    return Done({"code": 0, "message": "success", "data": {}}, order.order_id, changed=True)


def find(ledger: Ledger, request: Json) -> Order:
    """Return the order that `order_id` names within `account_no`."""
    account_no = fields.account_no(request)
    order = ledger.orders.get(fields.text(request, "order_id"))
    if order is None or order.account_no != account_no:
        raise RefusalError(Code.ORDER_UNKNOWN, "no order of this account has that order_id")
    return order


def set_status(order: Order, status: str, now: float) -> None:
    """Move an order to a status and note it in its history."""
    if status == "FilledStatus":
        order.executed_quantity = Decimal(order.values["quantity"])
        order.executed_price = Decimal(order.values.get("price") or "0")
    order.status = status
    order.updated_at = now
    _note(order, status, now)


def _terms(request: Json, price: str) -> Iterator[tuple[str, str]]:
    """Yield the terms that a request gives, by the names of Order Details."""
    if request.get(price):
        yield "price", f"{fields.decimal(request, price):f}"
    for name in _DECIMALS:
        if request.get(name):
            yield name, f"{fields.decimal(request, name, zero=name in _ZERO_MEANS):f}"
    for name, low, high in (("limit_depth_level", -5, 5), ("trigger_count", 0, 3)):
        if request.get(name) is not None:
            yield name, str(fields.whole(request, name, low, high))
    remark = fields.optional_text(request, "remark", 64)
    if remark is not None:
        yield "remark", remark


def _same(name: str, new: str, old: str | None) -> bool:
    if old is None or name == "remark":
        return new == old
    return Decimal(new) == Decimal(old)


def _note(order: Order, status: str, now: float) -> None:
    price, quantity = order.values.get("price", ""), order.values["quantity"]
    order.history.append({"price": price, "quantity": quantity, "status": status, "msg": "", "time": str(int(now))})
