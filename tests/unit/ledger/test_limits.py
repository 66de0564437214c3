"""What the setting of the limits may say, and which command passes one."""

from decimal import Decimal

import pytest

from worker.errors import SettingsError
from worker.ledger.limits import Limit, exceeds, limit_of, of_open_doubts, read_limits, weigh_command
from worker.settings import Settings

USD = '{"cash.adjust": {"command": {"USD": "100.00"}, "day": {"USD": "250"}}}'


def refused(limits: str, type_: str, payload: dict[str, str], used: str = "0") -> bool:
    weight = weigh_command(type_, payload)
    assert weight is not None
    limit = limit_of(read_limits(limits), type_, weight.unit)
    return limit is not None and exceeds(limit, weight, Decimal(used)) is not None


@pytest.mark.parametrize(
    ("amount", "used", "passes"),
    [("100", "0", False), ("100.01", "0", True), ("100", "150", False), ("100", "150.0000000001", True)],
)
def test_exactly_the_limit_is_allowed_and_the_smallest_bit_more_is_not(amount: str, used: str, *, passes: bool) -> None:
    assert refused(USD, "cash.adjust", {"currency": "USD", "amount": amount}, used) is passes


def test_large_sums_lose_no_digit() -> None:
    limits = '{"position.adjust": {"day_quantity": "999999999999999999.9999999999"}}'
    assert not refused(limits, "position.adjust", {"quantity": "0.0000000001"}, "999999999999999999.9999999998")
    assert refused(limits, "position.adjust", {"quantity": "0.0000000002"}, "999999999999999999.9999999998")


def test_a_currency_is_limited_by_name_or_by_the_star() -> None:
    limits = read_limits('{"cash.freeze": {"command": {"USD": "5", "*": "1"}, "day": {"USD": "9"}}}')
    assert limit_of(limits, "cash.freeze", "USD") == Limit(Decimal(5), Decimal(9))
    assert limit_of(limits, "cash.freeze", "HKD") == Limit(Decimal(1), None)
    assert limit_of(limits, "cash.adjust", "USD") is None
    only_day = read_limits('{"cash.freeze": {"command": {"*": "1"}, "day": {"USD": "9"}}}')
    assert limit_of(only_day, "cash.freeze", "USD") == Limit(Decimal(1), Decimal(9))


def test_what_may_be_in_doubt_is_a_limit_of_its_own() -> None:
    limits = read_limits(
        '{"order.place": {"open_doubts_quantity": "5"}, "cash.adjust": {"open_doubts": {"*": "9"}, "day": {"USD": "1"}}}'
    )
    assert set(of_open_doubts(limits)) == {
        ("order.place", "quantity", Decimal(5)),
        ("cash.adjust", "*", Decimal(9)),
        ("cash.adjust", "USD", Decimal(9)),
    }


def test_a_star_for_currencies_says_nothing_of_quantities() -> None:
    limits = read_limits('{"temp.adjust": {"command": {"*": "1"}}}')
    assert limit_of(limits, "temp.adjust", "quantity") is None


def test_what_names_neither_an_amount_nor_a_quantity_weighs_nothing() -> None:
    assert weigh_command("cash.debit_frozen", {"freeze": {"serial_num": "S1"}}) is None
    assert weigh_command("order.withdraw", {"order": {"order_id": "1"}}) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"cash.ajust": {"command": {"USD": "1"}}}',
        '{"order.withdraw": {"command_quantity": "1"}}',
        '{"cash.adjust": {}}',
        '{"cash.adjust": {"hour": {"USD": "1"}}}',
        '{"cash.adjust": {"command": "1"}}',
        '{"cash.adjust": {"command": {}}}',
        '{"cash.adjust": {"command": {"quantity": "1"}}}',
        '{"cash.adjust": {"command_quantity": "1"}}',
        '{"order.place": {"command": {"USD": "1"}}}',
        '{"order.place": {"command_quantity": "1e3"}}',
        '{"order.place": {"command_quantity": 1e3}}',
        '{"order.place": {"command_quantity": "-1"}}',
        '{"order.place": {"command_quantity": "1"}, "order.place": {"command_quantity": "2"}}',
    ],
)
def test_what_the_setting_cannot_mean_stops_the_start_with_a_line_that_names_it(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^LEDGER_LIMITS [^;]+$"):
        Settings.from_env({"LEDGER_LIMITS": text}, needs=())
