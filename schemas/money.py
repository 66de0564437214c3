r"""Amounts, quantities and prices: plain decimals in strings, kept as written.

A JSON number would lose digits on its way through somebody's float, so none is taken. The grammar is
`(0|[1-9][0-9]{0,17})(\.[0-9]{1,10})?`: no sign, no exponent, no blanks, no underscores, no leading zeros.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from schemas.codes import Code
from schemas.text import refusal

DECIMAL_PATTERN = r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,10})?"
CASH_DECIMALS_MAX = 2

_decimal = re.compile(DECIMAL_PATTERN).fullmatch
_GRAMMAR = 'must be a plain decimal in a string, such as "1000.00": at most 18 digits before the point and 10 after it'


def _price_or_zero(text: str) -> str:
    if not _decimal(text):
        raise refusal(Code.DECIMAL_INVALID, _GRAMMAR)
    return text


def _positive(text: str) -> str:
    if not _price_or_zero(text).strip("0."):
        raise refusal(Code.NOT_POSITIVE, "must be greater than zero")
    return text


def _cash(text: str) -> str:
    _positive(text)
    if len(text.partition(".")[2]) > CASH_DECIMALS_MAX:
        raise refusal(Code.DECIMALS_TOO_MANY, f"must have at most {CASH_DECIMALS_MAX} decimals")
    return text


def _schema(pattern: str, description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$", "description": description})


_NOT_ZERO = r"(?!0(\.0+)?$)"

CashAmount = Annotated[
    str,
    AfterValidator(_cash),
    _schema(_NOT_ZERO + r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,2})?", "cash, greater than zero, at most two decimals"),
]
Quantity = Annotated[str, AfterValidator(_positive), _schema(_NOT_ZERO + DECIMAL_PATTERN, "greater than zero")]
Price = Annotated[str, AfterValidator(_positive), _schema(_NOT_ZERO + DECIMAL_PATTERN, "greater than zero")]
PriceOrZero = Annotated[str, AfterValidator(_price_or_zero), _schema(DECIMAL_PATTERN, "zero or greater")]
