"""Rows as array parameters, one per column, written in Postgres' binary form a column at a time.

psycopg writes an array value by value, through its adapters: a fifth of the worker's time went there. The form is
`array_send`'s: dimensions, whether there are nulls, the elements' oid, length and lower bound; then each element behind
its length in four bytes, -1 for a null.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
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
_BIGINT = Struct("!q").pack
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Kind:
    """An element type: its oid, its array's, and how a value is written."""

    oid: int
    array_oid: int
    write: Callable[[Any], bytes]


def _instant(at: datetime) -> bytes:
    since = at - _EPOCH
    return _BIGINT((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


_KINDS = {
    "bigint": _Kind(20, 1016, _BIGINT),
    "boolean": _Kind(16, 1000, Struct("!?").pack),
    "bytea": _Kind(17, 1001, bytes),
    "float8": _Kind(701, 1022, Struct("!d").pack),
    "int": _Kind(23, 1007, Struct("!i").pack),
    "jsonb": _Kind(3802, 3807, lambda text: b"\x01" + text.encode()),  # a version goes before the text
    "smallint": _Kind(21, 1005, Struct("!h").pack),
    "text": _Kind(25, 1009, str.encode),
    "timestamptz": _Kind(1184, 1185, _instant),
    "uuid": _Kind(2950, 2951, lambda value: value.bytes),
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
    """Write one column. TypeError or struct.error for a value that is not of the kind."""
    count = len(values)
    known = _KINDS[kind]
    if not count:
        return _array_class(kind)(_HEADER(0, 0, known.oid, 0, 1)[:12])
    first = values[0]
    if values.count(first) == count:  # many columns are: a topic, an instant, an owner
        body = _element(known.write, first) * count
    else:
        body = b"".join([_element(known.write, value) for value in values])
    return _array_class(kind)(_HEADER(1, 1, known.oid, count, 1) + body)


def _element(write: Callable[[Any], bytes], value: object) -> bytes:
    if value is None:
        return _NULL
    data = write(value)
    return _LENGTH(len(data)) + data


def arrays(columns: Mapping[str, str], rows: Rows) -> dict[str, Any]:
    """Turn rows into the array parameters of `from_arrays`; a missing value is NULL."""
    return {name: written(kind, [row.get(name) for row in rows]) for name, kind in columns.items()}
