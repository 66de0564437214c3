"""The sandbox's own endpoints under /_sandbox: what happened, seeds, faults. Unsigned, and no calls themselves."""

import json
from decimal import Decimal
from urllib.parse import parse_qs

from aiohttp import web

from sandbox import fields, orders
from sandbox.audit import request_of
from sandbox.brokerage import Brokerage
from sandbox.envelope import Code, Json, RefusalError, plain
from sandbox.faults import fault_of

PREFIX = "/_sandbox/"
_METHODS = {
    "/_sandbox/effects": ("GET",),
    "/_sandbox/calls": ("GET",),
    "/_sandbox/accounts": ("POST",),
    "/_sandbox/orders": ("POST",),
    "/_sandbox/revoke": ("POST",),
    "/_sandbox/token": ("POST",),
    "/_sandbox/faults": ("POST", "DELETE"),
}


def answer(brokerage: Brokerage, method: str, path: str, query: str, body: bytes) -> web.Response:
    """Answer one of the sandbox's own endpoints; a wrong request gets a 400 that names the field."""
    try:
        shown = _answer(brokerage, method, path, query, body)
    except RefusalError as refusal:
        shown = plain(refusal.code, refusal.message)
        status = refusal.status
    else:
        status = 200
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return web.Response(body=json.dumps(shown, ensure_ascii=False).encode(), status=status, headers=headers)


def _answer(brokerage: Brokerage, method: str, path: str, query: str, body: bytes) -> Json | list[Json]:
    allowed = _METHODS.get(path)
    if allowed is None:
        raise RefusalError(Code.NOT_FOUND, f"no such path: {path}", 404)
    if method not in allowed:
        raise RefusalError(Code.WRONG_METHOD, f"{path} takes {' and '.join(allowed)}", 405)
    if method == "GET":
        account_no, operation = _filters(query)
        if path.endswith("/effects"):
            return brokerage.audit.effects_shown(account_no, operation)
        return brokerage.audit.calls_shown(account_no, operation)
    if method == "DELETE":
        return {"removed": brokerage.faults.clear()}
    request = _body(body)
    if path.endswith("/accounts"):
        return _seed(brokerage, request)
    if path.endswith("/orders"):
        return _drive(brokerage, request)
    if path.endswith("/revoke"):
        return _revoke(brokerage, request)
    if path.endswith("/token"):
        return _replace_token(brokerage, request)
    fault = fault_of(request, brokerage.operations)
    shown = fault.shown()
    brokerage.faults.add(fault)
    return shown


def _filters(query: str) -> tuple[str | None, str | None]:
    found = {name: values[0] for name, values in parse_qs(query).items()}
    for name in found:
        if name not in ("account_no", "operation"):
            raise fields.bad(name, "only account_no and operation narrow the list")
    return found.get("account_no"), found.get("operation")


def _body(body: bytes) -> Json:
    try:
        return request_of("", body)
    except (ValueError, RecursionError) as error:
        raise RefusalError(Code.BAD_PARAMETERS, "the body must be one JSON object") from error


def _seed(brokerage: Brokerage, request: Json) -> Json:
    """Set the balances that are named; the others stay as they are. All or nothing."""
    fields.known(request, ("account_no", "cash", "positions"))
    account_no = fields.account_no(request)
    cash = request.get("cash") or {}
    if not isinstance(cash, dict):
        raise fields.bad("cash", 'must be an object like {"USD": "1000.00"}')
    balances = {fields.currency({"currency": name}): fields.decimal(cash, name, 2, zero=True) for name in cash}
    positions = dict(_position(row) for row in _rows(request))
    account = brokerage.ledger.account(account_no)
    account.cash.update(balances)
    account.positions.update(positions)
    return {
        "account_no": account_no,
        "cash": {name: f"{amount:f}" for name, amount in account.cash.items()},
        "positions": [{"symbol": name, "quantity": f"{amount:f}"} for name, amount in account.positions.items()],
    }


def _rows(request: Json) -> list[Json]:
    rows = request.get("positions") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise fields.bad("positions", 'must be a list like [{"symbol": "AAPL.US", "quantity": "10"}]')
    return rows


def _position(row: Json) -> tuple[str, Decimal]:
    fields.known(row, ("symbol", "quantity"))
    return fields.symbol(row), fields.decimal(row, "quantity", zero=True)


def _drive(brokerage: Brokerage, request: Json) -> Json:
    """Move an order to a status, as its market would; `executed_quantity` says how much of it was filled."""
    fields.known(request, ("order_id", "status", "executed_quantity"))
    order = brokerage.ledger.orders.get(fields.text(request, "order_id"))
    if order is None:
        raise RefusalError(Code.ORDER_UNKNOWN, "no order has that order_id")
    status = fields.choice(request, "status", orders.STATUSES)
    if request.get("executed_quantity") is not None:
        filled = fields.decimal(request, "executed_quantity", zero=True)
        if filled > Decimal(order.values["quantity"]):
            raise fields.bad("executed_quantity", "is more than the order's quantity")
        order.executed_quantity = filled
        order.executed_price = Decimal(order.values.get("price") or "0")
    orders.set_status(order, status, brokerage.ledger.wall_s())
    return {"order_id": order.order_id, "status": order.status}


def _revoke(brokerage: Brokerage, request: Json) -> Json:
    """Take back without a trace what has this number, as the brokerage's back office can: histories forget it."""
    fields.known(request, ("account_no", "number"))
    account_no, number = fields.account_no(request), fields.text(request, "number")
    removed = brokerage.ledger.revoke(account_no, number)
    if not removed:
        raise fields.bad("number", "names nothing in the account's histories")
    return {"removed": removed}


def _replace_token(brokerage: Brokerage, request: Json) -> Json:
    """Let another access token be the valid one; the one before has expired from now on. Another key and secret, too, if given."""
    fields.known(request, ("access_token", "app_key", "app_secret"))
    token = fields.text(request, "access_token")
    given = {name: fields.text(request, name) for name in ("app_key", "app_secret") if name in request}
    if brokerage.verifier is None:
        raise fields.bad("access_token", "means nothing here: no signature is checked")
    brokerage.verifier.replace_token(token, **given)
    return {"replaced": True}
