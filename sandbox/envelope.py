"""The shapes in which the brokerage answers; its pages disagree, and so do these (docs/sandbox.md)."""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

Json: TypeAlias = dict[str, object]


class Code(IntEnum):
    """Outer codes. The 40x, 429 and 500 ones are the gateway's; the 60x are the sandbox's own invention."""

    BAD_PARAMETERS = 400
    NOT_FOUND = 404
    WRONG_METHOD = 405
    TOKEN_EXPIRED = 401003
    TOKEN_INVALID = 401004
    SIGNATURE_INVALID = 403201
    DUPLICATE_REQUEST = 403202
    KEY_ILLEGAL = 403203
    TOO_MANY_REQUESTS = 429002
    INTERNAL = 500000
    CASH_INSUFFICIENT = 602001
    POSITION_INSUFFICIENT = 602002
    FREEZE_UNKNOWN = 602003
    FREEZE_REST_TOO_SMALL = 602004
    FREEZE_CURRENCY = 602005
    STOCK_UNKNOWN = 602006
    ORDER_UNKNOWN = 603001
    ORDER_NOT_CHANGEABLE = 603002
    ORDER_ENDED = 603003


class RefusalError(Exception):
    """The brokerage does not do what was asked; nothing was changed."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Done:
    """What a request came to: the answer's body, the brokerage's number for it, whether anything changed."""

    body: Json
    number: str | None = None
    changed: bool = False


def plain(code: int, message: str) -> Json:
    """Return the gateway's envelope, also used on the order pages."""
    return {"code": code, "message": message, "data": {}}


def refused_msg(refusal: RefusalError) -> Json:
    """Return a refusal as the asset pages show it: `msg`, no data."""
    return {"code": refusal.code, "msg": refusal.message}


def refused_message(refusal: RefusalError) -> Json:
    """Return a refusal as the order pages show it."""
    return plain(refusal.code, refusal.message)


def refused_text_code(refusal: RefusalError) -> Json:
    """Return a refusal as the Place Order page shows it: the code is text."""
    return {"code": str(int(refusal.code)), "message": refusal.message, "data": {}}
