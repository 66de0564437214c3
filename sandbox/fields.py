"""Reads the fields of a request. Each function raises RefusalError (400) naming the field."""

import re
from collections.abc import Collection
from decimal import Decimal

from sandbox.envelope import Code, Json, RefusalError

ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,32}")
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,10})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_SYMBOL = re.compile(r"([A-Za-z0-9._-]{1,32})\.([A-Z]{2,4})")
_COUNTER = re.compile(r"([A-Z]{2,3})/([A-Z]{2,4})/([A-Za-z0-9._-]{1,32})")
_COUNTER_TYPES = frozenset({"ST", "ETF", "UT", "MMF", "WT", "IX", "BK", "OP", "DLC", "VA", "PE", "LB", "TN", "DP"})
_MARKETS = frozenset({"US", "HK", "SG", "SH", "SZ", "CN", "HAS", "OSL"})
_NO_SUCH = "NOSUCH"


def bad(field: str, why: str) -> RefusalError:
    """Return the refusal that says what is wrong with a field."""
    return RefusalError(Code.BAD_PARAMETERS, f"{field}: {why}")


def known(request: Json, names: Collection[str]) -> None:
    """Refuse names that nobody reads, so that a slip of the pen is seen."""
    for name in request:
        if name not in names:
            raise bad(name, f"is not known here; known are {', '.join(names)}")


def text(request: Json, name: str) -> str:
    """Return a required text that is not empty."""
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise bad(name, "text is required")
    return value


def optional_text(request: Json, name: str, length_max: int = 65_536) -> str | None:
    """Return a text, or None where it is absent, null or empty."""
    value = request.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > length_max:
        raise bad(name, f"must be text of at most {length_max} characters")
    return value


def choice(request: Json, name: str, allowed: Collection[str]) -> str:
    """Return a text that is one of those allowed."""
    value = text(request, name)
    if value not in allowed:
        raise bad(name, f"must be one of {', '.join(sorted(allowed))}")
    return value


def account_no(request: Json) -> str:
    """Return the account number."""
    value = text(request, "account_no")
    if not ACCOUNT.fullmatch(value):
        raise bad("account_no", "must match [A-Za-z0-9._-]{1,32}")
    return value


def currency(request: Json) -> str:
    """Return the currency."""
    value = text(request, "currency")
    if not _CURRENCY.fullmatch(value):
        raise bad("currency", "must be three capital letters")
    return value


def decimal(request: Json, name: str, decimals_max: int = 10, *, zero: bool = False) -> Decimal:
    """Return a plain decimal written as text, above zero unless `zero` is allowed."""
    value = text(request, name)
    if not _AMOUNT.fullmatch(value):
        raise bad(name, "must be a plain decimal as text")
    if len(value.partition(".")[2]) > decimals_max:
        raise bad(name, f"has more than {decimals_max} decimals")
    number = Decimal(value)
    if number == 0 and not zero:
        raise bad(name, "must be greater than zero")
    return number


def whole(request: Json, name: str, low: int, high: int) -> int:
    """Return a JSON integer between two bounds."""
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise bad(name, f"must be an integer from {low} to {high}")
    return value


def flag(request: Json, name: str) -> bool:
    """Return an optional JSON boolean, false where absent."""
    value = request.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(name, "must be true or false")
    return bool(value)


def symbol(request: Json, name: str = "symbol") -> str:
    """Return CODE.REGION of a security that exists; any does, save in an unknown region and those called NOSUCH."""
    value = text(request, name)
    found = _SYMBOL.fullmatch(value)
    if found is None:
        raise bad(name, "must be CODE.REGION")
    return _existing(found[1], found[2])


def counter_id(request: Json) -> str:
    """Return CODE.REGION of the security that TYPE/MARKET/CODE names."""
    value = text(request, "counter_id")
    found = _COUNTER.fullmatch(value)
    if found is None or found[1] not in _COUNTER_TYPES:
        raise bad("counter_id", "must be TYPE/MARKET/CODE with a documented type")
    return _existing(found[3], found[2])


def _existing(code: str, region: str) -> str:
    if region not in _MARKETS or code.startswith(_NO_SUCH):
        raise RefusalError(Code.STOCK_UNKNOWN, f"no security {code} in {region}")
    return f"{code}.{region}"
