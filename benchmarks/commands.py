"""Cash adjustments, as records for Kafka and as the requests that the worker makes of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from worker.ledger.verdicts import Request
from worker.whale.operations import REGISTRY, Intent, Variants

COMMAND_TYPE = "cash.adjust"
_NAMESPACE = UUID("6f1d8b52-6a0e-5c4b-9a55-2f6c1b7d9e10")


@dataclass(frozen=True, slots=True)
class Given:
    """One command: its id, its account, and its bytes for Kafka; about 320 of them."""

    command_id: UUID
    account_no: str
    value: bytes


def commands(name: str, count: int, accounts: int, *, bytes_each: int = 0, first: int = 0) -> Iterator[Given]:
    """Make commands that go round the accounts from the `first` on; the same `name` gives the same ids.

    Each is filled up to `bytes_each` by its correlation_id.
    """
    issued_at = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251
    for number in range(count):
        command_id, account_no = _identity(name, number, accounts, first)
        command: dict[str, Any] = {
            "command_id": str(command_id),
            "type": COMMAND_TYPE,
            "account_no": account_no,
            "issued_at": issued_at,
            "issued_by": "benchmark",
            "payload": _payload(),
        }
        if bytes_each:
            command["correlation_id"] = ""
            command["correlation_id"] = "." * (bytes_each - len(json.dumps(command)))
        yield Given(command_id, account_no, json.dumps(command).encode())


def temporary(name: str, count: int, accounts: int, expires_at: datetime) -> Iterator[Given]:
    """Make temporary adjustments of cash that all end at that whole second."""
    for one in commands(name, count, accounts):
        command = json.loads(one.value) | {"type": "temp.adjust"}
        command["payload"] |= {
            "security_type": "CASH",
            "expires_at": expires_at.isoformat(timespec="seconds"),
            "op_user": "admin",
        }
        yield Given(one.command_id, one.account_no, json.dumps(command).encode())


def requests(name: str, count: int, accounts: int) -> list[Request]:
    """Make the requests that the worker would make of such commands."""
    build, variants = REGISTRY[COMMAND_TYPE].build, Variants()
    return [build(Intent(*_identity(name, number, accounts), _payload()), variants) for number in range(count)]


def _identity(name: str, number: int, accounts: int, first: int = 0) -> tuple[UUID, str]:
    return uuid5(_NAMESPACE, f"{name} {number}"), f"B{first + number % accounts:07d}"


def _payload() -> dict[str, str]:
    return {
        "direction": "CREDIT",
        "currency": "USD",
        "amount": "10.00",
        "biz_code": "CASH_ADJ_001",
        "remark": "benchmark",
    }
