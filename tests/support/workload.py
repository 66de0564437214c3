"""Many commands that belong together, drawn with a seed, so that a run can be repeated."""

import os
import secrets
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random  # noqa: TID251 - the tests' own door to chance: every draw comes from a printed seed
from typing import Any

from tests.support.commands import new_account, new_command

Command = dict[str, Any]

SEED = "LEDGER_TEST_SEED"


def seeded(unless_told: int | None = None) -> Random:
    """Return the run's source of chance; its seed is printed, and LEDGER_TEST_SEED repeats it."""
    drawn = secrets.randbits(32) if unless_told is None else unless_told
    seed = int(os.environ.get(SEED) or drawn)
    print(f"{SEED}={seed}")  # noqa: T201 - pytest shows it with a test that went wrong
    return Random(seed)  # noqa: S311 - chaos needs no secrets


def keyed_workload(chance: Random, accounts_count: int, commands_count: int) -> list[Command]:
    """Draw commands of all types whose doubts the machine can clear, mixed over fresh accounts.

    Each account's commands keep their sequence within a topic; no two changes of an order are alike.
    """
    desks = [Desk(chance, new_account()) for _ in range(accounts_count)]
    return [chance.choice(desks).next_command() for _ in range(commands_count)]


class Desk:
    """Draws one account's commands: a freeze is given back once, an order is changed, then withdrawn."""

    def __init__(self, chance: Random, account_no: str) -> None:
        self._chance, self.account_no = chance, account_no
        self._freezes: list[str] = []
        self._orders: list[str] = []
        self._quantity = 100

    def next_command(self) -> Command:
        """Draw the account's next command; it refers only to earlier ones."""
        draws = self._draws()
        (drawn,) = self._chance.choices([draw for draw, _ in draws], [weight for _, weight in draws])
        return drawn()

    def _draws(self) -> list[tuple[Callable[[], Command], int]]:
        draws: list[tuple[Callable[[], Command], int]] = [
            (self._adjust_cash, 6),
            (self._adjust_position, 4),
            (self._freeze, 3),
            (self._place, 3),
        ]
        draws += [(self._unfreeze, 2), (self._debit, 1)] if self._freezes else []
        draws += [(self._modify, 3), (self._withdraw, 1)] if self._orders else []
        return draws

    def _new(self, type_: str, payload: dict[str, Any]) -> Command:
        command_id = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        return new_command(type_, self.account_no, payload, command_id=command_id)

    def _amount(self) -> str:
        return f"{self._chance.randint(1, 500)}.{self._chance.randint(0, 99):02}"

    def _adjust_cash(self) -> Command:
        return self._new("cash.adjust", {"direction": self._direction(), "amount": self._amount()})

    def _adjust_position(self) -> Command:
        return self._new("position.adjust", {"quantity": str(self._chance.randint(1, 500))})

    def _direction(self) -> str:
        return self._chance.choice(["CREDIT", "DEBIT"])

    def _freeze(self) -> Command:
        drawn = self._new("cash.freeze", {})
        self._freezes.append(drawn["command_id"])
        return drawn

    def _unfreeze(self) -> Command:
        return self._new("cash.unfreeze", {"freeze": {"command_id": self._taken(self._freezes)}})

    def _debit(self) -> Command:
        return self._new("cash.debit_frozen", {"freeze": {"command_id": self._taken(self._freezes)}})

    def _place(self) -> Command:
        drawn = self._new("order.place", {})
        self._orders.append(drawn["command_id"])
        return drawn

    def _modify(self) -> Command:
        self._quantity += 1
        order = {"command_id": self._chance.choice(self._orders)}
        return self._new("order.modify", {"order": order, "quantity": str(self._quantity)})

    def _withdraw(self) -> Command:
        return self._new("order.withdraw", {"order": {"command_id": self._taken(self._orders)}})

    def _taken(self, numbers: list[str]) -> str:
        return numbers.pop(self._chance.randrange(len(numbers)))


class BusyDesk(Desk):
    """Draws of all ten types: adjustments that lapse within seconds, some ended before; commands that are wrong or in a hurry."""

    def __init__(self, chance: Random, account_no: str, lasts_s: tuple[float, float] = (4, 16)) -> None:
        super().__init__(chance, account_no)
        self._lasts_s = lasts_s
        self._adjustments: list[str] = []
        self._now = datetime.min.replace(tzinfo=UTC)

    def next_command_at(self, now: datetime) -> Command:
        """Draw the account's next command, to be sent at about that instant."""
        self._now = now
        drawn = self.next_command()
        if self._chance.random() < 0.08:
            drawn["not_after"] = self._ahead(self._chance.uniform(0.5, 6))
        return drawn

    def _draws(self) -> list[tuple[Callable[[], Command], int]]:
        ends: list[tuple[Callable[[], Command], int]] = [(self._end, 2)] if self._adjustments else []
        return [*super()._draws(), (self._adjust_for_a_while, 4), (self._wrong, 1), *ends]

    def _ahead(self, seconds: float) -> str:
        return (self._now + timedelta(seconds=seconds)).replace(microsecond=0).isoformat()

    def _adjust_for_a_while(self) -> Command:
        hour = self._ahead(self._chance.uniform(*self._lasts_s))
        drawn = self._new("temp.adjust", {"expires_at": hour, "amount": self._amount()})
        self._adjustments.append(drawn["command_id"])
        return drawn

    def _end(self) -> Command:
        return self._new("temp.expire", {"adjust": {"command_id": self._taken(self._adjustments)}})

    def _wrong(self) -> Command:
        """Draw what is readable and refused before any call."""
        amiss = self._chance.choice(
            [{"amount": "1e3"}, {"amount": "0.00"}, {"direction": "UP"}, {"unknown": "x"}, {"remark": "a" * 5000}]
        )
        return self._new("cash.adjust", amiss)


def accounts_of(commands: Sequence[Command]) -> list[str]:
    """Return the accounts of these commands, each once."""
    return sorted({one["account_no"] for one in commands})
