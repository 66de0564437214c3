"""The page docs/commands.md: every field of every command, from the JSON Schemas. `python -m schemas.export` writes it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.commands import ADJUSTMENTS, FREEZES, MODELS

Json = dict[str, Any]

_HEAD = """# Commands, every field

Made from `schemas/` by `python -m schemas.export`; a test keeps it current. The rules that hold for all of them (what can be read, what
the same id again means, how amounts are written) are in [Messages](messages.md#commands); why one was refused, in [error codes](codes.md).

A field that is not required may be null or left out. A *decimal* is a number in a string, such as `"1000.00"`. Fields that are not named here are refused.

## Every command

"""


def as_markdown(documents: Mapping[str, Json]) -> str:
    """Write docs/commands.md from the documents of `schemas.export`."""
    first = documents[f"{next(iter(MODELS))}.json"]
    lines = [*_table(first), ""]
    for name in MODELS:
        lines += _command(name, documents[f"{name}.json"])
    return _HEAD + "\n".join(lines)


def _command(name: str, document: Json) -> Iterator[str]:
    payload, defined = document["properties"]["payload"], document["$defs"]
    yield f"## {name}"
    yield ""
    yield f"On the topic of {_topic(name)}. [JSON Schema](../schemas/json/{name}.json)."
    yield ""
    for one in payload.get("oneOf", [payload]):
        model = defined[_name(one)]
        yield model["description"]
        yield ""
        yield from _table(model)
        yield ""
    for other, model in defined.items():
        if other not in {_name(one) for one in payload.get("oneOf", [payload])}:
            field = next(field for field, one in _fields(document) if one.get("$ref", "").endswith(f"/{other}"))
            yield f"`{field}` has exactly one of:"
            yield ""
            yield from _table(model)
            yield ""
    yield "```json"
    yield json.dumps(document["examples"][0], indent=2, ensure_ascii=False)
    yield "```"
    yield ""


def _table(model: Json) -> Iterator[str]:
    yield "| field | form | required | meaning |"
    yield "|---|---|---|---|"
    for field, one in model["properties"].items():
        needed = "yes" if field in model.get("required", ()) else ""
        yield f"| `{field}` | {_form(field, one)} | {needed} | {one['description']} |"


def _fields(document: Json) -> Iterator[tuple[str, Json]]:
    for model in document["$defs"].values():
        yield from model["properties"].items()


def _form(field: str, one: Json) -> str:
    one = next((kind for kind in one.get("anyOf", ()) if kind.get("type") != "null"), one)
    match one:
        case {"const": value}:
            return "one of the ten below" if field == "type" else f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"$ref": _} | {"oneOf": _}:
            return "object"
        case {"format": name}:
            return str(name)
        case {"pattern": pattern} if "[1-9][0-9]{0,17}" in pattern:
            return "decimal"
        case {"type": "integer", "minimum": low, "maximum": high}:
            return f"integer, {low} to {high}"
        case {"maxLength": most}:
            return f"text, at most {most} characters"
        case _:
            return "text" if one["type"] == "string" else str(one["type"])


def _name(one: Json) -> str:
    return str(one["$ref"]).rpartition("/")[2]


def _topic(name: str) -> str:
    return "adjustments" if name in ADJUSTMENTS else "freezes" if name in FREEZES else "orders"
