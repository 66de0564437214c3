"""Instants as RFC 3339 date-times with an offset, and calendar days.

Seconds are required; `T` and `Z` may be lower case, as RFC 3339 section 5.6 allows; a blank instead of `T` may not.
A leap second (`:60`) is refused: neither Python nor the clock that judges deadlines can say when it was.
Digits beyond microseconds are cut off, so an instant is never read as later than it was written.
"""

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from schemas.codes import Code
from schemas.text import refusal

_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
_INSTANT_PATTERN = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt]{_CLOCK}:[0-5][0-9](\.%s)?([Zz]|[+-]{_CLOCK})"
_is_instant = re.compile(_INSTANT_PATTERN % "[0-9]+").fullmatch
_part_of_a_second = re.compile(r"\.0*[1-9]").search
_is_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch


def instant(text: str) -> datetime:
    """Read an RFC 3339 date-time as an instant in UTC; raise ValueError if it is none, or not one of years 1 to 9999."""
    if not _is_instant(text):
        raise ValueError(text)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(text) from error


@lru_cache(maxsize=4096)  # an outcome names the same few instants again, and so do its neighbours in a batch
def written(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC with microseconds and `Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def written_whole(at: datetime) -> str:
    """Write an instant of a whole second as RFC 3339 in UTC with `Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _read(given: object) -> datetime:
    if given is None:
        raise refusal(Code.FIELD_MISSING, "is required")
    if isinstance(given, datetime) and given.tzinfo is not None:  # never from JSON: a sender who builds a command
        return given.astimezone(UTC)
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
        date.fromisoformat(text if _is_day(text) else "")
    except ValueError:
        raise refusal(Code.DATE_INVALID, "must be a calendar day, YYYY-MM-DD") from None
    return text


_DATE_TIME = {"type": "string", "format": "date-time"}

Instant = Annotated[
    datetime, PlainValidator(_read), WithJsonSchema({**_DATE_TIME, "pattern": f"^{_INSTANT_PATTERN}$" % "[0-9]+"})
]
WholeSecond = Annotated[
    datetime, PlainValidator(_read_whole), WithJsonSchema({**_DATE_TIME, "pattern": f"^{_INSTANT_PATTERN}$" % "0+"})
]
Day = Annotated[
    str,
    AfterValidator(_read_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
]
