"""Valid commands of all ten types."""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

SAMPLES: dict[str, dict[str, Any]] = {
    "cash.adjust": {"direction": "CREDIT", "currency": "USD", "amount": "100.00", "biz_code": "CASH_ADJ_001"},
    "position.adjust": {
        "direction": "CREDIT",
        "market": "US",
        "symbol": "AAPL.US",
        "quantity": "10",
        "biz_code": "POS_ADJ_001",
    },
    "temp.adjust": {
        "security_type": "CASH",
        "direction": "CREDIT",
        "currency": "USD",
        "amount": "1000.00",
        "biz_code": "CASH_ADJ_001",
        "remark": "intraday",
        "expires_at": None,
        "op_user": "admin",
    },
    "temp.expire": {"adjust": {"adjust_no": "TA1"}, "op_user": "admin"},
    "cash.freeze": {"currency": "USD", "amount": "50.00", "biz_code": "FREEZE_001"},
    "cash.unfreeze": {"freeze": {"serial_num": "F1"}, "currency": "USD", "amount": "50.00", "biz_code": "FREEZE_001"},
    "cash.debit_frozen": {"freeze": {"serial_num": "F1"}},
    "order.place": {
        "symbol": "AAPL.US",
        "side": "Buy",
        "order_type": "LO",
        "quantity": "10",
        "time_in_force": "Day",
        "price": "180.00",
    },
    "order.modify": {"order": {"order_id": "O1"}, "quantity": "5", "price": "181.00"},
    "order.withdraw": {"order": {"order_id": "O1"}},
}
"""A payload per type. `temp.adjust` needs an `expires_at`; those that refer name numbers that exist nowhere."""


def new_command_id() -> str:
    """Return a random version-4 id in its lower-case hyphenated form."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def new_account() -> str:
    """Return an account that no other test uses."""
    return f"H{secrets.token_hex(6).upper()}"


def command(
    type_: str,
    account_no: str,
    payload: Mapping[str, Any] | None = None,
    *,
    command_id: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Return a command: the type's sample payload with `payload` laid over it, and other fields of the envelope."""
    return {
        "command_id": command_id or new_command_id(),
        "type": type_,
        "account_no": account_no,
        "issued_at": "2026-11-22T08:30:00Z",
        "issued_by": "tests",
        "payload": {**SAMPLES[type_], **(payload or {})},
        **fields,
    }
