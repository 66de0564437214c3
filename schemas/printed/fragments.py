"""What the schemas share: ids, instants, amounts as text, places on a topic, and how objects and lists are made of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.commands import CommandType

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "integer", "minimum": 1}
SECONDS: Schema = {"type": "number"}
OBJECT: Schema = {"type": "object"}
ID: Schema = {"type": "string", "format": "uuid"}
INSTANT: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
}
AMOUNT: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
HASH: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
FINGERPRINT: Schema = {"type": "string", "pattern": "^[0-9a-f]{16}$"}
ACCOUNT: Schema = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,32}$"}
TOPIC: Schema = {"type": "string", "description": "its name in Kafka"}
COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}


def maybe(kind: Schema) -> Schema:
    """Return what is of this kind, or null."""
    return {"anyOf": [kind, {"type": "null"}]}


def told(kind: Schema, text: str) -> Schema:
    """Return the kind with a description, for a member whose name does not say it."""
    return {**kind, "description": text}


def one_of(words: Iterable[str]) -> Schema:
    """Return the texts that can be there."""
    return {"enum": [str(word) for word in words]}


def is_(word: str) -> Schema:
    """Return the only text that can be there."""
    return {"const": word}


def an(members: Mapping[str, Schema], sometimes: Mapping[str, Schema] | None = None) -> Schema:
    """Return an object with all these members; `sometimes` are there only where their descriptions say so."""
    return {
        "type": "object",
        "properties": {**members, **(sometimes or {})},
        "required": list(members),
        "additionalProperties": True,
    }


def listed(item: Schema) -> Schema:
    """Return a list of such items."""
    return {"type": "array", "items": item}


def rows(members: Mapping[str, Schema], sometimes: Mapping[str, Schema] | None = None) -> Schema:
    """Return a list of such objects."""
    return listed(an(members, sometimes))


def either(**shapes: Schema) -> Schema:
    """Return a document of one of several shapes, each under its title."""
    return {"anyOf": [{"title": title.replace("_", " "), **shape} for title, shape in shapes.items()]}


NTH = told(COUNT, "which of its kind it is, from 1: of many only the first few and the last are there")
LEFT_OUT = told(COUNTS, "by kind, how many lie between those that are there")
OPERATION = one_of(CommandType)
PLACE: dict[str, Schema] = {"topic": TOPIC, "partition": COUNT, "offset": COUNT}
PUBLISHED: dict[str, Schema] = {
    "published_at": told(maybe(INSTANT), "when Kafka acknowledged it; null while it waits"),
    "published_partition": maybe(COUNT),
    "published_offset": maybe(COUNT),
}
AMOUNT_OF = told(maybe(TEXT), "how much of what, such as 1000.00 USD; null where the payload names no amount")
AGE = told(TEXT, "as people say it, such as 3h 5m")
