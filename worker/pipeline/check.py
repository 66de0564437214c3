"""The first stage: what is this record? Nothing but looking: no I/O, no clock, and no input makes it raise.

A record whose identity cannot be read is malformed. With an identity, the first thing wrong is named, in this order:
key missing, key of another account, type missing or unknown, topic of other types, then the fields in the record's
own sequence, and last those that it lacks in the sequence of the documentation.
"""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from schemas.codes import Code
from schemas.commands import DEPTH_MAX, MODELS, VALUE_BYTES_MAX
from schemas.envelope import Envelope
from schemas.findings import NAME_MAX, Wrong, first_wrong, wrong_type
from schemas.references import Referred
from schemas.text import ACCOUNT_NO_PATTERN, UUID_PATTERN
from worker.ledger.commands import Command, Malformed, Reference, Refusal
from worker.ledger.content import content_hash
from worker.ledger.records import Headers, RawRecord
from worker.ledger.strict_json import NotOneObjectError, read_object

TopicTypes = Mapping[str, frozenset[str]]  # topic name → the command types that belong on it

_is_uuid = re.compile(UUID_PATTERN).fullmatch
_is_account_no = re.compile(ACCOUNT_NO_PATTERN).fullmatch
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
        return _refusal(record, read, *first_wrong(error, read))
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
    return wrong_type(read.get("type"), belonging)


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
