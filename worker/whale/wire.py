"""What came back from one call, and how the brokerage's envelope is read in all the shapes its pages show; pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from worker.ledger.strict_json import too_deep

ANSWER_BYTES_MAX = 1 << 20
HEADERS_KEPT = frozenset({"content-type", "date", "location", "retry-after", "x-trace-id"})
TEXT_CHARS_MAX = 500
DEPTH_MAX = 64

NoAnswerKind = Literal["dns", "refused", "proxy", "tls", "late", "timeout", "reset", "cut", "too_large"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; instants are boot seconds: just before the first byte left, and when the last one was in."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    sent_s: float
    answered_s: float


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No whole answer. `sent` says whether a byte of the request may have left; only False is certain."""

    sent: bool
    kind: NoAnswerKind
    message: str


Exchange = Answer | NoAnswer


@dataclass(frozen=True, slots=True)
class Envelope:
    """A readable body.

    `code` is the outer code as text ("0" is success), None for a bare body (its `code` is a word such as SUCCESS).
    `data` is the object that holds the result: that of the envelope, the bare body itself, or None.
    """

    code: str | None
    message: str
    data: Mapping[str, Any] | None = None

    def word(self, name: str) -> str | None:
        """Return the inner code under that name in `data` as text; empty and absent are None."""
        return None if self.data is None else _word(self.data.get(name))

    @property
    def inner_message(self) -> str:
        """The text in `data`, else that of the envelope."""
        return _message(self.data or {}) or self.message


_WHOLE = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_WRAPPINGS_MAX = 3


def read_envelope(body: bytes) -> Envelope | None:
    """Return the envelope, or None where the body is not one: not UTF-8, not JSON, not an object, no usable code, too deep.

    A `data` that is an envelope itself (whole-number `code` and a `data` object) is unwrapped; the first outer code
    that is not zero counts.
    """
    if too_deep(body, DEPTH_MAX):
        return None  # Python would read it, and stumble when it is to be shown
    try:
        value = _decoder.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return _unwrap(value)


def number_in(data: Mapping[str, Any] | None, name: str) -> str | None:
    """Return the brokerage's number under that name, where it is one that can be stored and referred to."""
    value = (data or {}).get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def clean(text: str) -> str:
    """Return the text so that a database and a terminal take it: no control characters or lone surrogates, bounded."""
    if len(text) <= TEXT_CHARS_MAX and text.isascii() and text.isprintable():
        return text.strip()
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return _CONTROL.sub(" ", whole)[:TEXT_CHARS_MAX].strip()


def _unwrap(value: dict[str, Any]) -> Envelope | None:
    code = _whole(value.get("code"))
    for _ in range(_WRAPPINGS_MAX):
        inner = value.get("data")
        inner_code = _whole(inner.get("code")) if isinstance(inner, dict) else None
        if code != "0" or inner_code is None or not isinstance(inner, dict) or "data" not in inner:
            break
        value, code = inner, inner_code
    if code is None:
        bare = isinstance(value.get("code"), str) and _word(value["code"]) is not None and "data" not in value
        return Envelope(None, _message(value), value) if bare else None
    data = value.get("data")
    if isinstance(data, dict):
        return Envelope(code, _message(value), data)
    return Envelope(code, _message(value)) if data is None or code != "0" else None


def _whole(code: object) -> str | None:
    if isinstance(code, int) and not isinstance(code, bool):
        return str(code) if _WHOLE.fullmatch(str(code)) else None
    if isinstance(code, str) and _WHOLE.fullmatch(code.strip()):
        return str(int(code))
    return None


def _word(code: object) -> str | None:
    if code is None:
        return None
    return clean(code if isinstance(code, str) else json.dumps(code)) or None


def _message(value: Mapping[str, Any]) -> str:
    for name in ("message", "msg"):
        if isinstance(text := value.get(name), str) and text:
            return clean(text)
    return ""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice in one object")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_refuse)
