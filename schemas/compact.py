"""Compact JSON, as it is stored and published: no blanks, UTF-8, members in the sequence in which they are given."""

import json
from typing import Any
from uuid import UUID

import orjson

# orjson knows ways of its own to write these; here they are a mistake, as in Python's own encoder
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def _text_of_uuid(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_text_of_uuid).encode


def compact(value: Any) -> bytes:  # noqa: ANN401
    """Write a JSON value; a UUID becomes its text. Raises TypeError for what JSON does not have.

    A lone surrogate, which only the brokerage could send, becomes `?`; an integer may have any length.
    """
    try:
        return orjson.dumps(value, option=_STRICT)
    except TypeError:
        return _encode(value).encode("utf-8", "replace")
