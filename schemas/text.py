"""Strict strings: what a JSON string must look like before it may name or describe anything."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas.codes import Code

TAGGED_REMARK_MAX = 33  # the brokerage takes 64; the worker's tag in front needs 31

_CONTROL = re.compile(r"[\x00-\x1f]")
_NO_CONTROL = r"[^\u0000-\u001f]"


class Strict(BaseModel):
    """An object whose every member is known, of exactly the JSON type that is asked for."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def refusal(code: Code, text: str, field: str | None = None) -> PydanticCustomError:
    """Build what a validator raises; `field` names a member of the object under validation, if one is to blame."""
    return PydanticCustomError(code.value, "{text}", {"text": text, "field": field})


def _free(text: str) -> str:
    if _CONTROL.search(text):
        raise refusal(Code.CONTROL_CHARACTER, "must not contain control characters (U+0000 to U+001F)")
    return text


def _named(text: str) -> str:
    if not text:
        raise refusal(Code.TEXT_EMPTY, "must not be empty")
    return _free(text)


def _tagged_remark(text: str) -> str:
    if len(text) > TAGGED_REMARK_MAX:
        raise refusal(Code.TEXT_TOO_LONG, f"must have at most {TAGGED_REMARK_MAX} characters")
    return _free(text)


def _matching(pattern: str, text: str) -> Callable[[str], str]:
    matches = re.compile(pattern).fullmatch

    def check(given: str) -> str:
        if matches(given):
            return given
        raise refusal(Code.CONTROL_CHARACTER if _CONTROL.search(given) else Code.FORMAT_INVALID, text)

    return check


def _formatted(pattern: str, text: str) -> tuple[AfterValidator, WithJsonSchema]:
    schema = {"type": "string", "pattern": f"^{pattern}$", "description": text}
    return AfterValidator(_matching(pattern, text)), WithJsonSchema(schema)


UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
ACCOUNT_NO_PATTERN = "[A-Za-z0-9._-]{1,32}"
NUMBER_PATTERN = "[A-Za-z0-9._-]{1,64}"
_SYMBOL_PATTERN = _NO_CONTROL + r"+\." + _NO_CONTROL + "+"
_COUNTER_ID_PATTERN = r"[^/\u0000-\u001f]+/[^/\u0000-\u001f]+/" + _NO_CONTROL + "+"

_uuid = _formatted(UUID_PATTERN, "must be a lower-case hyphenated UUID")
_account_no = _formatted(ACCOUNT_NO_PATTERN, "must be 1 to 32 letters, digits, dots, underscores or hyphens")
_number = _formatted(NUMBER_PATTERN, "must be 1 to 64 letters, digits, dots, underscores or hyphens")
_symbol = _formatted(_SYMBOL_PATTERN, "must have the form CODE.REGION, such as AAPL.US")
_counter_id = _formatted(_COUNTER_ID_PATTERN, "must have the form TYPE/MARKET/CODE, such as ST/US/AAPL")

Text = Annotated[str, AfterValidator(_free), WithJsonSchema({"type": "string", "pattern": f"^{_NO_CONTROL}*$"})]
Name = Annotated[str, AfterValidator(_named), WithJsonSchema({"type": "string", "pattern": f"^{_NO_CONTROL}+$"})]
TaggedRemark = Annotated[
    str,
    AfterValidator(_tagged_remark),
    WithJsonSchema({"type": "string", "pattern": f"^{_NO_CONTROL}*$", "maxLength": TAGGED_REMARK_MAX}),
]
LowerUuid = Annotated[str, *_uuid]
AccountNo = Annotated[str, *_account_no]
BrokerageNumber = Annotated[str, *_number]
Symbol = Annotated[str, *_symbol]
CounterId = Annotated[str, *_counter_id]
