"""Instants as RFC 3339 date-times with an offset, and calendar days.

Seconds are required; `T` and `Z` may be lower case, as RFC 3339 section 5.6 allows; a blank instead of `T` may not.
A leap second (`:60`) is refused: neither Python nor the clock that judges deadlines can say when it was.
Digits beyond microseconds are cut off, so an instant is never read as later than it was written.
"""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from schemas.codes import Code
from schemas.text import refusal

_INSTANT_PATTERN = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_instant = re.compile(_INSTANT_PATTERN).fullmatch
_part_of_a_second = re.compile(r"\.0*[1-9]").search
_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_HOURS, _MINUTES = 24, 60


def instant(text: str) -> datetime:
    """Read an RFC 3339 date-time as an instant in UTC; raise ValueError if it is none, or not one of years 1 to 9999."""
    match = _instant(text)
    if not match:
        raise ValueError(text)
    year, month, day, hour, minute, second, fraction, sign, *offset = match.groups()
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    given = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), micros, tzinfo=UTC)
    if sign is None:
        return given
    hours, minutes = int(offset[0]), int(offset[1])
    if hours >= _HOURS or minutes >= _MINUTES:
        raise ValueError(text)
    ahead = timedelta(hours=hours, minutes=minutes)
    try:
        return given.replace(tzinfo=timezone(ahead if sign == "+" else -ahead)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


def written(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC with microseconds and `Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def written_whole(at: datetime) -> str:
    """Write an instant of a whole second as RFC 3339 in UTC with `Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _read(given: object) -> datetime:
    if not isinstance(given, str):
        raise refusal(Code.FIELD_TYPE, "must be a string")
    try:
        return instant(given)
    except ValueError:
        raise refusal(
            Code.TIME_INVALID, "must be an RFC 3339 date-time with seconds and an offset, such as 2026-11-22T08:30:00Z"
        ) from None


def _read_whole(given: object) -> datetime:
    at = _read(given)
    if _part_of_a_second(str(given)):
        raise refusal(Code.TIME_INVALID, "must be a whole second")
    return at


def _read_day(text: str) -> str:
    try:
        if not _day(text):
            raise ValueError(text)
        date.fromisoformat(text)
    except ValueError:
        raise refusal(Code.DATE_INVALID, "must be a calendar day, YYYY-MM-DD") from None
    return text


_TIME_SCHEMA_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.%s)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
_DATE_TIME = {"type": "string", "format": "date-time"}

Instant = Annotated[
    datetime, PlainValidator(_read), WithJsonSchema({**_DATE_TIME, "pattern": _TIME_SCHEMA_PATTERN % "[0-9]+"})
]
WholeSecond = Annotated[
    datetime, PlainValidator(_read_whole), WithJsonSchema({**_DATE_TIME, "pattern": _TIME_SCHEMA_PATTERN % "0+"})
]
Day = Annotated[
    str,
    AfterValidator(_read_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
]
