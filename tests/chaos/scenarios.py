"""What a worker does while it is killed: a few commands of one type on accounts of their own, and what leads to the point.

plain       nothing but these commands
held        the brokerage asks some of them to come again later
lapsing     temporary adjustments lapse meanwhile
doubtful    the answers of two orders are lost, and the first look is unreadable
numberless  a temporary adjustment was booked, as a person says who does not know its number
late        two orders take effect long after they were given up, which the machine calls rejected
orphaned    other workers died with calls in flight
draining    the worker is asked to end
starting    the worker has only just begun
set-aside   Kafka refuses an outcome for good; somebody puts it back afterwards
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.points import Point
from tests.factories import TYPES
from tests.support import SandboxClient, new_account, new_command

Command = dict[str, Any]
EACH = 2
"""Commands of the type on each account: the second can only go out when the first is over."""
ACCOUNTS_COUNT = 3
LAPSE_S = 5
LATE_S = 8.0
__all__ = ["TYPES", "Play", "play"]


@dataclass
class Play:
    """The commands of one run: what must be there before, and two waves; `also` names events of which one must be heard, too."""

    first: list[Command] = field(default_factory=list)
    waves: tuple[list[Command], list[Command]] = field(default_factory=lambda: ([], []))
    doubtful: list[Command] = field(default_factory=list)
    also: list[tuple[Command, set[str]]] = field(default_factory=list)

    @property
    def commands(self) -> list[Command]:
        """All commands, in the sequence in which they are sent."""
        return [*self.first, *self.doubtful, *self.waves[0], *self.waves[1]]

    @property
    def accounts(self) -> list[str]:
        """Their accounts, each once."""
        return sorted({one["account_no"] for one in self.commands})


def play(point: Point, type_: str, brokerage: SandboxClient, patience: int = 1) -> Play:
    """Write the commands of a run and arm the faults that its scenario needs, all on fresh accounts.

    `patience` puts off by so many times what happens at an hour.
    """
    made = Play()
    accounts = [new_account() for _ in range(ACCOUNTS_COUNT)]
    for account_no in accounts:
        before, targets = _MAKES[type_](account_no)
        made.first += before
        for wave, command in zip(made.waves, targets, strict=True):
            wave.append(command)
    match point.scenario:
        case "plain" | "draining" | "starting" | "set-aside":
            pass
        case "held":
            for times, account_no in enumerate(accounts[:2], 1):
                brokerage.fault("rate_limited", operation=type_, account_no=account_no, times=times)
        case "lapsing":
            _add_lapsing(made, LAPSE_S * patience)
        case "doubtful":
            _add_doubtful(made, brokerage)
        case "numberless":
            _add_numberless(made, brokerage, (LAPSE_S + 2) * patience)
        case "late":
            _add_late(made, brokerage, LATE_S * patience)
        case "orphaned":
            for account_no in accounts:  # so that they are certainly in flight when their worker is killed
                brokerage.fault("delay", operation=type_, account_no=account_no, times=EACH, delay_s=0.7)
    return made


def _hour(ahead_s: float) -> str:
    hour = (datetime.now(UTC) + timedelta(seconds=ahead_s)).replace(microsecond=0)  # noqa: TID251
    return hour.isoformat().replace("+00:00", "Z")


def _temporary(account_no: str, ahead_s: float = 7200, **changes: Any) -> Command:
    return new_command("temp.adjust", account_no, {"expires_at": _hour(ahead_s), **changes})


def _add_lapsing(made: Play, lapse_s: float) -> None:
    for number in range(2):
        lapsing = _temporary(new_account(), lapse_s + 2 * number)
        made.first.append(lapsing)
        made.also.append((lapsing, {"temp_adjustment.expired"}))


def _add_doubtful(made: Play, brokerage: SandboxClient) -> None:
    account_no = new_account()
    brokerage.fault("drop_answer", operation="order.place", account_no=account_no, times=2)
    brokerage.fault("error_before", operation="read", account_no=account_no)
    for wave in made.waves:
        wave.append(new_command("order.place", account_no))


def _add_numberless(made: Play, brokerage: SandboxClient, lapse_s: float) -> None:
    account_no = new_account()
    brokerage.fault("drop_answer", operation="temp.adjust", account_no=account_no)
    booked = _temporary(account_no, lapse_s)
    made.doubtful.append(booked)
    made.also.append((booked, {"temp_adjustment.expired"}))


def _add_late(made: Play, brokerage: SandboxClient, late_s: float) -> None:
    for number in range(2):
        account_no = new_account()
        late = new_command("order.place", account_no)
        brokerage.fault("late_apply", operation="order.place", account_no=account_no, delay_s=late_s + number)
        made.doubtful.append(late)
        made.also.append((late, {"command.corrected", "command.succeeded"}))


def _alone(type_: str, **changes: Any) -> Callable[[str], tuple[list[Command], list[Command]]]:
    def make(account_no: str) -> tuple[list[Command], list[Command]]:
        return [], [new_command(type_, account_no, changes) for _ in range(EACH)]

    return make


def _adjusting(account_no: str) -> tuple[list[Command], list[Command]]:
    return [], [_temporary(account_no) for _ in range(EACH)]


def _after(earlier: str, type_: str, reference: str) -> Callable[[str], tuple[list[Command], list[Command]]]:
    """Each command refers to an earlier one of its own."""

    def make(account_no: str) -> tuple[list[Command], list[Command]]:
        earlier_ones = [
            _temporary(account_no) if earlier == "temp.adjust" else new_command(earlier, account_no)
            for _ in range(EACH)
        ]
        return earlier_ones, [
            new_command(type_, account_no, {reference: {"command_id": one["command_id"]}}) for one in earlier_ones
        ]

    return make


def _modifying(account_no: str) -> tuple[list[Command], list[Command]]:
    placed = new_command("order.place", account_no)
    order = {"command_id": placed["command_id"]}
    changes = [{"order": order, "quantity": str(101 + number)} for number in range(EACH)]
    return [placed], [new_command("order.modify", account_no, change) for change in changes]


_MAKES: dict[str, Callable[[str], tuple[list[Command], list[Command]]]] = {
    "cash.adjust": _alone("cash.adjust"),
    "position.adjust": _alone("position.adjust"),
    "temp.adjust": _adjusting,
    "temp.expire": _after("temp.adjust", "temp.expire", "adjust"),
    "cash.freeze": _alone("cash.freeze"),
    "cash.unfreeze": _after("cash.freeze", "cash.unfreeze", "freeze"),
    "cash.debit_frozen": _after("cash.freeze", "cash.debit_frozen", "freeze"),
    "order.place": _alone("order.place"),
    "order.modify": _modifying,
    "order.withdraw": _after("order.place", "order.withdraw", "order"),
}
