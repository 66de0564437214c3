"""How much may go out: per command, and per account and UTC day, of each operation. Without limits, everything may.

Amounts are counted by currency, quantities over all securities; a day's sum counts what was let go, whatever came of it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

QUANTITY = "quantity"
ANY_CURRENCY = "*"
WITH_AMOUNT = ("cash.adjust", "temp.adjust", "cash.freeze", "cash.unfreeze")
WITH_QUANTITY = ("position.adjust", "temp.adjust", "order.place", "order.modify")
_PER = ("command", "day", "open_doubts")
_FIELDS = (*_PER, *(f"{per}_quantity" for per in _PER))
_is_decimal = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,10})?").fullmatch


class Weight(NamedTuple):
    """What a command moves: so much of a currency, or of `quantity`; `field` is where it says so."""

    unit: str
    size: Decimal
    field: str


class Limit(NamedTuple):
    """The largest size of one unit: of a command, of an account's day, of all that is in doubt; None: no limit."""

    command: Decimal | None
    day: Decimal | None
    open_doubts: Decimal | None = None


class Excess(NamedTuple):
    """Why a command would go beyond a limit."""

    message: str
    field: str


Limits = Mapping[str, Mapping[str, Limit]]
"""By operation, then by currency, `*` (each currency that is not named) or `quantity`."""


def read_limits(text: str) -> Limits:
    """Read the setting. ValueError with a clause that says what is wrong with it."""
    try:
        given = json.loads(text, parse_float=str, parse_int=str, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON, or has a name twice") from None
    if not isinstance(given, dict):
        raise ValueError("is not one JSON object by command type")  # noqa: TRY004 - pydantic wants a ValueError
    return {operation: _of_operation(operation, fields) for operation, fields in given.items()}


def checked_limits(text: str) -> str:
    """Return the setting as it is. ValueError as of `read_limits`."""
    read_limits(text)
    return text


def weigh_command(operation: str, payload: Mapping[str, Any]) -> Weight | None:
    """Say what a command moves; None for one that names neither an amount nor a quantity."""
    if operation in WITH_AMOUNT and payload.get("amount") is not None:
        return Weight(str(payload["currency"]), Decimal(payload["amount"]), "payload.amount")
    if operation in WITH_QUANTITY and payload.get("quantity") is not None:
        return Weight(QUANTITY, Decimal(payload["quantity"]), "payload.quantity")
    return None


def limit_of(limits: Limits, operation: str, unit: str) -> Limit | None:
    """Return the limit that holds for a unit of an operation."""
    units = limits.get(operation, {})
    return units.get(unit) or (units.get(ANY_CURRENCY) if unit != QUANTITY else None)


def of_open_doubts(limits: Limits) -> list[tuple[str, str, Decimal]]:
    """Return what may be in doubt at most, by operation and unit, as far as it is limited."""
    return [
        (operation, unit, limit.open_doubts)
        for operation, units in limits.items()
        for unit, limit in units.items()
        if limit.open_doubts is not None
    ]


def exceeds(limit: Limit, weight: Weight, used: Decimal) -> Excess | None:
    """Say which limit a command of this weight would pass, where `used` went out on this day before it."""
    if limit.command is not None and weight.size > limit.command:
        return Excess(f"{weight.size} {weight.unit} is more than {limit.command} per command", weight.field)
    with localcontext(prec=60):
        total = used + weight.size
    if limit.day is not None and total > limit.day:
        told = f"{weight.size} {weight.unit} after {used} on this UTC day is more than {limit.day} per account and day"
        return Excess(told, weight.field)
    return None


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _of_operation(operation: str, given: object) -> dict[str, Limit]:
    if operation not in {*WITH_AMOUNT, *WITH_QUANTITY}:
        raise ValueError(f"limits {operation}, which is no command type with an amount or a quantity")
    if not isinstance(given, dict) or not given or not set(given) <= set(_FIELDS):
        raise ValueError(f"of {operation} is not an object of {', '.join(_FIELDS)}")
    largest: dict[str, dict[str, Decimal]] = {per: {} for per in _PER}
    for name in given:
        per, quantity = name.removesuffix("_quantity"), name.endswith("_quantity")
        allowed = WITH_QUANTITY if quantity else WITH_AMOUNT
        if operation not in allowed:
            raise ValueError(
                f"of {operation} has {name}, but that command has no {'quantity' if quantity else 'amount'}"
            )
        if quantity:
            largest[per][QUANTITY] = _decimal(given[name], operation, name)
        elif isinstance(given[name], dict) and given[name] and QUANTITY not in given[name]:
            sizes = {unit: _decimal(size, operation, f"{name}.{unit}") for unit, size in given[name].items()}
            largest[per] |= sizes
        else:
            raise ValueError(
                f'of {operation} has a {name} that is not an object by currency, such as {{"USD": "1000.00"}}'
            )
    units = [unit for sizes in largest.values() for unit in sizes]
    return {unit: _limit(largest, unit) for unit in units}


def _limit(largest: Mapping[str, Mapping[str, Decimal]], unit: str) -> Limit:
    """Put together what holds for a unit: where only some name a currency, `*` speaks for the others."""
    wild = ANY_CURRENCY if unit != QUANTITY else unit
    return Limit(*(largest[per].get(unit, largest[per].get(wild)) for per in _PER))


def _decimal(given: object, operation: str, name: str) -> Decimal:
    if not isinstance(given, str) or not _is_decimal(given):
        raise ValueError(f"of {operation} has a {name} that is not a plain decimal as text")
    return Decimal(given)
