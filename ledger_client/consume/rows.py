"""An outcome as one flat row, the same for every sink; values that this release does not know are kept as they are."""

import json
from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from uuid import UUID

from ledger_client.errors import UnreadableError
from schemas.times import instant

Kind = Literal["uuid", "text", "integer", "instant", "json"]
Row = tuple[Any, ...]


class Column(NamedTuple):
    """A column: where its value lies in the outcome, what it is, and whether it may be null."""

    name: str
    kind: Kind
    path: tuple[str, ...]
    nullable: bool = True


def _column(name: str, kind: Kind, *path: str, must: bool = False) -> Column:
    return Column(name, kind, path or (name,), nullable=not must)


OUTCOME_COLUMNS = (
    _column("event_id", "uuid", must=True),
    _column("type", "text", must=True),
    _column("command_id", "uuid", must=True),
    _column("command_type", "text"),
    _column("account_no", "text", must=True),
    _column("account_seq", "integer", must=True),
    _column("occurred_at", "instant", must=True),
    _column("recorded_at", "instant", must=True),
    _column("issued_by", "text"),
    _column("correlation_id", "text"),
    _column("attempts", "integer", must=True),
    _column("adjust_no", "text", "result", "adjust_no"),
    _column("serial_num", "text", "result", "serial_num"),
    _column("order_id", "text", "result", "order_id"),
    _column("expires_at", "instant", "result", "expires_at"),
    _column("ended_by", "text", "result", "ended_by"),
    _column("basis", "text", "result", "basis"),
    _column("error_code", "text", "error", "code"),
    _column("error_message", "text", "error", "message"),
    _column("error_origin", "text", "error", "origin"),
    _column("error_field", "text", "error", "field"),
    _column("payload", "json"),
    _column("accepted_at", "instant", "timing", "accepted_at"),
    _column("first_sent_at", "instant", "timing", "first_sent_at"),
    _column("answered_at", "instant", "timing", "answered_at"),
    _column("decided_by", "text"),
    _column("refers_to", "uuid"),
    _column("source_topic", "text", "source", "topic", must=True),
    _column("source_partition", "integer", "source", "partition", must=True),
    _column("source_offset", "integer", "source", "offset", must=True),
)
COLUMNS = (
    *OUTCOME_COLUMNS,
    Column("read_partition", "integer", (), nullable=False),
    Column("read_offset", "integer", (), nullable=False),
)
EVENT_ID, ACCOUNT_NO, ACCOUNT_SEQ = (
    [column.name for column in COLUMNS].index(name) for name in ("event_id", "account_no", "account_seq")
)
INTEGER_MAX = 2**63 - 1


def _text(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError("not text")
    given.encode()  # a lone surrogate has no bytes
    return given


def _integer(given: object) -> int:
    if type(given) is not int or not -INTEGER_MAX <= given <= INTEGER_MAX:
        raise TypeError("not a 64-bit integer")
    return given


_READ: dict[Kind, Callable[[Any], Any]] = {
    "uuid": UUID,
    "text": _text,
    "integer": _integer,
    "instant": instant,
    "json": lambda value: _text(json.dumps(value, ensure_ascii=False)),
}


def row_of(value: bytes | None, partition: int, offset: int) -> Row:
    """Read an outcome's bytes, found at that place of the outcomes topic. Raises UnreadableError, which names the place."""
    try:
        read = _object(json.loads(value or b""))
        return (*(_cell(column, read) for column in OUTCOME_COLUMNS), partition, offset)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # json's errors are ValueErrors
        raise UnreadableError(f"the record at partition {partition}, offset {offset} is no outcome: {error}") from error


def _object(read: object) -> dict[str, Any]:
    if not isinstance(read, dict):
        raise TypeError("no JSON object")
    return read


def _cell(column: Column, read: dict[str, Any]) -> Any:  # noqa: ANN401
    here: Any = read
    for name in column.path:
        here = None if here is None else here.get(name)
    if here is None:
        if column.nullable:
            return None
        raise ValueError(f"{'.'.join(column.path)} is missing")
    try:
        return _READ[column.kind](here)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{'.'.join(column.path)} is no {column.kind}") from error
