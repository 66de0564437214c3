"""Whether two records with one id say the same."""

from hashlib import sha256
from typing import Any

import orjson

from worker.ledger.strict_json import Number

HASH_VERSION = 1  # stored beside every hash: another canonical form takes another number
_NOT_CONTENT = frozenset({"issued_at", "correlation_id"})
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


def content_hash(command: dict[str, Any]) -> bytes:
    """SHA-256 over the parsed object less `issued_at` and `correlation_id`, in a form that its spelling cannot change.

    Members are sorted by name, those that are null are absent at every level, strings and numbers stand as written,
    so that `1`, `1.0`, `"1"` and `true` are four things. The argument comes from `strict_json.read_object`.
    """
    content = {name: member for name, member in command.items() if name not in _NOT_CONTENT}
    return sha256(orjson.dumps(_without_nulls(content), _number, _OPTIONS)).digest()


def _without_nulls(members: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _inside(member) if isinstance(member, dict | list) else member
        for name, member in members.items()
        if member is not None
    }


def _inside(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return _without_nulls(value)
    if isinstance(value, list):
        return [_inside(member) for member in value]
    return value


def _number(value: Any) -> dict[str, None]:  # noqa: ANN401
    if isinstance(value, Number):
        return {value.text: None}  # no object looks like this here, for a null member is absent
    raise TypeError(type(value))
