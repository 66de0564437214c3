"""One JSON object from bytes, read so that two readers cannot disagree about what it says.

Python's own reader guesses UTF-16, takes NaN and the last of two equal names, turns 10,000 digits into an exception
and deep nesting into a RecursionError. None of that reaches the caller: the value is either one object or NotOneObject.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Never

_BOM = b"\xef\xbb\xbf"
_INT_CHARACTERS_MAX = 18
# a string (to the end of the text, if it is not closed) or a bracket; possessive, so that it is linear on any bytes
_token = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)
_surrogate = re.compile("[\ud800-\udfff]")


class NotOneObjectError(ValueError):
    """The bytes are not one JSON object by our rules; the text says why and holds nothing of the bytes."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is no short integer, kept as written: no field takes one, but two records may be compared."""

    text: str


def read_object(value: bytes, *, depth_max: int) -> dict[str, Any]:
    """Read one JSON object, the outermost being at depth 1. Linear in the bytes; raise NotOneObjectError."""
    if value.startswith(_BOM):
        raise NotOneObjectError("begins with a byte-order mark")
    if too_deep(value, depth_max):
        raise NotOneObjectError(f"nested deeper than {depth_max}")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotOneObjectError(f"not UTF-8 at byte {error.start}") from None
    try:
        parsed = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise NotOneObjectError(f"not JSON at character {error.pos}") from None
    if not isinstance(parsed, dict):
        raise NotOneObjectError("not a JSON object")
    if "\\u" in text and _has_surrogate(parsed):
        raise NotOneObjectError("a string holds a lone surrogate")
    return parsed


def too_deep(value: bytes, depth_max: int) -> bool:
    """Say whether brackets outside strings are nested deeper; linear in the bytes, whatever they are."""
    if value.count(b"{") + value.count(b"[") <= depth_max:
        return False
    depth = 0
    for token in _token.findall(value):
        if token in b"{[":
            depth += 1
            if depth > depth_max:
                return True
        elif token in b"}]":
            depth -= 1
    return False


def _has_surrogate(value: object) -> bool:
    match value:
        case str():
            return _surrogate.search(value) is not None
        case dict():
            return any(_has_surrogate(name) or _has_surrogate(member) for name, member in value.items())
        case list():
            return any(_has_surrogate(member) for member in value)
        case _:
            return False


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotOneObjectError("a name occurs twice in one object")
    return members


def _integer(text: str) -> int | Number:
    return int(text) if len(text) <= _INT_CHARACTERS_MAX else Number(text)


def _no_constant(_: str) -> Never:
    raise NotOneObjectError("NaN and Infinity are not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_int=_integer, parse_float=Number, parse_constant=_no_constant
)
