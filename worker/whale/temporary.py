"""Entries for temporary adjustments. Booking one has no key and cannot be looked up; ending one is keyed by its target."""

from collections.abc import Mapping
from typing import Any, Final

from worker.ledger.verdicts import Confirmed, InDoubt, Keying, Numbers, Refused, Request
from worker.whale.entry import REFUSED_CODES, Intent, Operation, Refusal, Variants, json_request, tagged
from worker.whale.wire import Envelope, number_in

DOUBTFUL_CODES: Final = frozenset({"SAVE_ERROR"})
_COUNTER_PARTS: Final = 3


def refuse_adjust(intent: Intent, variants: Variants) -> Refusal | None:
    """Return why the configured route cannot name this stock: a symbol goes only to whaleapi, a counter_id to both."""
    payload = intent.payload
    if payload["security_type"] != "STOCK":
        return None
    counter_id = payload.get("counter_id")
    if counter_id is None and variants.temp_route == "risk_event":
        return Refusal(
            "SYMBOL_UNUSABLE",
            "a symbol needs LEDGER_WHALE_TEMP_ROUTE=whaleapi; give counter_id",
            "payload.symbol",
        )
    if counter_id is not None and variants.temp_route == "whaleapi" and _symbol(counter_id) is None:
        return Refusal("COUNTER_ID_UNUSABLE", "counter_id is not TYPE/MARKET/CODE", "payload.counter_id")
    return None


def adjust(intent: Intent, variants: Variants) -> Request:
    """Temp Adjust, or Temporary Adjustment on the other route; the leg that is not meant is left out."""
    payload = intent.payload
    leg = _cash_leg(intent) if payload["security_type"] == "CASH" else _stock_leg(intent, variants)
    name = "cash_adjusts" if payload["security_type"] == "CASH" else "stock_adjusts"
    path = "/v1/risk_event/temp_adjust"
    if variants.temp_route == "whaleapi":
        path = f"/{variants.api_version}/whaleapi/asset/temp_adjust"
    fields = {"security_type": payload["security_type"], name: leg, "op_user": payload["op_user"]}
    return json_request("POST", path, fields)


def expire(intent: Intent, _variants: Variants) -> Request:
    """Temp Adjust Expire; only one path is documented."""
    if intent.target is None or intent.target.adjust_no is None:
        raise ValueError("the adjustment's number must be known before the call is built")
    fields = {"adjust_no": intent.target.adjust_no, "op_user": intent.payload["op_user"]}
    return json_request("POST", "/v1/risk_event/temp_adjust_expire", fields)


def read_adjust(envelope: Envelope, final_codes: frozenset[str]) -> Confirmed | Refused | InDoubt:
    """Judge `code` and `adjust_no`; one page puts the code's word into the message, so that is looked at too."""
    word, message = envelope.word("code"), envelope.inner_message
    adjust_no = number_in(envelope.data, "adjust_no")
    if word == "SUCCESS":
        if adjust_no is None:
            return InDoubt("number_missing", "the brokerage answered SUCCESS without an adjust_no")
        return Confirmed(Numbers(adjust_no=adjust_no), "inner_success")
    if word in final_codes:
        return Refused(word, message or word, "inner_code_final")
    if message in final_codes and adjust_no is None and word not in DOUBTFUL_CODES:
        return Refused(message, message, "inner_code_final")
    return _unknown(word, message)


def read_expire(envelope: Envelope, final_codes: frozenset[str]) -> Confirmed | Refused | InDoubt:
    """Judge `code`. FAILED says only that this call ended nothing: not whether it was over before."""
    word, message = envelope.word("code"), envelope.inner_message
    if word == "SUCCESS":
        return Confirmed(Numbers(adjust_no=number_in(envelope.data, "adjust_no")), "inner_success")
    if word in final_codes:
        return Refused(word, message or word, "inner_code_final")
    return _unknown(word, message)


def _unknown(word: str | None, message: str) -> InDoubt:
    if word is None:
        return InDoubt("inner_code_missing", f"no inner code under outer success: {message}")
    return InDoubt("inner_code_unknown", f"inner code {word}: {message}")


def _cash_leg(intent: Intent) -> Mapping[str, Any]:
    payload = intent.payload
    return {
        "currency": payload["currency"],
        "direction": payload["direction"],
        "incurred_amount": payload["amount"],
        "biz_code": payload["biz_code"],
        "remark": tagged(intent.command_id, payload["remark"]),
        "expire_time": _expire_time(intent),
        "account_no": intent.account_no,
    }


def _stock_leg(intent: Intent, variants: Variants) -> Mapping[str, Any]:
    payload = intent.payload
    if variants.temp_route == "risk_event":
        name = {"counter_id": payload["counter_id"]}
    else:
        name = {"Symbol": payload.get("symbol") or _symbol(payload["counter_id"])}
    return {
        "direction": payload["direction"],
        **name,
        "incurred_quantity": payload["quantity"],
        "biz_code": payload["biz_code"],
        "remark": tagged(intent.command_id, payload["remark"]),
        "currency": payload["currency"],
        "cost_price": payload["cost_price"],
        "expire_time": _expire_time(intent),
        "position_side": payload["position_side"],
        "account_no": intent.account_no,
    }


def _expire_time(intent: Intent) -> int:
    if intent.expires_at is None:
        raise ValueError("a temporary adjustment has an hour at which it ends")
    return int(intent.expires_at.timestamp())


def _symbol(counter_id: str) -> str | None:
    """ST/US/AAPL → AAPL.US."""
    parts = counter_id.split("/", _COUNTER_PARTS - 1)
    if len(parts) != _COUNTER_PARTS or not all(parts):
        return None
    return f"{parts[2]}.{parts[1]}"


ENTRIES: Final = (
    Operation(
        command_type="temp.adjust",
        title="Temp Adjust",
        keyed_by=Keying.NOTHING,
        urgent=False,
        repeat_is_harmless=True,
        reference=None,
        build=adjust,
        read=read_adjust,
        final_codes=REFUSED_CODES,
        refuse_before_call=refuse_adjust,
        books_adjustment=True,
        makes="adjust_no",
    ),
    Operation(
        command_type="temp.expire",
        title="Temp Adjust Expire",
        keyed_by=Keying.TARGET,
        urgent=True,
        repeat_is_harmless=True,
        reference="adjust",
        build=expire,
        read=read_expire,
        final_codes=REFUSED_CODES | {"FAILED"},
        ends_adjustment=True,
    ),
)
