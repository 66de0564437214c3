"""The brokerage's own ledger: what took effect, when and how often, and what is still on its way into it.

What it may do to a call is one word, its fate (`FATES`). It keeps to three bounds, and the worker is told no other:
bytes that left take effect within `late_s` or never; a `request_id` is remembered for `memory_s` from its effect;
an adjustment is swept `sweep_s` after its hour.
"""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from tests.simulation.database import BEGINNING, instant
from worker.ledger.backoff import NEW_SECOND_S
from worker.ledger.decide import SIGNATURE_ALONE
from worker.ledger.verdicts import (
    Absent,
    Confirmed,
    Ended,
    Evidence,
    InDoubt,
    Keying,
    NotSent,
    Numbers,
    Refused,
    Seen,
    Unreadable,
    Verdict,
)
from worker.pipeline.turn import EXPIRY, Turn

FATES = (
    "well", "answer_lost", "request_lost", "late", "refused", "slow", "error_after", "error_before", "late_error",
    "busy", "unreachable", "signature",
)  # fmt: skip
BENIGN = "well"
NO_ANSWER = InDoubt("timeout_after_send", "no answer in time")
BROKEN = InDoubt("http_5xx", "HTTP 500")
POOR = Refused("403112", "insufficient balance", "http_400_envelope")
FAILED = Refused("FAILED", "it will not be ended now", "inner_code_final")
CLOSED = Refused("403400", "the order has ended", "http_400_envelope")
BUSY = NotSent("http_429", "HTTP 429", retry_after_s=NEW_SECOND_S)
UNREACHABLE = NotSent("refused_before_send", "connection refused")
UNSIGNED = NotSent(SIGNATURE_ALONE, "this signature is refused")
UNREADABLE = Unreadable("no answer to the look")


class Call(NamedTuple):
    """What a call says, as it arrives."""

    command_id: UUID
    account_no: str
    operation: str
    by_timer: bool
    keyed: bool
    target: Numbers
    hour_s: float | None


class Pending(NamedTuple):
    """A call that will take effect at some moment up to `until_s`."""

    call: Call
    until_s: float


class Order(NamedTuple):
    """An order, by whom it was placed, and whose values it has."""

    placed_by: UUID
    status: str
    values_of: UUID | None


class Booked(NamedTuple):
    """A temporary adjustment at the brokerage; `ended_by` is `timer`, `sweep`, or the temp.expire's id."""

    booked_by: UUID
    account_no: str
    hour_s: float
    ended_by: str | UUID | None


class Effect(NamedTuple):
    """Something that a command of an account changed; `by_timer` is an expiry that no upstream command asked for."""

    command_id: UUID
    account_no: str
    by_timer: bool
    hour_s: float | None


class Brokerage:
    """Its books. `effects` is everything that ever took effect, in that sequence."""

    __slots__ = ("adjustments", "effects", "late_s", "made", "memory", "memory_s", "orders", "pending", "sweep_s")

    def __init__(self, late_s: float, memory_s: float, sweep_s: float) -> None:
        self.late_s, self.memory_s, self.sweep_s = late_s, memory_s, sweep_s
        self.memory: dict[UUID, float] = {}
        self.made: dict[UUID, int] = {}
        self.orders: dict[str, Order] = {}
        self.adjustments: dict[str, Booked] = {}
        self.pending: tuple[Pending, ...] = ()
        self.effects: tuple[Effect, ...] = ()

    def copy(self) -> "Brokerage":
        other = Brokerage(self.late_s, self.memory_s, self.sweep_s)
        other.memory, other.made, other.orders = dict(self.memory), dict(self.made), dict(self.orders)
        other.adjustments, other.pending, other.effects = dict(self.adjustments), self.pending, self.effects
        return other

    def receive(self, call: Call, fate: str, at_s: float) -> Verdict:
        """Take a call with this fate; returns what its sender will be able to tell."""
        match fate:
            case "well" | "slow":
                return self.act(call, at_s)
            case "answer_lost" | "error_after":
                self.act(call, at_s)
                return NO_ANSWER if fate == "answer_lost" else BROKEN
            case "late" | "late_error":
                self.pending = (*self.pending, Pending(call, instant(at_s + self.late_s)))
                self.pass_time(at_s)
                return NO_ANSWER if fate == "late" else BROKEN
            case "request_lost":
                return NO_ANSWER
            case "error_before" | "unreadable":  # the latter of a look, where a shorter story has a call in its place
                return BROKEN
            case "refused":
                return FAILED if call.operation == "temp.expire" else POOR
            case "busy":
                return BUSY
            case "signature":
                return UNSIGNED
            case "unreachable":
                return UNREACHABLE
        raise ValueError(fate)

    def act(self, call: Call, at_s: float) -> Verdict:
        """Let a call take effect now, or refuse it for how things stand."""
        if call.keyed:
            return self._once(call, at_s)
        match call.operation:
            case "order.place":
                number = f"O-{call.command_id.int}-{self._take_effect(call)}"
                self.orders[number] = Order(call.command_id, "live", None)
                return Confirmed(Numbers(order_id=number), "outer_success")
            case "temp.adjust":
                return self._book(call, at_s)
            case "temp.expire":
                return self._end(call)
        return self._change(call)

    def _take_effect(self, call: Call) -> int:
        self.effects = (*self.effects, Effect(call.command_id, call.account_no, call.by_timer, call.hour_s))
        if not call.by_timer:
            self.made[call.command_id] = self.made.get(call.command_id, 0) + 1
        return self.made.get(call.command_id, 0)

    def _once(self, call: Call, at_s: float) -> Verdict:
        if at_s >= self.memory.get(call.command_id, at_s):
            self._take_effect(call)
            self.memory[call.command_id] = instant(at_s + self.memory_s)
        return Confirmed(Numbers(serial_num=f"S-{call.command_id.int}"), "inner_success")

    def _book(self, call: Call, at_s: float) -> Verdict:
        if call.hour_s is None or call.hour_s <= at_s:
            return Refused("PARAM_ERROR", "the hour has passed", "inner_code_final")
        number = f"T-{call.command_id.int}-{self._take_effect(call)}"
        self.adjustments[number] = Booked(call.command_id, call.account_no, call.hour_s, None)
        return Confirmed(Numbers(adjust_no=number), "inner_success")

    def _end(self, call: Call) -> Verdict:
        booked = self.adjustments.get(call.target.adjust_no or "")
        if booked is None or booked.ended_by is not None:
            return FAILED
        self._take_effect(call._replace(hour_s=booked.hour_s))
        ended_by = "timer" if call.by_timer else call.command_id
        self.adjustments[call.target.adjust_no or ""] = booked._replace(ended_by=ended_by)
        return Confirmed(Numbers(), "inner_success")

    def _change(self, call: Call) -> Verdict:
        number = call.target.order_id or ""
        order = self.orders.get(number)
        if order is None or order.status != "live":
            return CLOSED
        if call.operation == "order.withdraw":
            self._take_effect(call)
            self.orders[number] = order._replace(status="cancelled")
        elif order.values_of != call.command_id:
            self._take_effect(call)
            self.orders[number] = order._replace(values_of=call.command_id)
        return Confirmed(Numbers(), "outer_success")

    def look(self, call: Call) -> Evidence:
        """Say what a whole look for a command shows now."""
        if call.operation == "order.place":
            mine = sorted(number for number, order in self.orders.items() if order.placed_by == call.command_id)
            return Seen(Numbers(order_id=mine[0]), "found by its tag") if mine else Absent("not among the orders")
        order = self.orders.get(call.target.order_id or "")
        if order is None:
            return UNREADABLE
        if call.operation == "order.withdraw" and order.status == "cancelled":
            return Seen(call.target, "the order is cancelled")
        if call.operation == "order.modify" and order.values_of == call.command_id:
            return Seen(call.target, "the order has the values asked for")
        if order.status != "live":
            return Ended(order.status, "the order ended")
        return Absent("the order is live")

    def fill(self) -> bool:
        """Let the market end the first order that lives; returns whether there was one."""
        for number, order in self.orders.items():
            if order.status == "live":
                self.orders[number] = order._replace(status="filled")
                return True
        return False

    def apply_late(self, index: int, at_s: float) -> None:
        """Let one of the calls that are under way take effect now."""
        pending = self.pending[index]
        self.pending = self.pending[:index] + self.pending[index + 1 :]
        self.act(pending.call, at_s)

    def pass_time(self, at_s: float) -> None:
        """Do what had to be done up to now: sweep adjustments, apply what is late at its bound."""
        while self.pending and min(pending.until_s for pending in self.pending) <= at_s:
            index = min(range(len(self.pending)), key=lambda i: self.pending[i].until_s)
            self.apply_late(index, self.pending[index].until_s)
        for number, booked in self.adjustments.items():
            if booked.ended_by is None and instant(booked.hour_s + self.sweep_s) <= at_s:
                self.adjustments[number] = booked._replace(ended_by="sweep")

    def applied(self, command_id: UUID) -> bool:
        """Tell whether a command ever took effect: what a person finds out."""
        return self.made.get(command_id, 0) > 0

    def cancelled(self, placed_by: UUID) -> bool:
        """Tell whether the order of a command is cancelled, by whomever."""
        return any(order.placed_by == placed_by and order.status == "cancelled" for order in self.orders.values())

    def numbers_of(self, command_id: UUID) -> Mapping[str, str]:
        """The numbers that a command made, by kind."""
        orders = [number for number, order in self.orders.items() if order.placed_by == command_id]
        booked = [number for number, one in self.adjustments.items() if one.booked_by == command_id]
        return {
            **({"order_id": orders[0]} if orders else {}),
            **({"adjust_no": booked[0]} if booked else {}),
            **({"serial_num": f"S-{command_id.int}"} if command_id in self.memory else {}),
        }


def call_of(turn: Turn) -> Call:
    """Read from a turn what its call says; its target is what was stored with the attempt."""
    expires_at = turn.intent.expires_at
    return Call(
        turn.command.command_id,
        turn.command.account_no,
        turn.operation.command_type,
        turn.kind == EXPIRY,
        turn.operation.keyed_by is Keying.REQUEST_ID,
        turn.intent.target or Numbers(),
        None if expires_at is None else (expires_at - BEGINNING).total_seconds(),
    )
