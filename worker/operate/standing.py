"""Where a command or an account stands now: in one sentence, what it waits for, until when, and what would move it."""

from typing import NamedTuple

from worker.operate.doubts import amount_of
from worker.operate.holds import what_lifts
from worker.store.shown import Shown
from worker.whale.operations import REGISTRY

ANSWERS = ("--applied", "--not-applied")
SENDING, PARKED, IN_DOUBT, DONE = "sending", "parked", "in_doubt", ("succeeded", "rejected")


class Move(NamedTuple):
    """A command line that would move what waits; before `from_at` it is refused."""

    command: str
    from_at: str | None = None


class Waits(NamedTuple):
    """What is waited for, until when (None: no hour is known), and what would move it."""

    what: str | None
    until: str | None
    moved_by: tuple[Move, ...] = ()


NOTHING = Waits(None, None)


def waits_of(identity: Shown, lane: Shown | None, adjustment: Shown | None, doubts: list[Shown]) -> Waits:
    """Say what a command waits for."""
    command_id, state = identity["command_id"], identity["state"]
    if state in DONE or lane is None:
        return _hour(command_id, adjustment, doubts)
    decidable_at = max((d["decidable_at"] for d in doubts if not d["expiry"] and d["decidable_at"]), default=None)
    if state == PARKED and identity["parked_in_doubt"]:
        told = f"a person, since {identity['parked_at']}: {identity['parked_reason']}"
        return Waits(told, None, _decide(identity, decidable_at))
    if state == PARKED:
        told = f"a person, since {identity['parked_at']}: {identity['parked_reason']}"
        ways = (Move(f"ledger-worker parked {way} {command_id} --reason WHY") for way in ("redrive", "discard"))
        return Waits(told, None, tuple(ways))
    if state != SENDING and lane["ahead"]:
        first = waits_of_lane(lane)
        told = f"{lane['ahead']} commands before it in its lane; the first of them: {first.what}"
        return Waits(told, first.until, (Move(f"ledger-worker explain {lane['head_command_id']}"),))
    waits = waits_of_lane(lane)
    if state == IN_DOUBT:
        return waits._replace(moved_by=(*_decide(identity, decidable_at), *waits.moved_by))
    return waits


def waits_of_lane(lane: Shown) -> Waits:
    """Say what a lane's next turn waits for."""
    match lane["state"]:
        case "leased":
            return Waits(f"the answer to a call under way (worker {lane['owner']})", lane["lease_until"])
        case "held":
            lifted = what_lifts(lane["hold_reason"], lane["account_no"])
            return Waits(str(lane["hold_reason"]), lane["wake_at"], (Move(lifted),) if lifted else ())
        case "ready":
            told = f"a worker to take the lane, ready since {lane['ready_at']}"
            return Waits(told, None, (Move("ledger-worker doctor"),))
        case _:
            return Waits("nothing: the lane is idle, which must not be so", None, (Move("ledger-worker doctor"),))


def _hour(command_id: object, adjustment: Shown | None, doubts: list[Shown]) -> Waits:
    """Say what an open temporary adjustment waits for."""
    if adjustment is None or adjustment["ended_at"] is not None:
        return NOTHING
    doubt = next((d for d in doubts if d["expiry"]), None)
    if doubt is not None:
        told = f"its end, which is in doubt since {doubt['since_at']}: asked for again"
        ways = (f"ledger-worker in-doubt resolve {command_id} --expiry {way} --reason WHY" for way in ANSWERS)
        moves = (Move(way, doubt["decidable_at"]) for way in ways)
        return Waits(told, adjustment["wake_at"], tuple(moves))
    if adjustment["timer"] == "watch":
        return Waits("its hour, and the brokerage's own ending: its number is not known", adjustment["wake_at"])
    what = "its hour, at which its timer ends it" if not adjustment["overdue"] else "its end, which is asked for again"
    return Waits(what, adjustment["wake_at"], (Move(f"ledger-worker timers fire {command_id} --reason WHY"),))


def _decide(identity: Shown, decidable_at: str | None) -> tuple[Move, ...]:
    makes = REGISTRY[identity["command_type"]].makes
    answers = (f"--applied{' NUMBER' if makes else ''}", "--not-applied", "--not-applied --resend")
    start = f"ledger-worker in-doubt resolve {identity['command_id']}"
    return tuple(Move(f"{start} {answer} --reason WHY", decidable_at) for answer in answers)


def summary_of(identity: Shown, lane: Shown | None, adjustment: Shown | None, waits: Waits) -> str:
    """Answer in one sentence what happened to a command."""
    amount = amount_of(identity["payload"])
    kind = identity["command_type"] or "a command of no readable type"
    name = f"{kind}{f' of {amount}' if amount else ''} for account {identity['account_no']}"
    if identity["pruned_at"] is not None:
        gone = f" It was pruned on {identity['pruned_at'][:10]}: only its identity, hash and verdict are kept."
        return summary_of({**identity, "pruned_at": None}, lane, adjustment, waits) + gone
    match identity["state"]:
        case "succeeded":
            return f"{name} succeeded: {_success(identity)}{_ending(adjustment)}."
        case "rejected":
            return f"{name} was rejected: {_rejection(identity)}."
        case "parked":
            doubt = "may have been applied" if identity["parked_in_doubt"] else "was not applied"
            return f"{name} {doubt} and waits for a person: {identity['parked_reason']}."
        case "in_doubt":
            return f"{name} may or may not have been applied, in doubt since {identity['doubt_since_at']}."
        case "sending":
            return f"{name} is being sent: call {identity['attempts']} is under way."
        case _:
            ahead = lane["ahead"] if lane else 0
            told = f"behind {ahead} commands of its account" if ahead else str(waits.what)
            return f"{name} waits: {told}."


def _success(identity: Shown) -> str:
    result = identity["result"] or {}
    numbers = ", ".join(f"{n} {result[n]}" for n in ("adjust_no", "serial_num", "order_id") if result.get(n))
    how = {"answer": "the brokerage confirmed it", "inferred": "a look showed that it was applied"}
    told = how.get(str(result.get("basis")), "a person decided that it was applied")
    calls = f", after {identity['attempts']} calls" if (identity["attempts"] or 0) > 1 else ""
    return f"{told}{f' ({numbers})' if numbers else ''}{calls}"


def _ending(adjustment: Shown | None) -> str:
    if adjustment is None:
        return ""
    if adjustment["ended_at"] is None:
        return f"; it is open until {adjustment['expires_at']}"
    by = {"timer": "by its timer", "command": "by a temp.expire", "brokerage": "by the brokerage itself"}
    return f"; it ended {by.get(adjustment['ended_by'], 'by whom is unknown')} at {adjustment['ended_at']}"


def _rejection(identity: Shown) -> str:
    error = identity["error"] or {}
    who = {"validation": "refused when it was read", "brokerage": "refused by the brokerage"}
    named = error.get("field") and not str(error.get("message")).startswith(str(error["field"]))
    field = f" ({error['field']})" if named else ""
    first = who.get(str(error.get("origin")), "not done")
    return f"{first}, {error.get('code')}{field}: {str(error.get('message')).rstrip('.')}"


def summary_of_account(lane: Shown, waits: Waits, doubts_count: int, parked_count: int, open_count: int) -> str:
    """Answer in one sentence how an account stands."""
    counts = (
        (lane["waiting"], "wait"),
        (doubts_count, "in doubt"),
        (parked_count, "parked"),
        (open_count, "temporary adjustments open"),
    )
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    state = f"waits for {waits.what}" if waits.what else "has nothing in its lane"
    return f"Account {lane['account_no']} {state}{f'; {told}' if told else ''}."
