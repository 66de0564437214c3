"""What the asset operations do to the ledger: cash and position adjustment, freeze, unfreeze, debit.

Each takes the ledger and the request, and returns what was done or raises RefusalError with nothing changed.
"""

from decimal import Decimal

from sandbox import fields
from sandbox.envelope import Code, Done, Json, RefusalError
from sandbox.ledger import EXACT, Account, Flow, Freeze, Ledger, shift

_ZERO = Decimal(0)


def adjust_cash(ledger: Ledger, request: Json) -> Done:
    """Book cash in or out; out may exceed the balance unless the risk check is asked for."""
    account_no = fields.account_no(request)
    credit = fields.whole(request, "direction", 0, 1) == 1
    currency = fields.currency(request)
    amount = fields.decimal(request, "amount", 2)
    biz_code = fields.text(request, "biz_code")
    remark = fields.optional_text(request, "remark")
    checked = fields.flag(request, "require_risk_check")
    account = ledger.account(account_no)
    if checked and not credit and account.available_cash(currency) < amount:
        raise RefusalError(Code.CASH_INSUFFICIENT, "insufficient cash")
    delta = amount if credit else amount.copy_negate()
    serial = ledger.new_serial()
    account.add_cash(currency, delta)
    flow = Flow("Cash Adjustment", delta, currency, ledger.wall_s(), remark or "", serial, biz_code)
    account.cash_flows.append(flow)
    data = {"msg": "success", "serial_num": serial, "error_code": ""}
    return Done({"code": 0, "msg": "success", "data": data}, serial, changed=True)


def adjust_stock(ledger: Ledger, request: Json) -> Done:
    """Book pieces of a security in or out; no more out than the account has."""
    account_no = fields.account_no(request)
    credit = fields.whole(request, "direction", 0, 1) == 1
    fields.text(request, "market")
    symbol = fields.symbol(request)
    quantity = fields.decimal(request, "quantity")
    biz_code = fields.text(request, "biz_code")
    remark = fields.optional_text(request, "remark")
    account = ledger.account(account_no)
    if not credit and account.positions.get(symbol, _ZERO) < quantity:
        raise RefusalError(Code.POSITION_INSUFFICIENT, "insufficient position")
    delta = quantity if credit else quantity.copy_negate()
    serial = ledger.new_serial()
    shift(account.positions, symbol, delta)
    flow = Flow("Position Adjustment", delta, symbol, ledger.wall_s(), remark or "", serial, biz_code)
    account.stock_flows.append(flow)
    data = {"msg": "success", "serial_num": serial, "error_code": ""}
    return Done({"code": 0, "data": data}, serial, changed=True)


def frozen_cash(ledger: Ledger, request: Json) -> Done:
    """Set available cash aside under a new serial number."""
    account_no = fields.account_no(request)
    currency = fields.currency(request)
    amount = fields.decimal(request, "frozen_amount", 2)
    biz_code = fields.text(request, "biz_code")
    remark = fields.optional_text(request, "remark")
    fields.flag(request, "require_risk_check")
    account = ledger.account(account_no)
    if account.available_cash(currency) < amount:
        raise RefusalError(Code.CASH_INSUFFICIENT, "insufficient available cash")
    serial = ledger.new_serial()
    account.freezes[serial] = Freeze(serial, currency, amount)
    shift(account.frozen, currency, amount)
    flow = Flow("Cash Freeze", amount, currency, ledger.wall_s(), remark or "", serial, biz_code)
    account.frozen_flows.append(flow)
    return _frozen_answer(serial)


def unfrozen_cash(ledger: Ledger, request: Json) -> Done:
    """Give a freeze back, wholly or in part."""
    account_no = fields.account_no(request)
    currency = fields.currency(request)
    amount = fields.decimal(request, "unfrozen_amount", 2)
    biz_code = fields.text(request, "biz_code")
    remark = fields.optional_text(request, "remark")
    account = ledger.account(account_no)
    freeze = _freeze(account, request)
    if freeze.currency != currency:
        raise RefusalError(Code.FREEZE_CURRENCY, f"the freeze is in {freeze.currency}")
    if freeze.rest < amount:
        raise RefusalError(Code.FREEZE_REST_TOO_SMALL, f"only {freeze.rest} is still frozen")
    serial = _release(ledger, account, freeze, amount, (remark or "", biz_code))
    return _frozen_answer(serial)


def unfrozen_debit(ledger: Ledger, request: Json) -> Done:
    """Take what is left of a freeze for good."""
    account_no = fields.account_no(request)
    biz_code = fields.optional_text(request, "biz_code") or ""
    account = ledger.account(account_no)
    freeze = _freeze(account, request)
    amount = freeze.rest
    if amount == 0:
        raise RefusalError(Code.FREEZE_REST_TOO_SMALL, "nothing is frozen any more")
    serial = _release(ledger, account, freeze, amount, ("", biz_code))
    delta = amount.copy_negate()
    account.add_cash(freeze.currency, delta)
    flow = Flow("Unfreeze Debit", delta, freeze.currency, ledger.wall_s(), "", serial, biz_code)
    account.cash_flows.append(flow)
    data = {"msg": "success", "serial_num": serial, "error_code": ""}
    return Done({"code": 0, "data": data}, serial, changed=True)


def _freeze(account: Account, request: Json) -> Freeze:
    freeze = account.freezes.get(fields.text(request, "serial_num"))
    if freeze is None:
        raise RefusalError(Code.FREEZE_UNKNOWN, "no freeze of this account has that serial_num")
    return freeze


def _release(ledger: Ledger, account: Account, freeze: Freeze, amount: Decimal, texts: tuple[str, str]) -> str:
    serial = ledger.new_serial()
    freeze.rest = EXACT.subtract(freeze.rest, amount)
    shift(account.frozen, freeze.currency, amount.copy_negate())
    remark, biz_code = texts
    flow = Flow("Cash Unfreeze", amount.copy_negate(), freeze.currency, ledger.wall_s(), remark, serial, biz_code)
    account.frozen_flows.append(flow)
    return serial


def _frozen_answer(serial: str) -> Done:
    return Done({"code": 0, "data": {"msg": "success", "serial_num": serial}}, serial, changed=True)
