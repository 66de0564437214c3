"""Reads an outcome's bytes into the very dataclass from which the worker wrote them."""

from pydantic import TypeAdapter, ValidationError

from ledger_client.errors import UnreadableError
from schemas.outcomes import Outcome

_outcome = TypeAdapter(Outcome)


def read_outcome(value: bytes | None) -> Outcome:
    """Read one outcome; members that this release does not know are left out. Raises UnreadableError."""
    try:
        return _outcome.validate_json(value or b"")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the value"
        raise UnreadableError(f"an outcome cannot be read: {place}: {first['msg']}") from None
