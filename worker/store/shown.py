"""Rows as people and machines are shown them: instants as RFC 3339, bytes as text where they are text."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from schemas.times import written

Shown = dict[str, Any]


def shown(row: RowMapping) -> Shown:
    """Return a row with its instants written out."""
    return {str(name): written(value) if isinstance(value, datetime) else value for name, value in row.items()}


def all_shown(rows: Iterable[RowMapping]) -> list[Shown]:
    """Return rows with their instants written out."""
    return [shown(row) for row in rows]


def text_of(value: bytes | memoryview | None) -> str | None:
    """Return bytes as text; what is not UTF-8 is escaped."""
    return None if value is None else bytes(value).decode("utf-8", "backslashreplace")
