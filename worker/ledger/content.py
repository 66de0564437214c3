"""Whether two records with one id say the same."""

import json
from hashlib import sha256
from typing import Any

from worker.ledger.strict_json import Number

HASH_VERSION = 1  # stored beside every hash: another canonical form takes another number
_NOT_CONTENT = frozenset({"issued_at", "correlation_id"})
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def content_hash(command: dict[str, Any]) -> bytes:
    """SHA-256 over the parsed object less `issued_at` and `correlation_id`, in a form that its spelling cannot change.

    Members are sorted by name, those that are null are absent at every level, strings and numbers stand as written,
    so that `1`, `1.0`, `"1"` and `true` are four things. The argument comes from `strict_json.read_object`.
    """
    content = {
        name: _canonical(member) for name, member in command.items() if member is not None and name not in _NOT_CONTENT
    }
    return sha256(_encode(content).encode("ascii")).digest()


def _canonical(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return {name: _canonical(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_canonical(member) for member in value]
    if isinstance(value, Number):
        return {value.text: None}  # no object looks like this here, for a null member is absent
    return value
