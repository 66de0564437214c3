"""Entries for what books cash and positions: adjustments and freezes. All are keyed by `request_id`, the command's id."""

from collections.abc import Callable
from typing import Any, Final

from worker.ledger.verdicts import Confirmed, InDoubt, Keying, Numbers, Refused, Request
from worker.whale.entry import DONE_CODES, REFUSED_CODES, Intent, Operation, Read, Variants, json_request, objection
from worker.whale.wire import Envelope, number_in

_DIRECTIONS: Final = {"DEBIT": 0, "CREDIT": 1}


def adjust_cash(intent: Intent, variants: Variants) -> Request:
    """Account Cash Balance Adjustment."""
    payload = intent.payload
    fields = {
        "account_no": intent.account_no,
        "direction": _DIRECTIONS[payload["direction"]],
        "currency": payload["currency"],
        "amount": payload["amount"],
        "biz_code": payload["biz_code"],
        "remark": payload.get("remark"),
        "request_id": str(intent.command_id),
        "require_risk_check": payload.get("risk_check"),
    }
    return json_request("POST", f"/{variants.api_version}/whaleapi/asset/adjust_cash", fields)


def adjust_position(intent: Intent, variants: Variants) -> Request:
    """Account Position Adjustment."""
    payload = intent.payload
    fields = {
        "account_no": intent.account_no,
        "direction": _DIRECTIONS[payload["direction"]],
        "market": payload["market"],
        "symbol": payload["symbol"],
        "quantity": payload["quantity"],
        "biz_code": payload["biz_code"],
        "remark": payload.get("remark"),
        "request_id": str(intent.command_id),
    }
    return json_request("POST", f"/{variants.api_version}/whaleapi/asset/adjust_stock", fields)


def freeze_cash(intent: Intent, variants: Variants) -> Request:
    """Account Cash Balance Freeze."""
    payload = intent.payload
    fields = {
        "account_no": intent.account_no,
        "currency": payload["currency"],
        "frozen_amount": payload["amount"],
        "remark": payload.get("remark"),
        "biz_code": payload["biz_code"],
        "request_id": str(intent.command_id),
        "require_risk_check": payload.get("risk_check"),
    }
    return json_request("POST", f"/{variants.api_version}/whaleapi/asset/frozen_cash", fields)


def unfreeze_cash(intent: Intent, variants: Variants) -> Request:
    """Account Cash Balance Unfreeze; the freeze is named by its serial number."""
    payload = intent.payload
    fields = {
        "account_no": intent.account_no,
        "currency": payload["currency"],
        "unfrozen_amount": payload["amount"],
        "remark": payload.get("remark"),
        "biz_code": payload["biz_code"],
        "serial_num": _freeze(intent),
        "request_id": str(intent.command_id),
    }
    return json_request("POST", f"/{variants.api_version}/whaleapi/asset/unfrozen_cash", fields)


def debit_frozen(intent: Intent, _variants: Variants) -> Request:
    """Account Cash Balance Unfreeze Debit: takes the whole freeze; only a v1 path is documented."""
    fields: dict[str, Any] = {
        "account_no": intent.account_no,
        "serial_num": _freeze(intent),
        "request_id": str(intent.command_id),
        "biz_code": intent.payload.get("biz_code"),
    }
    return json_request("POST", "/v1/whaleapi/asset/unfrozen_debit", fields)


def read_booking(
    envelope: Envelope, final_codes: frozenset[str], *, number_required: bool = True
) -> Confirmed | Refused | InDoubt:
    """Judge `data`: no inner code but success, and the ledger's serial number."""
    if envelope.data is None:
        return InDoubt("data_missing", "the brokerage answered success without data")
    if (against := objection(envelope, final_codes, DONE_CODES)) is not None:
        return against
    serial_num = number_in(envelope.data, "serial_num")
    if serial_num is None and number_required:
        return InDoubt("number_missing", "the brokerage answered success without a serial_num")
    return Confirmed(Numbers(serial_num=serial_num), "inner_success")


def read_debit(envelope: Envelope, final_codes: frozenset[str]) -> Confirmed | Refused | InDoubt:
    """Judge as `read_booking`; the page of the debit marks its serial number optional."""
    return read_booking(envelope, final_codes, number_required=False)


def _freeze(intent: Intent) -> str:
    if intent.target is None or intent.target.serial_num is None:
        raise ValueError("the freeze's serial number must be known before the call is built")
    return intent.target.serial_num


def _entry(
    command_type: str,
    title: str,
    build: Callable[[Intent, Variants], Request],
    read: Read = read_booking,
    *,
    of_freeze: bool = False,
    may_lack_number: bool = False,
) -> Operation:
    return Operation(
        command_type=command_type,
        title=title,
        keyed_by=Keying.REQUEST_ID,
        urgent=False,
        repeat_is_harmless=True,
        reference="freeze" if of_freeze else None,
        build=build,
        read=read,
        final_codes=REFUSED_CODES,
        makes="serial_num",
        may_lack_number=may_lack_number,
    )


ENTRIES: Final = (
    _entry("cash.adjust", "Account Cash Balance Adjustment", adjust_cash),
    _entry("position.adjust", "Account Position Adjustment", adjust_position),
    _entry("cash.freeze", "Account Cash Balance Freeze", freeze_cash),
    _entry("cash.unfreeze", "Account Cash Balance Unfreeze", unfreeze_cash, of_freeze=True),
    _entry(
        "cash.debit_frozen",
        "Account Cash Balance Unfreeze Debit",
        debit_frozen,
        read_debit,
        of_freeze=True,
        may_lack_number=True,
    ),
)
