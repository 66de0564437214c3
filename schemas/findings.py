"""What is wrong with a command: pydantic's findings in our codes, the first of them in the sequence of the documentation.

The texts hold nothing of the command. What the worker says in a rejected outcome is what a sender is told beforehand.
"""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.codes import ABOUT, Code
from schemas.commands import MODELS, CommandType

Wrong = tuple[Code, str, str | None]  # code, message, field
Path = tuple[str, ...]

NAME_MAX = 64
_FINDINGS = {  # pydantic's types of error that our models can raise, less those of objects
    "literal_error": (Code.VALUE_UNKNOWN, "must be {expected}"),
    "union_tag_invalid": (Code.VALUE_UNKNOWN, "must be one of {expected_tags}"),
    "greater_than_equal": (Code.OUT_OF_RANGE, "must be at least {ge}"),
    "less_than_equal": (Code.OUT_OF_RANGE, "must be at most {le}"),
    "string_type": (Code.FIELD_TYPE, "must be a string"),
    "int_type": (Code.FIELD_TYPE, "must be a JSON integer"),
    "bool_type": (Code.FIELD_TYPE, "must be true or false"),
}

_unprintable = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def wrong_type(command_type: object, belonging: frozenset[str]) -> Wrong | None:
    """Say what is wrong with a `type` on a topic of those types, if anything."""
    if command_type is None:
        return Code.FIELD_MISSING, "type: is required", "type"
    if not isinstance(command_type, str):
        return Code.FIELD_TYPE, "type: must be a string", "type"
    if command_type not in MODELS:
        return Code.TYPE_UNKNOWN, "type: is none of the known command types", "type"
    if command_type not in belonging:
        return Code.WRONG_TOPIC, f"type: {command_type} belongs on another topic", "type"
    return None


def first_wrong(error: ValidationError, read: dict[str, Any]) -> Wrong:
    """Name the first thing that is wrong: by the sequence of `read`, then what it lacks."""
    tagged = read["type"] == CommandType.TEMP_ADJUST
    found = {_path(detail, tagged): detail for detail in error.errors(include_url=False, include_input=False)}
    path = next((place for place in _places(read) if place in found), None) or next(iter(found))
    code, text = _named(found[path], _member(path, read))
    field = ".".join(_clean(name) for name in path)
    return code, f"{field}: {text}", field


def _path(detail: ErrorDetails, tagged: bool) -> Path:
    """Return the names from the root to the field to blame; `tagged` is of a payload in variants, pydantic names them."""
    path = tuple(str(part) for part in detail["loc"])
    if detail["type"].startswith("union_tag"):
        return (*path, "security_type")
    if tagged and path[0] == "payload":
        path = path[:1] + path[2:]
    blamed = detail.get("ctx", {}).get("field")
    return path if blamed is None else (*path, blamed)


def _places(members: dict[str, Any], above: Path = ()) -> Iterator[Path]:
    """Walk the record's fields in its own sequence."""
    for name, member in members.items():
        yield (*above, name)
        if isinstance(member, dict):
            yield from _places(member, (*above, name))


def _member(path: Path, read: dict[str, Any]) -> object:
    here: Any = read
    for name in path:
        here = here.get(name) if isinstance(here, dict) else None
    return here


def _named(detail: ErrorDetails, given: object) -> tuple[Code, str]:
    """Give pydantic's finding our code and a text that holds nothing of the record."""
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind in ABOUT:
        return Code(kind), ctx["text"]
    if kind == "extra_forbidden":
        return Code.FIELD_UNKNOWN, "is not a field of this command"
    if given is None:
        return Code.FIELD_MISSING, "is required"
    code, text = _FINDINGS.get(kind, (Code.FIELD_TYPE, "must be a JSON object"))
    return code, text.format(**ctx)


def _clean(name: str) -> str:
    return _unprintable.sub("\ufffd", name[:NAME_MAX])
