"""The first stage: what is this record? Nothing but looking: no I/O, no clock, and no input makes it raise.

A record whose identity cannot be read is malformed. With an identity, the first thing wrong is named, in this order:
key missing, key of another account, type missing or unknown, topic of other types, then the fields in the record's
own sequence, and last those that it lacks in the sequence of the documentation.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.codes import ABOUT, Code
from schemas.commands import DEPTH_MAX, MODELS, VALUE_BYTES_MAX, CommandType
from schemas.envelope import Envelope
from schemas.references import Referred
from schemas.text import ACCOUNT_NO_PATTERN, UUID_PATTERN
from worker.ledger.commands import Command, Malformed, Reference, Refusal
from worker.ledger.content import content_hash
from worker.ledger.records import Headers, RawRecord
from worker.ledger.strict_json import NotOneObjectError, read_object

Wrong = tuple[Code, str, str | None]  # code, message, field
Path = tuple[str, ...]
TopicTypes = Mapping[str, frozenset[str]]  # topic name → the command types that belong on it

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

_is_uuid = re.compile(UUID_PATTERN).fullmatch
_is_account_no = re.compile(ACCOUNT_NO_PATTERN).fullmatch
_unprintable = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_has_control = re.compile("[\x00-\x1f]").search
_is_traceparent = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
_validators = {name: model.__pydantic_validator__ for name, model in MODELS.items()}


def check(record: RawRecord, topics: TopicTypes) -> Command | Refusal | Malformed:
    """Say what a record is. `topics` must know the record's topic (KeyError); nothing in the record itself raises."""
    belonging = topics[record.topic]
    read = _read(record.value)
    if isinstance(read, Malformed):
        return read
    wrong = _wrong_place(record.key, read, belonging)
    if wrong is not None:
        return _refusal(record, read, *wrong)
    try:
        envelope: Envelope = _validators[read["type"]].validate_python(read)
    except ValidationError as error:
        return _refusal(record, read, *_first_wrong(error, read))
    return _command(record, read, envelope)


def _read(value: bytes | None) -> dict[str, Any] | Malformed:
    if not value:
        return Malformed("MALFORMED", "the value is null" if value is None else "the value is empty")
    if len(value) > VALUE_BYTES_MAX:
        return Malformed("TOO_LARGE", f"the value has {len(value)} bytes, more than {VALUE_BYTES_MAX}")
    try:
        read = read_object(value, depth_max=DEPTH_MAX)
    except NotOneObjectError as error:
        return Malformed("MALFORMED", f"the value is unreadable: {error}")
    command_id, account_no = read.get("command_id"), read.get("account_no")
    if not (isinstance(command_id, str) and _is_uuid(command_id)):
        return Malformed("MALFORMED", "command_id is not a lower-case hyphenated UUID")
    if not (isinstance(account_no, str) and _is_account_no(account_no)):
        return Malformed("MALFORMED", "account_no is not 1 to 32 letters, digits, dots, underscores or hyphens")
    return read


def _wrong_place(key: bytes | None, read: dict[str, Any], belonging: frozenset[str]) -> Wrong | None:
    if key is None:
        return Code.KEY_MISSING, "the record has no key; it must be the account_no", None
    if key != read["account_no"].encode("ascii"):
        return Code.KEY_MISMATCH, "the record's key is not its account_no", "account_no"
    return _wrong_type(read.get("type"), belonging)


def _wrong_type(command_type: object, belonging: frozenset[str]) -> Wrong | None:
    if command_type is None:
        return Code.FIELD_MISSING, "type: is required", "type"
    if not isinstance(command_type, str):
        return Code.FIELD_TYPE, "type: must be a string", "type"
    if command_type not in MODELS:
        return Code.TYPE_UNKNOWN, "type: is none of the known command types", "type"
    if command_type not in belonging:
        return Code.WRONG_TOPIC, f"type: {command_type} belongs on another topic", "type"
    return None


def _first_wrong(error: ValidationError, read: dict[str, Any]) -> Wrong:
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


def _refusal(record: RawRecord, read: dict[str, Any], code: Code, message: str, field: str | None) -> Refusal:
    return Refusal(
        command_id=UUID(read["command_id"]),
        account_no=read["account_no"],
        command_type=_if_showable(read.get("type"), NAME_MAX),
        issued_by=_if_showable(read.get("issued_by")),
        correlation_id=_if_showable(read.get("correlation_id")),
        content_hash=content_hash(read),
        code=code.value,
        message=message,
        field=field,
        traceparent=_traceparent(record.headers),
    )


def _command(record: RawRecord, read: dict[str, Any], envelope: Envelope) -> Command:
    return Command(
        command_id=UUID(envelope.command_id),
        command_type=envelope.type,
        account_no=envelope.account_no,
        issued_at=envelope.issued_at,
        issued_by=envelope.issued_by,
        not_after=envelope.not_after,
        correlation_id=envelope.correlation_id,
        payload=read["payload"],
        content_hash=content_hash(read),
        traceparent=_traceparent(record.headers),
        expires_at=envelope.payload.lapses_at(),
        reference=_reference(envelope.payload.refers_to()),
    )


def _reference(referred: Referred | None) -> Reference | None:
    if referred is None:
        return None
    command_id = None if referred.command_id is None else UUID(referred.command_id)
    return Reference(referred.kind, command_id, referred.number)


def _traceparent(headers: Headers) -> str | None:
    """Return the W3C trace context that the record carries, if it carries a valid one."""
    for name, value in headers:
        if name == b"traceparent" and value is not None and _is_traceparent(value):
            return value.decode("ascii")
    return None


def _if_showable(given: object, length_max: int = VALUE_BYTES_MAX) -> str | None:
    if isinstance(given, str) and len(given) <= length_max and not _has_control(given):
        return given
    return None


def _clean(name: str) -> str:
    return _unprintable.sub("\ufffd", name[:NAME_MAX])
