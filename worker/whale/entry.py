"""What a registry entry says of one brokerage operation, and what its builder may use; the entries are elsewhere."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

from worker.ledger.verdicts import Confirmed, Evidence, InDoubt, Keying, Numbers, Refused, Request
from worker.whale.wire import Envelope, Exchange

TAG_PREFIX = "lw1:"
_TAG = re.compile(rf"{TAG_PREFIX}([a-z2-7]{{26}})(?![a-z2-7])")
REFUSED_CODES = frozenset({"PARAM_ERROR", "STOCK_NOT_EXISTS"})  # inner words that are final wherever they appear
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
DONE_CODES = frozenset({"0", "SUCCESS"})


@dataclass(frozen=True, slots=True)
class Variants:
    """Which of the documented variants of an operation to call; contract section 5."""

    api_version: Literal["v1", "v2"] = "v1"
    temp_route: Literal["risk_event", "whaleapi"] = "risk_event"
    withdraw_ids: Literal["query", "body"] = "query"


@dataclass(frozen=True, slots=True)
class Intent:
    """All that a builder may use. `payload` is as accepted: amounts are text as written, null means absent."""

    command_id: UUID
    account_no: str
    payload: Mapping[str, Any]
    expires_at: datetime | None = None
    target: Numbers | None = None  # of the command referred to, or the number given in the payload
    target_tag: str | None = None  # of the placing command, where known; for order.modify


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no call can be made for a command under these variants: `error.code`, text, and the field's dotted path."""

    code: str
    message: str
    field: str | None


@dataclass(frozen=True, slots=True)
class LookInput:
    """What a look needs: the command, when its first attempt may have left (unix seconds), and the variants."""

    intent: Intent
    first_sent_unix_s: float
    variants: Variants


Reader = Callable[[Request], Awaitable[Exchange]]
Look = Callable[[Reader, LookInput], Awaitable[Evidence]]
Read = Callable[[Envelope, frozenset[str]], Confirmed | Refused | InDoubt]


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry. `read` judges the envelope of an answer with outer success; the second argument holds final codes."""

    command_type: str
    title: str  # as the brokerage's documentation calls it
    keyed_by: Keying
    urgent: bool  # before the rest in the rate limiter
    repeat_is_harmless: bool  # a doubtful earlier attempt may still take effect after a later, confirmed one
    reference: Literal["adjust", "freeze", "order"] | None
    build: Callable[[Intent, Variants], Request]
    read: Read
    final_codes: frozenset[str]  # inner or outer codes that are final refusals
    look: Look | None = None
    late_apply_s: float | None = None  # None: LEDGER_LATE_APPLY_S
    deadline_s: float | None = None  # None: LEDGER_WHALE_TIMEOUT_S
    books_adjustment: bool = False  # success books a temporary adjustment, whose hour a timer keeps
    ends_adjustment: bool = False  # success ends one
    makes: Literal["adjust_no", "serial_num", "order_id"] | None = None  # the number that success gives
    may_lack_number: bool = False  # success is success without it, too
    ended_rejects: bool = False  # an order that ended otherwise can no longer take this: rejected, ORDER_ENDED
    refuse_before_call: Callable[[Intent, Variants], Refusal | None] = lambda _intent, _variants: None


def tag(command_id: UUID) -> str:
    """Return the 31 characters that go before a remark: `lw1:`, the id in 26 characters of base32, one blank."""
    return f"{TAG_PREFIX}{base64.b32encode(command_id.bytes).decode().rstrip('=').lower()} "


def tagged_id(remark: str) -> UUID | None:
    """Return the command whose tag a remark carries, wherever it stands; None where there is none."""
    found = _TAG.search(remark)
    return UUID(bytes=base64.b32decode(f"{found[1].upper()}======")) if found else None


def tagged(command_id: UUID, remark: str | None) -> str:
    """Return the remark with the tag before it; the tag alone where there is no remark."""
    return tag(command_id) + (remark or "")


def remark_of_change(intent: Intent) -> str | None:
    """Return the new remark behind the placing command's tag, which a change must not wipe out; None: leave it."""
    remark: str | None = intent.payload.get("remark")
    if remark is None or intent.target_tag is None:
        return remark
    return f"{intent.target_tag.rstrip()} {remark}"


def objection(envelope: Envelope, final_codes: frozenset[str], success: frozenset[str]) -> Refused | InDoubt | None:
    """Return what `data.error_code` and `data.code` say against success under an outer success; None: nothing."""
    for word in (envelope.word("error_code"), envelope.word("code")):
        if word in final_codes:
            return Refused(word, envelope.inner_message or word, "inner_code_final")
        if word is not None and word not in success:
            return InDoubt("inner_code_unknown", f"inner code {word}: {envelope.inner_message}")
    return None


def json_request(method: str, path: str, fields: Mapping[str, Any]) -> Request:
    """Return a request with a JSON body: fields in the order given, absent ones (None) left out, the same bytes always."""
    present = {name: value for name, value in fields.items() if value is not None}
    return Request(method, path, "", _encode(present).encode())


def query_request(method: str, path: str, fields: Mapping[str, str | None]) -> Request:
    """Return a request without a body; the query is percent-encoded as it is signed and sent."""
    pairs = (f"{name}={quote(value, safe='')}" for name, value in fields.items() if value is not None)
    return Request(method, path, "&".join(pairs))
