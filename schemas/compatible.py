"""Whether one version of a document may follow another: what is sent today is still taken, what is read is still there.

Of a command (input) the new schema must take all that the old one took: stricter is incompatible. Of an outcome, its
headers and the audit (output) the old schema must take all that the new one gives, and nothing may go away. What cannot
be judged, such as another pattern, counts as incompatible.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from schemas.commands import MODELS

Json = Mapping[str, Any]
Documents = Mapping[str, Json]

INPUTS = frozenset(f"{name}.json" for name in MODELS)
OUTPUTS = frozenset({"outcome.json", "outcome-headers.json", "dead-letter-headers.json", "audit.json"})
_SAYS_NOTHING = frozenset({"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default"})
_JUDGED = frozenset({"type", "enum", "const", "properties", "required", "additionalProperties", "anyOf", "oneOf"})
_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_KINDS = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    list: "array",
    dict: "object",
}


class Rule(StrEnum):
    """What a change breaks."""

    DOCUMENT_REMOVED = "document removed"
    FIELD_REMOVED = "field removed"
    FIELD_RETYPED = "field retyped"
    FIELD_REQUIRED = "new required field"
    FIELD_NOT_ALWAYS = "field no longer always there"
    VALUES_NARROWED = "values narrowed"
    VALUES_WIDENED = "values widened"
    FORM_CHANGED = "form changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One incompatible change; `field` is a dotted path from the document's root, empty for the document itself."""

    document: str
    field: str
    rule: Rule
    what: str

    @property
    def sentence(self) -> str:
        """One line for a person."""
        place = f"{self.document} {self.field}".rstrip()
        return f"{place}: {self.rule}: {self.what}"


Found = Iterator[tuple[str, Rule, str]]


def incompatible(old: Documents, new: Documents) -> list[Change]:
    """Return every change of commands, outcomes and headers that breaks somebody; documents of other names are left alone."""
    changes = []
    for name in sorted((INPUTS | OUTPUTS) & old.keys()):
        if name not in new:
            changes.append(Change(name, "", Rule.DOCUMENT_REMOVED, "it was released"))
            continue
        compare = _Comparison(old[name], new[name], is_input=name in INPUTS)
        changes += [Change(name, field, rule, what) for field, rule, what in compare.found()]
    return changes


class _Comparison:
    """One document against its successor."""

    def __init__(self, old: Json, new: Json, *, is_input: bool) -> None:
        self._old, self._new, self._is_input = old, new, is_input

    def found(self) -> Found:
        yield from self._schemas(self._old, self._new, "")

    def _schemas(self, old: Json, new: Json, path: str) -> Found:
        olds, news = _alternatives(old, self._old), _alternatives(new, self._new)
        # of an input each old shape must be taken by a new one; of an output each new shape must be one of the old
        sources, targets = (olds, news) if self._is_input else (news, olds)
        for source in sources:
            tried = [self._pair(source, target, path) for target in targets]
            yield from min(tried, key=lambda found: (_is_another_kind(found, path), len(found)))

    def _pair(self, source: Json, target: Json, path: str) -> list[tuple[str, Rule, str]]:
        old, new = (source, target) if self._is_input else (target, source)
        if not _kinds(source) <= _kinds(target):
            return [(path, Rule.FIELD_RETYPED, f"was {_shown(old)}, is {_shown(new)}")]
        return [
            *self._values(old, new, path),
            *self._bounds(source, target, path),
            *self._members(old, new, path),
            *self._further(source, target, path),
            *self._rest(old, new, path),
        ]

    def _values(self, old: Json, new: Json, path: str) -> Found:
        olds, news = _values(old), _values(new)
        if news is not None and (olds or self._is_input) and (olds is None or olds - news):
            gone = "any other value" if olds is None else ", ".join(sorted(olds - news))
            yield path, Rule.VALUES_NARROWED, f"{gone} is no longer among them"
        if not self._is_input and olds is not None and (news is None or news - olds):
            come = "any other value" if news is None else ", ".join(sorted(news - olds))
            yield path, Rule.VALUES_WIDENED, f"{come} is new to those who read it"

    def _bounds(self, source: Json, target: Json, path: str) -> Found:
        for keyword in sorted((_LOWER | _UPPER) & target.keys()):
            within: Callable[[Any, Any], bool] = _at_least if keyword in _LOWER else _at_most
            if keyword not in source or not within(source[keyword], target[keyword]):
                given = source.get(keyword, "none") if self._is_input else target[keyword]
                now = target[keyword] if self._is_input else source.get(keyword, "none")
                yield path, Rule.FORM_CHANGED, f"{keyword} was {given}, is {now}"

    def _members(self, old: Json, new: Json, path: str) -> Found:
        olds, news = old.get("properties", {}), new.get("properties", {})
        for name in olds:
            here = f"{path}.{name}".lstrip(".")
            if name in news:
                yield from self._schemas(olds[name], news[name], here)
            else:
                yield here, Rule.FIELD_REMOVED, "it was released"
        musts, now = set(old.get("required", ())), set(new.get("required", ()))
        if self._is_input:
            for name in sorted(now - musts):
                yield f"{path}.{name}".lstrip("."), Rule.FIELD_REQUIRED, "commands of today lack it"
        else:
            for name in sorted((musts - now) & news.keys()):
                yield f"{path}.{name}".lstrip("."), Rule.FIELD_NOT_ALWAYS, "readers rely on it"

    def _further(self, source: Json, target: Json, path: str) -> Found:
        allowed = target.get("additionalProperties", True)
        come = source.get("properties", {}).keys() - target.get("properties", {}).keys()
        if allowed is not True and (
            source.get("additionalProperties", True) != allowed or (come and not self._is_input)
        ):
            yield path, Rule.FORM_CHANGED, "further fields are refused"

    def _rest(self, old: Json, new: Json, path: str) -> Found:
        """Compare by equality what is not understood; dropping a condition from an input only widens it."""
        ours = _SAYS_NOTHING | _JUDGED | _LOWER | _UPPER
        combined = {"anyOf", "oneOf"} & (old.keys() | new.keys())
        for keyword in sorted((old.keys() | new.keys()) - ours | combined):
            dropped = (keyword not in new) if self._is_input else (keyword not in old)
            if not dropped and old.get(keyword) != new.get(keyword):
                yield path, Rule.FORM_CHANGED, f"{keyword} is another"


def _is_another_kind(found: list[tuple[str, Rule, str]], path: str) -> bool:
    return any(field == path and rule is Rule.FIELD_RETYPED for field, rule, _ in found)


def _alternatives(schema: Json, root: Json) -> list[Json]:
    """Return the shapes that a value may have, references followed."""
    if "$ref" in schema:
        return _alternatives(root["$defs"][str(schema["$ref"]).rpartition("/")[2]], root)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and "properties" not in schema:
            return [shape for one in schema[keyword] for shape in _alternatives(one, root)]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return [{**schema, "type": kind} for kind in kinds]
    return [schema]


def _kinds(schema: Json) -> set[str]:
    """Return the JSON types that a shape takes."""
    if "type" in schema:
        kind = str(schema["type"])
        return {"number", "integer"} if kind == "number" else {kind}
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {"any", *_KINDS.values()} if values is None else {_KINDS[type(value)] for value in values}


def _values(schema: Json) -> set[str] | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else {str(value) for value in values}


def _shown(schema: Json) -> str:
    kinds = _kinds(schema)
    return "anything" if "any" in kinds else str(schema.get("type") or ", ".join(sorted(kinds)))


def _at_least(given: Any, bound: Any) -> bool:  # noqa: ANN401
    return bool(given >= bound)


def _at_most(given: Any, bound: Any) -> bool:  # noqa: ANN401
    return bool(given <= bound)
