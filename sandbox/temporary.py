"""Temporary adjustments: booked, and ended before their hour. The sweep after the hour is `Ledger.sweep`.

Both refuse inside a successful outer answer, as the pages of the brokerage show it.
"""

from sandbox import fields
from sandbox.envelope import Code, Done, Json, RefusalError
from sandbox.ledger import Adjustment, Ledger

_AHEAD_MAX_S = 10 * 366 * 86_400  # beyond it someone sent milliseconds


def leg_of(request: Json) -> Json:
    """Return the leg that `security_type` means, or an empty one; never raises."""
    name = {"CASH": "cash_adjusts", "STOCK": "stock_adjusts"}.get(str(request.get("security_type")))
    leg = request.get(name) if name else None
    return leg if isinstance(leg, dict) else {}


def adjust_by_counter_id(ledger: Ledger, request: Json) -> Done:
    """Book Temp Adjust of the risk_event pages: flat answer with a batch number."""
    done = _adjust(ledger, request, by_symbol=False)
    return Done({**done.body, "request_id": ledger.new_serial()}, done.number, done.changed)


def adjust_by_symbol(ledger: Ledger, request: Json) -> Done:
    """Book Temporary Adjustment of the whaleapi pages: answer in an envelope with `msg`."""
    done = _adjust(ledger, request, by_symbol=True)
    return Done({"code": 0, "msg": "success", "data": done.body}, done.number, done.changed)


def expire(ledger: Ledger, request: Json) -> Done:
    """End a temporary adjustment now; FAILED when it is unknown or has ended."""
    try:
        adjust_no = fields.text(request, "adjust_no")
        fields.text(request, "op_user")
    except RefusalError as refusal:
        return _answer(str(request.get("adjust_no") or ""), "FAILED", refusal.message)
    adjustment = ledger.adjustments.get(adjust_no)
    if adjustment is None:
        return _answer(adjust_no, "FAILED", "no such temporary adjustment")
    if adjustment.ended_at is not None:
        return _answer(adjust_no, "FAILED", "the temporary adjustment has ended")
    ledger.end_adjustment(adjustment)
    return _answer(adjust_no, "SUCCESS", "success", changed=True)


def _adjust(ledger: Ledger, request: Json, *, by_symbol: bool) -> Done:
    try:
        adjustment = _read(ledger, request, by_symbol=by_symbol)
    except RefusalError as refusal:
        inner = "STOCK_NOT_EXISTS" if refusal.code == Code.STOCK_UNKNOWN else "PARAM_ERROR"
        return _answer("", inner, refusal.message)
    ledger.open_adjustment(adjustment)
    return _answer(adjustment.adjust_no, "SUCCESS", "success", changed=True)


def _read(ledger: Ledger, request: Json, *, by_symbol: bool) -> Adjustment:
    stock = fields.choice(request, "security_type", {"CASH", "STOCK"}) == "STOCK"
    fields.text(request, "op_user")
    leg = leg_of(request)
    credit = fields.choice(leg, "direction", {"CREDIT", "DEBIT"}) == "CREDIT"
    amount = fields.decimal(leg, "incurred_quantity") if stock else fields.decimal(leg, "incurred_amount", 2)
    symbol = _security(leg, by_symbol=by_symbol) if stock else None
    fields.text(leg, "biz_code")
    fields.optional_text(leg, "remark")
    currency = fields.currency(leg)
    now = int(ledger.wall_s())
    return Adjustment(
        account_no=fields.account_no(leg),
        currency=currency,
        symbol=symbol,
        delta=amount if credit else amount.copy_negate(),
        expire_time=fields.whole(leg, "expire_time", now + 1, now + _AHEAD_MAX_S),
        adjust_no=ledger.new_adjust_no(),
    )


def _security(leg: Json, *, by_symbol: bool) -> str:
    fields.decimal(leg, "cost_price", zero=True)
    fields.choice(leg, "position_side", {"LONG", "SHORT"})
    return fields.symbol(leg, "Symbol") if by_symbol else fields.counter_id(leg)


def _answer(adjust_no: str, code: str, message: str, *, changed: bool = False) -> Done:
    return Done({"adjust_no": adjust_no, "code": code, "message": message}, adjust_no if changed else None, changed)
