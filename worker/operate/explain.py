"""The causal story of a command or an account, in order of time: what came, what was tried, what it waits for and why."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.errors import NothingMatchedError
from worker.store.listings import (
    list_attempts,
    list_doubts,
    list_evidence,
    list_last_outcomes,
    list_outcomes,
    list_parked,
    list_timers,
    read_adjustment,
)
from worker.store.shown import Shown
from worker.store.stories import find_numbered, read_identity, read_lane, read_records

LISTED_MAX = 100
OUTCOMES_MAX = 10
COMMAND_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
SENDING, PARKED, DONE = "sending", "parked", ("succeeded", "rejected")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, when, and what a person needs to know of it; `data` is all that is kept."""

    at: str
    event: str
    detail: str
    data: Shown


async def explain(connection: AsyncConnection, subject: str, outcomes_topic: str) -> list[Shown]:
    """Tell the stories of what `subject` names: a command's id, an account, or a number of the brokerage.

    A number may be that of several commands. Raises NothingMatchedError where it names nothing.
    """
    stories: list[Shown] = []
    if COMMAND_ID.fullmatch(subject):
        stories = [s for s in [await explain_command(connection, UUID(subject), outcomes_topic)] if s]
    if not stories:
        account = await explain_account(connection, subject)
        numbered = await find_numbered(connection, subject)
        commands = [await explain_command(connection, command_id, outcomes_topic) for command_id in numbered]
        stories = [story for story in (account, *commands) if story]
    if not stories:
        raise NothingMatchedError(f"{subject} is no command, account or number that is known here")
    return stories


async def explain_command(connection: AsyncConnection, command_id: UUID, outcomes_topic: str) -> Shown | None:
    """Tell the story of one command; None for an id that is not known."""
    identity = await read_identity(connection, command_id)
    if identity is None:
        return None
    outcomes = await list_outcomes(connection, command_id=command_id)
    told = [json.loads(outcome["value"]) for outcome in outcomes]
    records = await read_records(connection, command_id, _places(identity, told))
    attempts = await list_attempts(connection, command_id)
    evidence = await list_evidence(connection, command_id)
    adjustment = next(iter(await read_adjustment(connection, command_id)), None)
    lane = await read_lane(connection, identity["account_no"], identity["position"])
    events = [
        *_of_records(records, identity),
        *_of_attempts(attempts),
        *_of_evidence(evidence),
        *_of_adjustment(adjustment),
        *_of_outcomes(outcomes, told, outcomes_topic),
    ]
    waits_for, until = _waits(identity, lane, adjustment)
    return {
        "kind": "command",
        **identity,
        "waits_for": waits_for,
        "waits_until": until,
        "adjustment": adjustment,
        "events": [
            {"at": e.at, "event": e.event, "detail": e.detail, "data": e.data}
            for e in sorted(events, key=lambda e: e.at)
        ],
    }


async def explain_account(connection: AsyncConnection, account_no: str) -> Shown | None:
    """Tell how one account stands; None where it never had a command."""
    lane = await read_lane(connection, account_no)
    if lane is None:
        return None
    outcomes = await list_last_outcomes(connection, account_no, OUTCOMES_MAX)
    return {
        "kind": "account",
        **{name: value for name, value in lane.items() if name != "ahead"},
        "waits_for": _lane_waits(lane)[0] if lane["waiting"] else None,
        "waits_until": _lane_waits(lane)[1] if lane["waiting"] else None,
        "doubts": await list_doubts(connection, account_no=account_no, limit=LISTED_MAX),
        "parked": await list_parked(connection, account_no=account_no, limit=LISTED_MAX),
        "timers": await list_timers(connection, account_no=account_no, limit=LISTED_MAX),
        "last_outcomes": [{n: v for n, v in one.items() if n != "value"} for one in outcomes],
    }


def _places(identity: Shown, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say where the records lie that named the command: its own, and those of duplicates and conflicts."""
    sources = {(s["topic"], s["partition"], s["offset"]) for s in (outcome["source"] for outcome in told)}
    if identity["topic"] is not None:
        sources.add((identity["topic"], identity["partition"], identity["offset"]))
    return [{"topic": topic, "partition": partition, "at": at} for topic, partition, at in sorted(sources)]


def _of_records(records: list[Shown], identity: Shown) -> Iterator[Event]:
    for record in records:
        place = f"{record['topic']}[{record['partition']}] offset {record['offset']}"
        yield Event(record["produced_at"], "record.produced", place, {})
        yield Event(record["read_at"], "record.read", f"{place}: {record['disposition']}", record)
        if record["disposition"] == "accepted":
            detail = f"place {identity['position']} in the lane of {identity['account_no']}"
            yield Event(record["read_at"], "check.passed", detail, {})
        elif record["dead_letter_id"] is not None:
            detail = f"{record['code']}: {record['message']}; dead letter {record['dead_letter_id']}"
            yield Event(record["read_at"], "check.refused", detail, {})


def _of_attempts(attempts: list[Shown]) -> Iterator[Event]:
    for attempt in attempts:
        name = "look" if attempt["kind"] == "look" else "call"
        head = f"{attempt['operation']} {name} {attempt['number']}"
        if attempt["kind"] == "look":
            yield Event(attempt["opened_at"], "look.began", f"{head} began", {})
        else:
            query = f"?{attempt['query']}" if attempt["query"] else ""
            told = f"{head}: {attempt['method']} {attempt['path']}{query} {attempt['body'] or ''}".rstrip()
            yield Event(attempt["opened_at"], f"{attempt['kind']}.began", told, attempt)
        if attempt["reported_at"] is not None:
            yield Event(attempt["reported_at"], f"{attempt['kind']}.ended", f"{head}: {_verdict(attempt)}", attempt)


def _verdict(attempt: Shown) -> str:
    took = "" if attempt["duration_ms"] is None else f" after {attempt['duration_ms']:.0f} ms"
    parts = [
        f"{attempt['verdict']}{took}",
        *(f"{name} {attempt[field]}" for name, field in (("rule", "rule"), ("code", "code")) if attempt[field]),
        *([attempt["message"]] if attempt["message"] else []),
        *(f"{name} {number}" for name, number in (attempt["numbers"] or {}).items() if number),
        *([f"trace {attempt['trace_id']}"] if attempt["trace_id"] else []),
    ]
    return ", ".join(parts)


def _of_evidence(evidence: list[Shown]) -> Iterator[Event]:
    for one in evidence:
        detail = one["detail"]
        if one["kind"] == "person":
            word = str(detail.get("decision")).replace("_", " ")
            told = f"{one['actor']} decided {word} of the {detail.get('of')}: {one['reason']}"
            yield Event(one["recorded_at"], "person.decided", told, one)
        else:
            yield Event(one["recorded_at"], f"{one['kind']}.shown", str(detail.get("note", detail)), one)


def _of_adjustment(adjustment: Shown | None) -> Iterator[Event]:
    if adjustment is None:
        return
    number = adjustment["adjust_no"] or "a number that is not known"
    yield Event(adjustment["booked_at"], "adjustment.booked", f"{number}, until {adjustment['expires_at']}", adjustment)
    if adjustment["ended_at"] is not None:
        told = f"ended by {adjustment['ended_by']} ({adjustment['basis']})"
        yield Event(adjustment["ended_at"], "adjustment.ended", told, {})


def _of_outcomes(outcomes: list[Shown], told: list[dict[str, Any]], topic: str) -> Iterator[Event]:
    for outcome, value in zip(outcomes, told, strict=True):
        error = value["error"]
        why = f": {error['code']}, {error['message']}" if error else ""
        by = f", decided by {value['decided_by']}" if value["decided_by"] else ""
        head = f"{outcome['type']} (account_seq {outcome['account_seq']})"
        yield Event(outcome["recorded_at"], "outcome.recorded", f"{head}{why}{by}", value)
        if outcome["published_at"] is not None:
            where = f"{topic}[{outcome['published_partition']}] offset {outcome['published_offset']}"
            yield Event(outcome["published_at"], "outcome.published", f"{head} at {where}", {})
        elif outcome["set_aside_reason"]:
            yield Event(outcome["recorded_at"], "outcome.set_aside", f"{head}: {outcome['set_aside_reason']}", {})


def _waits(identity: Shown, lane: Shown | None, adjustment: Shown | None) -> tuple[str | None, str | None]:
    """Say what a command waits for, and until when, where that is known."""
    state = identity["state"]
    if state in DONE or lane is None:
        if adjustment is not None and adjustment["ended_at"] is None:
            return f"its hour, at which its {adjustment['timer']} ends it", adjustment["wake_at"]
        return None, None
    if state == PARKED:
        command = "in-doubt resolve" if identity["parked_in_doubt"] else "parked show"
        told = f"a person, since {identity['parked_at']}: {identity['parked_reason']}"
        return f"{told}; see `ledger-worker {command} {identity['command_id']}`", None
    if state != SENDING and lane["ahead"]:
        told, until = _lane_waits(lane)
        return f"{lane['ahead']} commands before it in its lane; the first of them: {told}", until
    return _lane_waits(lane)


def _lane_waits(lane: Shown) -> tuple[str, str | None]:
    match lane["state"]:
        case "leased":
            return f"the answer to a call under way (worker {lane['owner']})", lane["lease_until"]
        case "held":
            return str(lane["hold_reason"]), lane["wake_at"]
        case "ready":
            return f"a worker to take the lane, ready since {lane['ready_at']}", None
        case _:
            return "nothing: the lane is idle, which must not be so; see `ledger-worker doctor`", None
