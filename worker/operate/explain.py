"""The causal story of a command or an account, in order of time: what came, what was tried, what it waits for and why."""

import json
import re
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.outcomes import OutcomeType
from worker.errors import NothingMatchedError
from worker.operate.doubts import amount_of, doubts, parked
from worker.operate.standing import Waits, summary_of, summary_of_account, waits_of, waits_of_lane
from worker.operate.story import (
    Repeats,
    of_adjustment,
    of_attempts,
    of_evidence,
    of_outcomes,
    of_place,
    of_pruned,
    of_records,
    of_redrives,
)
from worker.settings import Settings
from worker.store.kept import left_out, list_attempts, list_evidence, list_last_outcomes, list_outcomes
from worker.store.listings import read_adjustment
from worker.store.pruning import read_pruned
from worker.store.shown import Shown
from worker.store.stories import (
    find_numbered,
    read_before,
    read_doubt_balance,
    read_identity,
    read_lane,
    read_open_adjustments,
    read_records,
    read_redrives,
    read_waiting,
)

LISTED_MAX = 100
OUTCOMES_MAX = 10
COMMAND_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


async def explain(connection: AsyncConnection, subject: str, settings: Settings) -> list[Shown]:
    """Tell the stories of what `subject` names: a command's id, an account, or a number of the brokerage.

    A number may be that of several commands. Raises NothingMatchedError where it names nothing.
    """
    stories: list[Shown] = []
    if COMMAND_ID.fullmatch(subject):
        stories = [s for s in [await explain_command(connection, UUID(subject), settings)] if s]
    if not stories:
        account = await explain_account(connection, subject, settings)
        numbered = await find_numbered(connection, subject)
        commands = [await explain_command(connection, command_id, settings) for command_id in numbered]
        stories = [story for story in (account, *commands) if story]
    if not stories:
        raise NothingMatchedError(f"{subject} is no command, account or number that is known here")
    return stories


async def explain_command(connection: AsyncConnection, command_id: UUID, settings: Settings) -> Shown | None:
    """Tell the story of one command; None for an id that is not known."""
    identity = await read_identity(connection, command_id)
    if identity is None:
        return None
    outcomes = await list_outcomes(connection, command_id)
    told = [json.loads(outcome["value"]) for outcome in outcomes]
    records = await read_records(connection, command_id, _places(identity, told))
    letters = [record["dead_letter_id"] for record in records if record["dead_letter_id"] is not None]
    redrives = await read_redrives(connection, command_id, letters, LISTED_MAX)
    attempts = await list_attempts(connection, command_id)
    evidence = await list_evidence(connection, command_id)
    adjustment = next(iter(await read_adjustment(connection, command_id)), None)
    lane = await read_lane(connection, identity["account_no"], identity["position"])
    before = None
    if identity["accepted_at"] is not None and not any(e["detail"].get("position") for e in evidence):
        before = await read_before(connection, identity["account_no"], identity["position"], identity["accepted_at"])
    events = [
        *of_records(records, identity, _repeats(outcomes, told)),
        *of_redrives(redrives, records, identity),
        *of_place(identity, before, attempts),
        *of_attempts(attempts),
        *of_evidence(evidence),
        *of_adjustment(adjustment),
        *of_outcomes(outcomes, told, settings.topic_outcomes),
        *of_pruned(identity, attempts, outcomes, await read_pruned(connection)),
    ]
    waits = waits_of(identity, lane, adjustment, await doubts(connection, settings, command_id=command_id, limit=2))
    return {
        "kind": "command",
        "summary": summary_of(identity, lane, adjustment, waits),
        **identity,
        "amount": amount_of(identity["payload"]),
        **_waiting(waits),
        "adjustment": adjustment,
        "events": [asdict(event) for event in sorted(events, key=lambda e: e.at)],
        "left_out": left_out((event.series, event.nth) for event in events if event.series),
    }


async def explain_account(connection: AsyncConnection, account_no: str, settings: Settings) -> Shown | None:
    """Tell how one account stands; None where it never had a command."""
    lane = await read_lane(connection, account_no)
    if lane is None:
        return None
    outcomes = await list_last_outcomes(connection, account_no, OUTCOMES_MAX)
    in_doubt = await doubts(connection, settings, account_no=account_no, limit=LISTED_MAX)
    balance = await read_doubt_balance(connection, account_no)
    waiting_for_a_person = await parked(connection, account_no=account_no, limit=LISTED_MAX)
    adjustments = await read_open_adjustments(connection, account_no, LISTED_MAX)
    doubts_count = sum(one["count"] for one in balance)
    waits = waits_of_lane(lane) if lane["waiting"] else Waits(None, None)
    waiting = await read_waiting(connection, account_no, lane["head_position"], OUTCOMES_MAX)
    return {
        "kind": "account",
        "summary": summary_of_account(lane, waits, doubts_count, len(waiting_for_a_person), len(adjustments)),
        **{name: value for name, value in lane.items() if name != "ahead"},
        **_waiting(waits),
        "next": [one | {"amount": amount_of(one["payload"])} for one in waiting],
        "doubt_balance": balance,
        "doubts": in_doubt,
        "parked": waiting_for_a_person,
        "timers": [one | {"amount": amount_of(one["payload"])} for one in adjustments],
        "last_outcomes": [_without_value(one) for one in outcomes],
    }


def _waiting(waits: Waits) -> Shown:
    return {
        "waits_for": waits.what,
        "waits_until": waits.until,
        "moved_by": [{"command": move.command, "from_at": move.from_at} for move in waits.moved_by],
    }


def _without_value(outcome: Shown) -> Shown:
    error = json.loads(outcome["value"])["error"]
    return {name: value for name, value in outcome.items() if name != "value"} | {"code": error and error["code"]}


def _repeats(outcomes: list[Shown], told: list[dict[str, Any]]) -> Repeats:
    """Say which records only repeat the command, by the sources of what was told of them."""
    return {
        (value["source"]["topic"], value["source"]["partition"], value["source"]["offset"]): (row["type"], row["nth"])
        for row, value in zip(outcomes, told, strict=True)
        if row["type"] in (OutcomeType.DUPLICATE, OutcomeType.CONFLICTED)
    }


def _places(identity: Shown, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say where the records lie that named the command: its own, and those of duplicates and conflicts."""
    sources = {(s["topic"], s["partition"], s["offset"]) for s in (outcome["source"] for outcome in told)}
    if identity["topic"] is not None:
        sources.add((identity["topic"], identity["partition"], identity["offset"]))
    return [{"topic": topic, "partition": partition, "at": at} for topic, partition, at in sorted(sources)]
