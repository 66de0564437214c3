"""What is judged when the call would be made: references, hours, lateness. Where the answer is no, nobody is called."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests import factories
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, new_command_id
from tests.support.kafka import terminal
from tests.support.upstream import Json, Upstream, about, gaps, temporary, types_of

SETTINGS = QUICK | {"LEDGER_LATE_APPLY_S": "3"}
DAY_S = 86_400
UNKNOWN = {
    "cash.unfreeze": "1234567890123456789",
    "temp.expire": "TA2026112299999",
    "order.withdraw": "701276261045858304",
}
OF_ADJUST, OF_FREEZE, OF_ORDER = "payload.adjust.command_id", "payload.freeze.command_id", "payload.order.command_id"


class Desk:
    """Gathers commands, what must come of each, and sends them."""

    def __init__(self, upstream: Upstream, brokerage: SandboxClient) -> None:
        self.upstream, self.brokerage = upstream, brokerage
        self.sent: list[Json] = []
        self.succeeding: list[Json] = []
        self.uncalled: list[tuple[str, Json, str, str]] = []

    def say(self, command: Json) -> Json:
        """Send a command that must succeed."""
        self.succeeding.append(command)
        self.sent.append(command)
        return command

    def say_in_vain(self, told: str, code: str, field: str, command: Json) -> None:
        """Send a command that must be rejected without a call."""
        self.uncalled.append((told, command, code, field))
        self.sent.append(command)

    def flush(self) -> list[Json]:
        """Send what was gathered and wait for its terminal outcomes."""
        self.upstream.send(*self.sent)
        self.sent = []
        wanted = [*self.succeeding, *(one for _, one, _, _ in self.uncalled)]
        return self.upstream.answered(*wanted)


def in_s(seconds: float) -> str:
    """Return the instant so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()  # noqa: TID251


def freeze_of(account_no: str, freeze: Json) -> Json:
    return new_command("cash.unfreeze", account_no, {"freeze": {"command_id": freeze["command_id"]}})


def expire_of(account_no: str, adjust: Json) -> Json:
    return new_command("temp.expire", account_no, {"adjust": {"command_id": adjust["command_id"]}})


def test_what_cannot_be_done_is_rejected_without_a_call(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    subtests: pytest.Subtests,
) -> None:
    worker = start_worker(settings=SETTINGS)
    late, behind, not_after = in_doubt_past_not_after(upstream, brokerage)
    desk = Desk(upstream, brokerage)
    waiting = references_by_command(desk)
    hours(desk)
    held = lateness(desk)
    outcomes = desk.flush()
    passed_on = references_by_number(desk, outcomes)
    outcomes = desk.flush()
    outcomes = upstream.answered(*passed_on, behind)
    parks_without_a_resend_past_not_after(outcomes, brokerage, late, not_after)

    ended = terminal(outcomes)
    for command in desk.succeeding:
        assert ended[command["command_id"]]["type"] == "command.succeeded", ended[command["command_id"]]
    for told, command, code, field in desk.uncalled:
        with subtests.test(told):
            outcome = ended[command["command_id"]]
            error = outcome["error"] or {}
            assert (outcome["type"], error.get("code")) == ("command.rejected", code), outcome
            assert (error["field"], error["origin"], outcome["attempts"]) == (field, "policy", 0)
            assert outcome["payload"] == command["payload"]
            calls = brokerage.calls(account_no=command["account_no"], operation=command["type"])
            assert not [one for one in calls if is_about(one, command, desk)]
    for command in passed_on:
        with subtests.test(f"{command['type']} of an unknown number is passed on"):
            outcome = ended[command["command_id"]]
            assert (outcome["error"]["origin"], outcome["attempts"]) == ("brokerage", 1)
            assert UNKNOWN[command["type"]] in str(brokerage.calls(operation=command["type"]))
    order = [one["operation"] for one in brokerage.effects(account_no=waiting)]
    assert order == ["cash.freeze", "cash.unfreeze"]
    assert types_of(outcomes, held) == ["command.in_doubt", "command.parked"]
    assert gaps(outcomes) == {}
    policy_makes_no_dead_letter(upstream)
    assert worker.sigterm() == 0


def is_about(call: Json, command: Json, desk: Desk) -> bool:
    """Whether a call may have been made for this command: others of its type and account were to be called."""
    called = [one for one in desk.succeeding if one["type"] == command["type"]]
    if any(one["account_no"] == command["account_no"] for one in called):
        return bool(call["request_id"] == command["command_id"])
    return True


def policy_makes_no_dead_letter(upstream: Upstream) -> None:
    upstream.write([(upstream.topics.orders, b"last", b"not JSON", ())])
    assert [one.value for one in upstream.dead_letters(1)] == [b"not JSON"]


def references_by_command(desk: Desk) -> str:
    """Gather references to commands in every state; returns the account whose second waits for its first."""
    waiting = new_account()
    desk.brokerage.fault("delay", delay_s=0.7, account_no=waiting, operation="cash.freeze")
    desk.say(freeze_of(waiting, desk.say(new_command("cash.freeze", waiting))))

    refused, foreign = new_account(), new_account()
    desk.brokerage.fault("refused", account_no=refused, operation="cash.freeze")
    freeze = new_command("cash.freeze", refused)
    desk.sent.append(freeze)
    desk.say_in_vain("of a rejected command", "REFERENCE_INVALID", OF_FREEZE, freeze_of(refused, freeze))
    desk.say_in_vain(
        "of an unknown command", "REFERENCE_INVALID", OF_FREEZE, freeze_of(refused, {"command_id": new_command_id()})
    )
    later = new_command("cash.freeze", foreign)
    desk.say_in_vain("of a later command", "REFERENCE_INVALID", OF_FREEZE, freeze_of(foreign, later))
    desk.say(later)
    place = desk.say(new_command("order.place", foreign))
    stranger = new_account()
    desk.say_in_vain("of another account's command", "REFERENCE_INVALID", OF_FREEZE, freeze_of(stranger, later))
    desk.say_in_vain(
        "of a command of another type",
        "REFERENCE_INVALID",
        OF_ADJUST,
        expire_of(foreign, place),
    )
    parked = new_account()
    desk.brokerage.fault("drop_answer", account_no=parked, operation="temp.adjust")
    adjust = temporary(parked)
    desk.sent.append(adjust)
    desk.say_in_vain("of a parked command", "REFERENCE_UNDECIDED", OF_ADJUST, expire_of(parked, adjust))
    ended = new_account()
    adjust = desk.say(temporary(ended))
    desk.say(expire_of(ended, adjust))
    desk.say_in_vain("of an ended adjustment", "ALREADY_ENDED", "payload.adjust", expire_of(ended, adjust))
    return waiting


def hours(desk: Desk) -> None:
    account_no, field = new_account(), "payload.expires_at"
    desk.say_in_vain("an hour in the past", "EXPIRES_AT_UNUSABLE", field, temporary(account_no, -60))
    desk.say_in_vain("an hour too near", "EXPIRES_AT_UNUSABLE", field, temporary(account_no, 5))
    desk.say_in_vain("an hour too far", "EXPIRES_AT_UNUSABLE", field, temporary(account_no, 31 * DAY_S))
    stock = {**factories.TEMP_ADJUST_STOCK, "expires_at": temporary(account_no)["payload"]["expires_at"]}
    del stock["counter_id"]
    by_symbol = {**temporary(account_no), "payload": stock | {"symbol": "AAPL.US"}}
    desk.say_in_vain("a symbol on the route without", "SYMBOL_UNUSABLE", "payload.symbol", by_symbol)


def lateness(desk: Desk) -> Json:
    """Gather what comes too late, at once or while it waits; returns the command that it waits for."""
    account_no = new_account()
    desk.say_in_vain(
        "too late from the first", "TOO_LATE", "not_after", new_command("cash.adjust", account_no, not_after=in_s(-1))
    )
    holding = temporary(account_no)
    desk.brokerage.fault("drop_request", account_no=account_no, operation="temp.adjust")
    desk.sent.append(holding)
    waits = new_command("cash.adjust", account_no, not_after=in_s(2))
    desk.say_in_vain("too late while it waited", "TOO_LATE", "not_after", waits)
    return holding


def references_by_number(desk: Desk, outcomes: list[Json]) -> list[Json]:
    """Gather references by number: another account's, and unknown ones, which are returned."""
    made = {
        one["command_type"]: one["result"]
        for one in outcomes
        if one["type"] == "command.succeeded" and one["command_type"] in ("temp.adjust", "cash.freeze", "order.place")
    }
    stranger = new_account()
    for name, kind, number in (
        ("temp.expire", "adjust", "adjust_no"),
        ("cash.unfreeze", "freeze", "serial_num"),
        ("cash.debit_frozen", "freeze", "serial_num"),
        ("order.modify", "order", "order_id"),
        ("order.withdraw", "order", "order_id"),
    ):
        target = {"adjust": "temp.adjust", "freeze": "cash.freeze", "order": "order.place"}[kind]
        command = new_command(name, stranger, {kind: {number: made[target][number]}})
        desk.say_in_vain(
            f"{name} of another account's number", "REFERENCE_INVALID", f"payload.{kind}.{number}", command
        )
    unknown = [
        new_command("cash.unfreeze", new_account(), {"freeze": {"serial_num": UNKNOWN["cash.unfreeze"]}}),
        new_command("temp.expire", new_account(), {"adjust": {"adjust_no": UNKNOWN["temp.expire"]}}),
        new_command("order.withdraw", new_account(), {"order": {"order_id": UNKNOWN["order.withdraw"]}}),
    ]
    desk.sent += unknown
    return unknown


def in_doubt_past_not_after(upstream: Upstream, brokerage: SandboxClient) -> tuple[Json, Json, str]:
    """Send a command whose calls all end in doubt, and one behind it."""
    account_no, not_after = new_account(), in_s(4)
    brokerage.fault("error_before", times=-1, account_no=account_no, operation="cash.adjust")
    command = new_command("cash.adjust", account_no, not_after=not_after)
    behind = new_command("position.adjust", account_no)  # of the same topic, so that it is accepted after it
    upstream.send(command, behind)
    return command, behind, not_after


def parks_without_a_resend_past_not_after(
    outcomes: list[Json], brokerage: SandboxClient, command: Json, not_after: str
) -> None:
    assert types_of(outcomes, command) == ["command.in_doubt", "command.parked"]
    assert about(outcomes, command)[-1]["error"]["code"] == "IN_DOUBT"
    calls = brokerage.calls(account_no=command["account_no"], operation="cash.adjust")
    assert len(calls) >= 2
    assert all(datetime.fromisoformat(one["received_at"]) < datetime.fromisoformat(not_after) for one in calls)
