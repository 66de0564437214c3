"""Rows as people and machines are shown them: instants as RFC 3339, bytes as text where they are text."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from schemas.times import written

Shown = dict[str, Any]


def shown(row: Mapping[str, Any]) -> Shown:
    """Return a row with its instants written out."""
    return {name: written(value) if isinstance(value, datetime) else value for name, value in row.items()}


def all_shown(rows: Iterable[Mapping[str, Any]]) -> list[Shown]:
    """Return rows with their instants written out."""
    return [shown(row) for row in rows]


def text_of(value: bytes | memoryview | None) -> str | None:
    """Return bytes as text; what is not UTF-8 is escaped."""
    return None if value is None else bytes(value).decode("utf-8", "backslashreplace")
