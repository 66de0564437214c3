"""Commands that were never sent before, for accounts that no other test uses; payloads are those of tests/factories.py."""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from tests import factories


def new_command_id() -> str:
    """Return a random version-4 id in its lower-case hyphenated form."""
    return str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))


def new_account() -> str:
    """Return an account that no other test uses."""
    return f"H{secrets.token_hex(6).upper()}"


def new_command(
    type_: str, account_no: str, payload: Mapping[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Return a valid command with an id of its own: `payload` is laid over the type's, `changes` over the envelope."""
    valid = {
        "command_id": new_command_id(),
        "account_no": account_no,
        "payload": factories.payload(type_, **(payload or {})),
    }
    return factories.command(type_, **{**valid, **changes})
