"""Rows as array parameters, one per column, written in Postgres' binary form a column at a time.

psycopg writes an array value by value, through its adapters: a fifth of the worker's time went there. The form is
`array_send`'s: dimensions, whether there are nulls, the elements' oid, length and lower bound; then each element behind
its length in four bytes, -1 for a null.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from struct import Struct
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from typing_extensions import override

Rows = Sequence[Mapping[str, Any]]

_NULL = b"\xff\xff\xff\xff"
_HEADER = Struct("!iiIii").pack
_LENGTH = Struct("!i").pack
_UUID_LENGTH = _LENGTH(16)
_INSTANT = Struct("!iq").pack
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Kind:
    """An element type: its oid, its array's, and how a value is written, behind its length."""

    oid: int
    array_oid: int
    write: Callable[[Any], bytes]


def _number(form: str) -> Callable[[Any], bytes]:
    pack = Struct(f"!i{form}")
    return partial(pack.pack, pack.size - 4)


def _instant(at: datetime) -> bytes:
    since = at - _EPOCH
    return _INSTANT(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data


def _jsonb(text: str) -> bytes:
    data = text.encode()
    return _LENGTH(len(data) + 1) + b"\x01" + data  # a version goes before the text


_KINDS = {
    "bigint": _Kind(20, 1016, _number("q")),
    "boolean": _Kind(16, 1000, _number("?")),
    "bytea": _Kind(17, 1001, lambda data: _LENGTH(len(data)) + data),
    "float8": _Kind(701, 1022, _number("d")),
    "int": _Kind(23, 1007, _number("i")),
    "jsonb": _Kind(3802, 3807, _jsonb),
    "smallint": _Kind(21, 1005, _number("h")),
    "text": _Kind(25, 1009, _text),
    "timestamptz": _Kind(1184, 1185, _instant),
    "uuid": _Kind(2950, 2951, lambda value: _UUID_LENGTH + value.bytes),
}


@dataclass(frozen=True, slots=True)
class _Array:
    """A written array; psycopg chooses the dumper by the class, of which there is one for each kind."""

    data: bytes


@cache
def _array_class(kind: str) -> type[_Array]:
    made = type(f"{kind.title()}Array", (_Array,), {"__slots__": ()})

    class ArrayDumper(Dumper):
        """Hands over what is written already."""

        format = Format.BINARY
        oid = _KINDS[kind].array_oid

        @override
        def dump(self, obj: _Array) -> bytes:
            return obj.data

    psycopg.adapters.register_dumper(made, ArrayDumper)
    return made


for _name in _KINDS:
    _array_class(_name)


def written(kind: str, values: Sequence[Any]) -> _Array:
    """Write one column. TypeError, AttributeError or struct.error for a value that is not of the kind."""
    count = len(values)
    known = _KINDS[kind]
    if not count:
        return _array_class(kind)(_HEADER(0, 0, known.oid, 0, 1)[:12])
    first, write = values[0], known.write
    if values.count(first) == count:  # many columns are: a topic, an instant, an owner
        body = (_NULL if first is None else write(first)) * count
    else:
        body = b"".join([_NULL if value is None else write(value) for value in values])
    return _array_class(kind)(_HEADER(1, 1, known.oid, count, 1) + body)


def arrays(columns: Mapping[str, str], rows: Rows, prefix: str = "") -> dict[str, Any]:
    """Turn rows into the array parameters of `from_arrays`; a missing value is NULL."""
    return {prefix + name: written(kind, [row.get(name) for row in rows]) for name, kind in columns.items()}


def written_columns(columns: Mapping[str, str], rows: Sequence[tuple[Any, ...]], prefix: str = "") -> dict[str, Any]:
    """Turn rows, one at least and each with all columns in their sequence, into the same parameters."""
    by_column = zip(columns.items(), zip(*rows, strict=True), strict=True)
    return {prefix + name: written(kind, values) for (name, kind), values in by_column}
