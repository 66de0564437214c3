"""The brokerage's books: accounts with cash, frozen cash, positions, orders and temporary adjustments.

State only; what a request does to it is in `assets`, `temporary` and `orders`. Nothing here waits.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Context, Decimal
from itertools import count

from sandbox import clock
from sandbox.envelope import Done, Json

OPENING_CASH = Decimal(1_000_000)
EXACT = Context(prec=60)  # an amount may have 28 digits, so sums need more than Python's default
_ZERO = Decimal(0)


@dataclass(slots=True)
class Freeze:
    """Money set aside under a serial number; `rest` is what was neither released nor taken."""

    serial_num: str
    currency: str
    rest: Decimal


@dataclass(slots=True)
class Adjustment:
    """A temporary adjustment; `delta` is what it added, negative for a DEBIT; ended when `ended_at` is set."""

    adjust_no: str
    account_no: str
    currency: str | None
    symbol: str | None
    delta: Decimal
    expire_time: int
    ended_at: float | None = None


@dataclass(slots=True)
class Order:
    """An order as the brokerage keeps it; `values` are the request's fields by the names of Order Details."""

    order_id: str
    account_no: str
    values: dict[str, str]
    submitted_at: float
    updated_at: float
    status: str = "NewStatus"
    executed_quantity: Decimal = _ZERO
    executed_price: Decimal = _ZERO
    history: list[Json] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Flow:
    """One line of an account's history; `amount` is signed, in money or pieces; `unit` the currency or symbol."""

    name: str
    amount: Decimal
    unit: str
    at_s: float
    description: str
    serial_num: str
    biz_code: str


@dataclass(slots=True)
class Account:
    """One account. Balances that nobody touched are not stored: see `cash_of`."""

    account_no: str
    cash: dict[str, Decimal] = field(default_factory=dict)
    frozen: dict[str, Decimal] = field(default_factory=dict)
    temporary_cash: dict[str, Decimal] = field(default_factory=dict)
    positions: dict[str, Decimal] = field(default_factory=dict)
    temporary_positions: dict[str, Decimal] = field(default_factory=dict)
    freezes: dict[str, Freeze] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    cash_flows: list[Flow] = field(default_factory=list)
    stock_flows: list[Flow] = field(default_factory=list)
    frozen_flows: list[Flow] = field(default_factory=list)
    answered: dict[tuple[str, str], Done] = field(default_factory=dict)

    def cash_of(self, currency: str) -> Decimal:
        """Return all cash in a currency, frozen cash included, temporary adjustments not."""
        return self.cash.get(currency, OPENING_CASH)

    def available_cash(self, currency: str) -> Decimal:
        """Return what can be frozen or used: cash less frozen cash plus temporary adjustments."""
        own = EXACT.subtract(self.cash_of(currency), self.frozen.get(currency, _ZERO))
        return EXACT.add(own, self.temporary_cash.get(currency, _ZERO))

    def add_cash(self, currency: str, delta: Decimal) -> None:
        """Change the cash in a currency."""
        self.cash[currency] = EXACT.add(self.cash_of(currency), delta)


def shift(balances: dict[str, Decimal], unit: str, delta: Decimal) -> None:
    """Change one balance that begins at zero."""
    balances[unit] = EXACT.add(balances.get(unit, _ZERO), delta)


class Ledger:
    """All accounts, the numbers given out, and the adjustments that wait for their hour."""

    def __init__(self, wall_s: Callable[[], float] = clock.wall_s, sweep_delay_s: float = 5.0) -> None:
        self.wall_s = wall_s
        self.sweep_delay_s = sweep_delay_s
        self.accounts: dict[str, Account] = {}
        self.orders: dict[str, Order] = {}
        self.adjustments: dict[str, Adjustment] = {}
        self._due: list[tuple[float, str]] = []
        # Begun at the present instant, so that a sandbox started again gives no number twice.
        begun_at = wall_s()
        self._serials = count(int(begun_at * 1_000_000_000))
        self._order_ids = count(int(begun_at * 100_000_000))
        self._adjustment_count = count(int(begun_at % 86_400 * 1_000_000))

    def account(self, account_no: str) -> Account:
        """Return the account; any account exists."""
        found = self.accounts.get(account_no)
        if found is None:
            found = self.accounts[account_no] = Account(account_no)
        return found

    def new_serial(self) -> str:
        """Return a serial number of 19 digits that was not given before."""
        return str(next(self._serials))

    def new_order_id(self) -> str:
        """Return an order id of 18 digits that was not given before."""
        return str(next(self._order_ids))

    def new_adjust_no(self) -> str:
        """Return a number like TA2026112230625123456 that was not given before."""
        return f"TA{clock.day_of(self.wall_s())}{next(self._adjustment_count):011d}"

    def open_adjustment(self, adjustment: Adjustment) -> None:
        """Book a temporary adjustment until its hour, or until someone ends it."""
        self.adjustments[adjustment.adjust_no] = adjustment
        self._book(adjustment, adjustment.delta)
        heapq.heappush(self._due, (adjustment.expire_time + self.sweep_delay_s, adjustment.adjust_no))

    def end_adjustment(self, adjustment: Adjustment) -> None:
        """Take a temporary adjustment back; it must not have ended."""
        adjustment.ended_at = self.wall_s()
        self._book(adjustment, adjustment.delta.copy_negate())

    def sweep(self) -> list[Adjustment]:
        """End what is past its hour and the sweep delay and return it, in the order of the hours."""
        now = self.wall_s()
        swept = []
        while self._due and self._due[0][0] <= now:
            adjustment = self.adjustments[heapq.heappop(self._due)[1]]
            if adjustment.ended_at is None:
                self.end_adjustment(adjustment)
                swept.append(adjustment)
        return swept

    def revoke(self, account_no: str, number: str) -> int:
        """Take lines or an order with this number out of the histories, and what they did out of the balances."""
        account = self.account(account_no)
        removed = 0
        for flows, balances in ((account.stock_flows, account.positions), (account.frozen_flows, account.frozen)):
            for flow in _take_out(flows, number):
                shift(balances, flow.unit, flow.amount.copy_negate())
                account.freezes.pop(flow.serial_num, None)
                removed += 1
        for flow in _take_out(account.cash_flows, number):
            account.add_cash(flow.unit, flow.amount.copy_negate())
            removed += 1
        order = self.orders.get(number)
        if order is not None and order in account.orders:
            account.orders.remove(order)
            del self.orders[number]
            removed += 1
        return removed

    def _book(self, adjustment: Adjustment, delta: Decimal) -> None:
        account = self.account(adjustment.account_no)
        if adjustment.symbol is not None:
            shift(account.temporary_positions, adjustment.symbol, delta)
        elif adjustment.currency is not None:
            shift(account.temporary_cash, adjustment.currency, delta)


def _take_out(flows: list[Flow], number: str) -> list[Flow]:
    """Remove the lines with this number from a history and return them."""
    taken = [flow for flow in flows if flow.serial_num == number]
    flows[:] = [flow for flow in flows if flow.serial_num != number]
    return taken
