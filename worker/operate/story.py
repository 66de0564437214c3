"""What happened to a command, one event after the other: rows as they are kept become sentences."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.times import written
from worker.ledger.retention import Aged
from worker.operate.rules import VERDICTS, sentence
from worker.store.pruning import Pruned
from worker.store.shown import Shown
from worker.store.stories import PLACES_LOOKED_AT

ANSWER_CHARS_MAX = 240


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, when, and what a person needs to know of it; `data` is all that is kept.

    `series` names what may come any number of times, of which this is the `nth`; what lies between may be left out.
    """

    at: str
    event: str
    detail: str
    data: Shown
    series: str | None = None
    nth: int = 0


Repeats = Mapping[tuple[str, int, int], tuple[str, int]]
"""By topic, partition and offset the records that only repeat a command: the series of their outcome, and which of it."""


def of_records(records: list[Shown], identity: Shown, repeats: Repeats) -> Iterator[Event]:
    """Tell where each record lay that named the command, and what the check said of it."""
    for record in records:
        series = repeats.get((record["topic"], record["partition"], record["offset"]), (None, 0))
        place = f"{record['topic']}[{record['partition']}] offset {record['offset']}"
        other = record["command_id"] if record["command_id"] != identity["command_id"] else None
        named = f", as command {other}" if other else ""
        yield Event(record["produced_at"], "record.produced", place, {}, *series)
        yield Event(record["read_at"], "record.read", f"{place}: {record['disposition']}{named}", record, *series)
        if record["disposition"] == "accepted":
            detail = f"key, topic and type, every field and amount: nothing wrong, for account {identity['account_no']}"
            yield Event(record["read_at"], "check.passed", detail, {}, *series)
        elif record["dead_letter_id"] is not None:
            field = f" ({record['field']})" if record["field"] else ""
            detail = f"{record['code'] or record['dead_letter_reason']}{field}: {record['message']}"
            see = f"ledger-worker dead-letters show {record['dead_letter_id']}"
            yield Event(record["read_at"], "check.refused", f"{detail}; dead letter: {see}", {}, *series)


def of_redrives(redrives: list[Shown], records: list[Shown], identity: Shown) -> Iterator[Event]:
    """Tell who put a dead letter back, as it was or with other bytes, why, and what became of it."""
    places = {one["dead_letter_id"]: f"{one['topic']}[{one['partition']}] offset {one['offset']}" for one in records}
    for one in redrives:
        what = f"the record at {places[one['dead_letter_id']]}"
        own = one["command_id"] == identity["command_id"]
        name = "this command" if own else f"command {one['command_id']}"
        how = f"edited {what} and put it back as {name}" if one["edited"] else f"put {what} back"
        see = f"dead letter: ledger-worker dead-letters show {one['dead_letter_id']}"
        told = f"{one['actor']} {how}: {one['reason']}; {one['disposition']}; {see}"
        yield Event(one["redriven_at"], "record.edited" if one["edited"] else "record.redriven", told, one)


def of_place(identity: Shown, before: Shown | None, attempts: list[Shown]) -> Iterator[Event]:
    """Tell which place the command got in its lane and what it waited for there."""
    if before is None:
        return
    accepted_at, position = identity["accepted_at"], identity["position"]
    if not before["count"]:
        behind = "nothing before it"
    else:
        most = " or more" if before["count"] >= PLACES_LOOKED_AT else ""
        behind = f"behind {before['count']}{most} commands, the last of them {before['last']}"
    first = next((a for a in attempts if a["kind"] == "write"), None)
    waited = f"; its first call came after {_seconds_between(accepted_at, first['opened_at'])} s" if first else ""
    yield Event(accepted_at, "lane.placed", f"place {position}, {behind}{waited}", before)


def of_attempts(attempts: list[Shown]) -> Iterator[Event]:
    """Tell of each call what was sent and what came back, of each look what it saw."""
    sent: dict[str, tuple[object, ...]] = {}
    for attempt in attempts:
        kind = attempt["kind"]
        request = tuple(attempt[name] for name in ("method", "path", "query", "body"))
        head = f"{attempt['operation']} {'look' if kind == 'look' else 'call'} {attempt['number']}"
        series = kind, attempt["nth"]
        if kind == "look":
            yield Event(attempt["opened_at"], "look.began", f"{head} began", {}, *series)
        elif attempt["redacted_at"] is not None:
            kept = (
                f"sha256 of the body {attempt['body_hash'] or 'none'}, of the answer {attempt['answer_hash'] or 'none'}"
            )
            told = f"{head}: {attempt['method']} {attempt['path']}; redacted on {attempt['redacted_at'][:10]}, {kept}"
            yield Event(attempt["opened_at"], f"{kind}.began", told, attempt, *series)
        elif attempt["method"]:
            query = f"?{attempt['query']}" if attempt["query"] else ""
            told = f"{head}: {attempt['method']} {attempt['path']}{query} {_spaced(attempt['body'] or '')}".rstrip()
            if sent.get(kind) == request:
                told = f"{head}: the same request again, to the byte"
            sent[kind] = request
            yield Event(attempt["opened_at"], f"{kind}.began", told, attempt, *series)
        else:
            yield Event(attempt["opened_at"], f"{kind}.began", f"{head}: what was sent is forgotten", attempt, *series)
        if attempt["reported_at"] is not None:
            yield Event(attempt["reported_at"], f"{kind}.ended", f"{head}: {_came_back(attempt)}", attempt, *series)


def _came_back(attempt: Shown) -> str:
    """Say what came back, what it means and by which rule."""
    took = "" if attempt["duration_ms"] is None else f" after {attempt['duration_ms']:.0f} ms"
    verdict = VERDICTS.get(attempt["verdict"], attempt["verdict"])
    parts = [
        *([f"HTTP {attempt['http_status']}"] if attempt["http_status"] else []),
        f"{verdict}{took}",
        *(f"{name} {number}" for name, number in (attempt["numbers"] or {}).items() if number),
        *([f"code {attempt['code']}"] if attempt["code"] else []),
        *([str(attempt["message"])] if attempt["message"] else []),
        *([f"trace {attempt['trace_id']}"] if attempt["trace_id"] else []),
    ]
    rule = attempt["rule"]
    why = f" (rule {rule}: {sentence(rule)})" if rule and attempt["kind"] != "look" else ""
    answer = f"; answer {_cut(_spaced(attempt['answer']))}" if attempt["answer"] else ""
    return f"{', '.join(parts)}{why}{answer}"


def of_evidence(evidence: list[Shown]) -> Iterator[Event]:
    """Tell what looks showed and who decided what, and why."""
    for one in evidence:
        detail = one["detail"]
        if one["kind"] == "person":
            word = str(detail.get("decision")).replace("_", " ")
            place = f"; place {detail['position']} now" if detail.get("position") else ""
            checked = f"; {detail['checked']}" if detail.get("checked") else ""
            told = f"{one['actor']} decided {word} of the {detail.get('of')}: {one['reason']}{place}{checked}"
            yield Event(one["recorded_at"], "person.decided", told, one, "person.decided", one["nth"])
        else:
            name, note = f"{one['kind']}.shown", str(detail.get("note", detail))
            yield Event(one["recorded_at"], name, note, one, name, one["nth"])


def of_adjustment(adjustment: Shown | None) -> Iterator[Event]:
    """Tell when a temporary adjustment was booked, what its timer does, and who ended it."""
    if adjustment is None:
        return
    number = adjustment["adjust_no"] or "a number that is not known"
    keeps = "a timer ends it then" if adjustment["adjust_no"] else "nobody can end it before; it is watched"
    told = f"{number}, until {adjustment['expires_at']}: {keeps}"
    yield Event(adjustment["booked_at"], "adjustment.booked", told, adjustment)
    if adjustment["ended_at"] is not None:
        told = f"ended by {adjustment['ended_by']} ({adjustment['basis']})"
        yield Event(adjustment["ended_at"], "adjustment.ended", told, {})


def of_outcomes(outcomes: list[Shown], told: list[dict[str, Any]], topic: str) -> Iterator[Event]:
    """Tell each outcome, and where the topic has it."""
    for outcome, value in zip(outcomes, told, strict=True):
        error = value["error"]
        why = f": {error['code']}, {error['message']}" if error else ""
        by = f", decided by {value['decided_by']}" if value["decided_by"] else ""
        head = f"{outcome['type']} (account_seq {outcome['account_seq']})"
        series = outcome["type"], outcome["nth"]
        yield Event(outcome["recorded_at"], "outcome.recorded", f"{head}{why}{by}", value, *series)
        if outcome["published_at"] is not None:
            where = f"{topic}[{outcome['published_partition']}] offset {outcome['published_offset']}"
            yield Event(outcome["published_at"], "outcome.published", f"{head} at {where}", {}, *series)
        elif outcome["set_aside_reason"]:
            told_why = f"{head}: {outcome['set_aside_reason']}"
            yield Event(outcome["recorded_at"], "outcome.set_aside", told_why, {}, *series)


def of_pruned(
    identity: Shown, attempts: list[Shown], outcomes: list[Shown], pruned: Mapping[Aged, Pruned]
) -> Iterator[Event]:
    """Tell what was pruned of a finished command, and what is kept for ever."""
    if identity["pruned_at"] is not None:
        told = f"pruned on {identity['pruned_at'][:10]}: only its identity, hash and verdict are kept, and its numbers"
        yield Event(identity["pruned_at"], "command.pruned", told, {})
    elif identity["finished_at"] is not None and identity["attempts"] and Aged.ATTEMPTS in pruned and not attempts:
        before = written(pruned[Aged.ATTEMPTS].before_at)
        told = (
            f"its calls, {identity['attempts']}, and looks were pruned, as all of commands that ended before {before}"
        )
        yield Event(identity["finished_at"], "attempts.pruned", told, {})
    event_id = identity["terminal_event_id"]
    if event_id is not None and Aged.OUTCOMES in pruned and event_id not in {one["event_id"] for one in outcomes}:
        at = pruned[Aged.OUTCOMES]
        told = f"its outcomes were pruned, as all published before {written(at.before_at)}; {event_id} was the terminal one"
        yield Event(identity["finished_at"] or written(at.before_at), "outcomes.pruned", told, {})


def _spaced(text: str) -> str:
    """Write JSON with blanks, so that a line of it can be broken; the event's data has it to the byte."""
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _cut(text: str) -> str:
    return text if len(text) <= ANSWER_CHARS_MAX else f"{text[:ANSWER_CHARS_MAX]}…"


def _seconds_between(first: str, second: str) -> str:
    return f"{max(0.0, (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()):.3f}"
