"""Entries for orders: placed once and found again by the tag in the remark; changed and withdrawn by their number."""

from typing import Final

from worker.ledger.verdicts import Confirmed, InDoubt, Keying, Numbers, Refused, Request
from worker.whale.entry import (
    DONE_CODES,
    REFUSED_CODES,
    Intent,
    Operation,
    Variants,
    json_request,
    objection,
    query_request,
    remark_of_change,
    tagged,
)
from worker.whale.probes import look_for_change, look_for_order, look_for_withdrawal
from worker.whale.wire import Envelope, number_in

_OPTIONAL_ON_BOTH: Final = ("trigger_price", "trailing_amount", "trailing_percent", "limit_offset")
_LAST_ON_BOTH: Final = ("limit_depth_level", "monitor_price", "trigger_count")


def place(intent: Intent, _variants: Variants) -> Request:
    """Place Order; one path in both generations."""
    payload = intent.payload
    fields = {
        "symbol": payload["symbol"],
        "side": payload["side"],
        "order_type": payload["order_type"],
        "submitted_price": payload.get("price"),
        "submitted_quantity": payload["quantity"],
        "time_in_force": payload["time_in_force"],
        "expire_date": payload.get("expire_date"),
        "outside_rth": payload.get("outside_rth"),
        **{name: payload.get(name) for name in _OPTIONAL_ON_BOTH},
        "remark": tagged(intent.command_id, payload.get("remark")),
        "account_no": intent.account_no,
        **{name: payload.get(name) for name in _LAST_ON_BOTH},
    }
    return json_request("POST", "/v1/whaleapi/trade/order", fields)


def modify(intent: Intent, variants: Variants) -> Request:
    """Modify Order: absolute values, so that the same call twice changes nothing more."""
    payload = intent.payload
    fields = {
        "order_id": _order_id(intent),
        "price": payload.get("price"),
        "quantity": payload["quantity"],
        **{name: payload.get(name) for name in _OPTIONAL_ON_BOTH},
        "remark": remark_of_change(intent),
        "account_no": intent.account_no,
        **{name: payload.get(name) for name in _LAST_ON_BOTH},
    }
    return json_request("PUT", f"/{variants.api_version}/whaleapi/trade/order", fields)


def withdraw(intent: Intent, variants: Variants) -> Request:
    """Withdraw Order; the documents put the two ids into the query or into the body."""
    fields = {"order_id": _order_id(intent), "account_no": intent.account_no}
    path = f"/{variants.api_version}/whaleapi/trade/order"
    if variants.withdraw_ids == "body":
        return json_request("DELETE", path, fields)
    return query_request("DELETE", path, fields)


def read_placed(envelope: Envelope, final_codes: frozenset[str]) -> Confirmed | Refused | InDoubt:
    """Judge `order_id`: with one, the brokerage took the order; whether it lives is another matter."""
    if (against := objection(envelope, final_codes, DONE_CODES)) is not None:
        return against
    order_id = number_in(envelope.data, "order_id")
    if order_id is None:
        return InDoubt("number_missing", "the brokerage answered success without an order_id")
    return Confirmed(Numbers(order_id=order_id), "outer_success")


def read_taken(envelope: Envelope, final_codes: frozenset[str]) -> Confirmed | Refused | InDoubt:
    """Confirm: `data` is documented as an empty object; an inner code other than success would be news."""
    return objection(envelope, final_codes, DONE_CODES) or Confirmed(Numbers(), "outer_success")


def _order_id(intent: Intent) -> str:
    if intent.target is None or intent.target.order_id is None:
        raise ValueError("the order's number must be known before the call is built")
    return intent.target.order_id


ENTRIES: Final = (
    Operation(
        command_type="order.place",
        title="Place Order",
        keyed_by=Keying.TAG,
        urgent=False,
        repeat_is_harmless=True,
        reference=None,
        build=place,
        read=read_placed,
        final_codes=REFUSED_CODES,
        look=look_for_order,
        makes="order_id",
    ),
    Operation(
        command_type="order.modify",
        title="Modify Order",
        keyed_by=Keying.TARGET,
        urgent=False,
        repeat_is_harmless=False,
        reference="order",
        build=modify,
        read=read_taken,
        final_codes=REFUSED_CODES,
        look=look_for_change,
    ),
    Operation(
        command_type="order.withdraw",
        title="Withdraw Order",
        keyed_by=Keying.TARGET,
        urgent=True,
        repeat_is_harmless=True,
        reference="order",
        build=withdraw,
        read=read_taken,
        final_codes=REFUSED_CODES,
        look=look_for_withdrawal,
        ended_rejects=True,
    ),
)
