"""Builds commands, and refuses before sending what the worker would refuse: by the same models, with the same codes."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args
from uuid import uuid4  # noqa: TID251 - here ids begin

from pydantic import ValidationError

from ledger_client.errors import RefusedError
from schemas.commands import MODELS, VALUE_BYTES_MAX
from schemas.envelope import Envelope, Payload
from schemas.findings import first_wrong, wrong_type
from schemas.times import written, written_whole

_TYPES: dict[type[Payload], str] = {
    payload: str(name)
    for name, model in MODELS.items()
    for annotation in (model.model_fields["payload"].annotation,)
    for payload in get_args(annotation) or (annotation,)
}


class Record(NamedTuple):
    """A command as it goes out."""

    command_id: str
    command_type: str
    key: bytes
    value: bytes


def new_command(
    payload: Payload,
    *,
    account_no: str,
    issued_by: str,
    command_id: str | None = None,
    not_after: datetime | None = None,
    correlation_id: str | None = None,
) -> Envelope:
    """Put a payload into an envelope, its type following from the payload's, under a new id unless one is given.

    The id names what is wanted, for ever: keep it with your own record of the intent, before you send. Raises RefusedError.
    """
    given = {
        "command_id": str(uuid4()) if command_id is None else command_id,
        "type": _TYPES[type(payload)],
        "account_no": account_no,
        "issued_at": datetime.now(UTC),  # noqa: TID251 - the sender's own clock, which nobody judges
        "issued_by": issued_by,
        "not_after": not_after,
        "correlation_id": correlation_id,
        "payload": payload,
    }
    return _checked(given)


def as_record(command: Envelope | Mapping[str, Any]) -> Record:
    """Check a command and write it as it goes out; what is given as a mapping stays as written. Raises RefusedError."""
    given = _plain(command.model_dump(exclude_none=True) if isinstance(command, Envelope) else command)
    checked = _checked(given)
    try:
        value = json.dumps(given, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:  # of a checked command only a lone surrogate is left to be wrong
        raise RefusedError("MALFORMED", f"the command cannot be written as JSON: {error}", None) from error
    if len(value) > VALUE_BYTES_MAX:
        raise RefusedError("TOO_LARGE", f"the command has {len(value)} bytes, more than {VALUE_BYTES_MAX}", None)
    return Record(checked.command_id, checked.type, checked.account_no.encode(), value)


def _checked(given: dict[str, Any]) -> Envelope:
    wrong = wrong_type(given.get("type"), frozenset(MODELS))
    if wrong is not None:
        raise RefusedError(*wrong)
    try:
        return MODELS[given["type"]].model_validate(given)
    except ValidationError as error:
        if not all(found["loc"] for found in error.errors()):  # a member's own name cannot be named
            raise RefusedError(
                "MALFORMED", "the name of a member is no text: it holds a lone surrogate", None
            ) from None
        raise RefusedError(*first_wrong(error, given)) from None


def _plain(given: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(given, datetime):
        return written(given) if given.microsecond else written_whole(given)
    if isinstance(given, Mapping):
        return {name: _plain(member) for name, member in given.items()}
    return given
