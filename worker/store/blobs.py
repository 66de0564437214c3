"""How headers and JSON are kept in a column."""

from collections.abc import Sequence
from struct import Struct
from typing import Any

from schemas.compact import compact
from worker.ledger.records import Header, Headers

_NULL = 0xFFFFFFFF
_LENGTH = Struct("!I")
_NO_VALUE = _LENGTH.pack(_NULL)


def pack_headers(headers: Sequence[Header]) -> bytes:
    """Pack names and values, any bytes, into one: for each its length in four bytes, then itself; all ones is null."""
    length = _LENGTH.pack
    return b"".join(
        [
            length(len(name)) + name + (_NO_VALUE if value is None else length(len(value)) + value)
            for name, value in headers
        ]
    )


def unpack_headers(packed: bytes) -> Headers:
    """Undo `pack_headers`."""
    parts: list[bytes | None] = []
    at = 0
    while at < len(packed):
        size = int.from_bytes(packed[at : at + 4], "big")
        at += 4
        if size == _NULL:
            parts.append(None)
        else:
            parts.append(packed[at : at + size])
            at += size
    return tuple((name or b"", value) for name, value in zip(parts[::2], parts[1::2], strict=True))


def members(row: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a dataclass's members by name; `asdict` would copy what they hold, all the way down."""
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def to_json(value: Any) -> str | None:  # noqa: ANN401
    """Write a value for a jsonb parameter; None is NULL."""
    return None if value is None else compact(value).decode()
