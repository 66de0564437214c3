"""Every path of the brokerage that the sandbox answers, in all documented variants: path, meaning, shapes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from sandbox import assets, orders, temporary, views
from sandbox.envelope import Done, Json, RefusalError, refused_message, refused_msg, refused_text_code
from sandbox.ledger import Ledger

READ = "read"
SWEEP = "sweep"
Act: TypeAlias = Callable[[Ledger, Json], Done]
Routes: TypeAlias = dict[tuple[str, str], "Endpoint"]


def wrapped(body: Json) -> Json:
    """Put a flat answer into the gateway's envelope."""
    return {"code": 0, "message": "success", "data": body}


def flat(body: Json) -> Json:
    """Leave an answer as its page shows it."""
    return body


def _failed_inside(code: str | int) -> Json:
    inner = {"code": code, "error_code": code, "msg": "failed", "message": "failed", "serial_num": ""}
    return {"code": 0, "message": "success", "msg": "success", "data": inner}


def _temp_failed(code: str | int) -> Json:
    return {"adjust_no": "", "code": code, "message": "not saved", "request_id": ""}


def _temp_failed_inside(code: str | int) -> Json:
    return {"code": 0, "msg": "success", "data": {"adjust_no": "", "code": code, "message": "not saved"}}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path: which operation it is, what it does, and how it answers."""

    operation: str
    act: Act
    refused: Callable[[RefusalError], Json] = refused_msg
    inner_failed: Callable[[str | int], Json] = _failed_inside
    inner_code: str = "FAILED"
    shape: Callable[[Json], Json] = flat
    keyed: bool = False


def routes(*, wrap_risk_event: bool) -> Routes:
    """Return the table by method and path; the risk_event pages answer flat unless told to wrap."""
    return {**_assets(), **_temporary(wrapped if wrap_risk_event else flat), **_orders(), **_reads()}


def _assets() -> Routes:
    operations = {
        "adjust_cash": Endpoint("cash.adjust", assets.adjust_cash, inner_code="SAVE_ERROR", keyed=True),
        "adjust_stock": Endpoint("position.adjust", assets.adjust_stock, inner_code="SAVE_ERROR", keyed=True),
        "frozen_cash": Endpoint("cash.freeze", assets.frozen_cash, inner_code="SAVE_ERROR", keyed=True),
        "unfrozen_cash": Endpoint("cash.unfreeze", assets.unfrozen_cash, inner_code="SAVE_ERROR", keyed=True),
    }
    table = {
        ("POST", f"/{version}/whaleapi/asset/{name}"): endpoint
        for name, endpoint in operations.items()
        for version in ("v1", "v2")
    }
    debit = Endpoint("cash.debit_frozen", assets.unfrozen_debit, inner_code="SAVE_ERROR", keyed=True)
    return {**table, ("POST", "/v1/whaleapi/asset/unfrozen_debit"): debit}


def _temporary(shape: Callable[[Json], Json]) -> Routes:
    by_symbol = Endpoint(
        "temp.adjust", temporary.adjust_by_symbol, inner_failed=_temp_failed_inside, inner_code="SAVE_ERROR"
    )
    return {
        ("POST", "/v1/risk_event/temp_adjust"): Endpoint(
            "temp.adjust",
            temporary.adjust_by_counter_id,
            inner_failed=_temp_failed,
            inner_code="SAVE_ERROR",
            shape=shape,
        ),
        ("POST", "/v1/risk_event/temp_adjust_expire"): Endpoint(
            "temp.expire", temporary.expire, inner_failed=_temp_failed, shape=shape
        ),
        ("POST", "/v1/whaleapi/asset/temp_adjust"): by_symbol,
        ("POST", "/v2/whaleapi/asset/temp_adjust"): by_symbol,
    }


def _orders() -> Routes:
    modify = Endpoint("order.modify", orders.modify, refused_message)
    withdraw = Endpoint("order.withdraw", orders.withdraw, refused_message)
    return {
        ("POST", "/v1/whaleapi/trade/order"): Endpoint("order.place", orders.place, refused_text_code),
        ("PUT", "/v1/whaleapi/trade/order"): modify,
        ("PUT", "/v2/whaleapi/trade/order"): modify,
        ("DELETE", "/v1/whaleapi/trade/order"): withdraw,
        ("DELETE", "/v2/whaleapi/trade/order"): withdraw,
    }


def _reads() -> Routes:
    return {
        ("GET", "/v1/whaleapi/trade/order"): Endpoint(READ, views.order_details, refused_message),
        ("GET", "/v1/whaleapi/trade/order/today"): Endpoint(READ, views.orders_today, refused_message),
        ("GET", "/v1/whaleapi/trade/order/history"): Endpoint(READ, views.orders_history, refused_message),
        ("GET", "/v1/whaleapi/asset/cash_info"): Endpoint(READ, views.cash_info),
        ("GET", "/v1/whaleapi/asset/stock_info"): Endpoint(READ, views.stock_info),
        ("GET", "/v1/whaleapi/asset/financial_frozen_flows"): Endpoint(READ, views.cash_frozen_flows),
        ("GET", "/v1/whaleapi/asset/stock_frozen_flows"): Endpoint(READ, views.stock_frozen_flows),
        ("POST", "/v1/whaleapi/asset/financial_flows"): Endpoint(READ, views.cash_flows),
        ("POST", "/v1/whaleapi/asset/stock_flows"): Endpoint(READ, views.stock_flows),
    }
