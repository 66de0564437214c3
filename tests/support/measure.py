"""What became of commands, told by the brokerage's own ledger and the outcomes alone: the worker is not asked.

`Told` holds what was produced, what the sandbox wrote down and what was consumed; `measure` gives seven lists of stories, each of
which must be empty. An effect belongs to a command by its request_id, by the tag in its remark, or by what it did to
which number, so changes of one order must differ from each other.
"""

import base64
import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from tests.support.kafka import Sent

Json = Mapping[str, Any]

TERMINAL = frozenset({"command.succeeded", "command.rejected"})
UNDECIDED = "command.parked"
EXPIRED = "temp_adjustment.expired"
_TAGGED = frozenset({"order.place", "temp.adjust"})
_BY_ORDER = frozenset({"order.modify", "order.withdraw"})


@dataclass(frozen=True)
class Told:
    """All that is known from outside: commands with their places in Kafka, the sandbox's audit, outcomes as consumed."""

    commands: Sequence[Json]
    sent: Sequence[Sent]
    effects: Sequence[Json]
    calls: Sequence[Json]
    outcomes: Sequence[Json]


@dataclass(frozen=True)
class Measure:
    """Stories of what went wrong, by kind."""

    lost: list[str]
    doubled: list[str]
    misordered: list[str]
    false: list[str]
    early: list[str]
    gaps: list[str]
    unanswered: list[str]

    def __str__(self) -> str:
        kinds = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return "\n".join(f"{name}: {len(stories)}" + "".join(f"\n    {s}" for s in stories) for name, stories in kinds)

    def is_clean(self) -> bool:
        """Say whether nothing went wrong."""
        return not any(getattr(self, field.name) for field in fields(self))


def measure(told: Told) -> Measure:
    """Compare what was asked, what was done and what was said."""
    view = _View(told)
    return Measure(
        lost=list(_lost(view)),
        doubled=[*_applied_twice(view), *_told_twice(view)],
        misordered=list(_misordered(view)),
        false=[*_false(view), *_strangers(view), *_false_ends(view)],
        early=list(_early(view)),
        gaps=list(_gaps(view)),
        unanswered=list(_unanswered(view)),
    )


def tag_of(command_id: str) -> str:
    """Return what the remark of an order or temporary adjustment begins with: `lw1:`, 26 characters, a blank."""
    return f"lw1:{base64.b32encode(uuid.UUID(command_id).bytes).decode().rstrip('=').lower()} "


class _View:
    """The same facts, by command, by account and by temporary adjustment."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.commands = {one["command_id"]: one for one in told.commands}
        self.outcomes: dict[str, list[Json]] = defaultdict(list)
        for one in _first_sights(told.outcomes):
            self.outcomes[one["command_id"]].append(one)
        self._orders = self._numbers("order_id")
        self._adjustments = self._numbers("adjust_no")
        self.effects: dict[str, list[Json]] = defaultdict(list)
        self.ends: dict[str, list[Json]] = defaultdict(list)
        self.strangers: list[Json] = []
        self._changes = {self._change(one): one["command_id"] for one in told.commands if one["type"] in _BY_ORDER}
        self._tags = {tag_of(one["command_id"]): one["command_id"] for one in told.commands if one["type"] in _TAGGED}
        for effect in told.effects:
            self._assign(effect)

    def adjust_no(self, command_id: str) -> str | None:
        """Return the brokerage's number of a temporary adjustment, as its ledger has it."""
        return next((e["number"] for e in self.effects[command_id] if e["operation"] == "temp.adjust"), None)

    def verdicts(self, command_id: str) -> list[Json]:
        """Return the different terminal outcomes of a command."""
        return [one for one in self.outcomes[command_id] if one["type"] in TERMINAL]

    def enders(self, adjust_no: str) -> list[str]:
        """Return the commands that ask for the end of this temporary adjustment."""
        return [
            one["command_id"]
            for one in self.told.commands
            if one["type"] == "temp.expire" and self._target(one["payload"]["adjust"], "adjust_no") == adjust_no
        ]

    def _numbers(self, kind: str) -> dict[str, str]:
        operation = {"order_id": "order.place", "adjust_no": "temp.adjust"}[kind]
        made = [one for one in self.told.effects if one["operation"] == operation]
        return {one["remark"][:31]: one["number"] for one in made if one["remark"]}

    def _target(self, reference: Json, kind: str) -> str | None:
        numbers = self._orders if kind == "order_id" else self._adjustments
        number = reference.get(kind) or numbers.get(tag_of(reference["command_id"]))
        return None if number is None else str(number)

    def _change(self, command: Json) -> tuple[str | None, ...]:
        payload = command["payload"]
        order_id = self._target(payload["order"], "order_id")
        return (command["type"], order_id, payload.get("quantity"), payload.get("price"))

    def _assign(self, effect: Json) -> None:
        operation, request = effect["operation"], effect["request"]
        if operation in {"temp.expire", "sweep"}:
            self.ends[request["adjust_no"]].append(effect)
            return
        if operation in _BY_ORDER:
            change = (operation, request["order_id"], request.get("quantity"), request.get("price"))
            command_id = self._changes.get(change)
        elif operation in _TAGGED:
            command_id = self._tags.get((effect["remark"] or "")[:31])
        else:
            command_id = effect["request_id"]
        if command_id in self.commands:
            self.effects[command_id].append(effect)
        else:
            self.strangers.append(effect)


def _first_sights(outcomes: Sequence[Json]) -> Iterator[Json]:
    seen: set[str] = set()
    for one in outcomes:
        if one["event_id"] not in seen:
            seen.add(one["event_id"])
            yield one


def _name(command: Json) -> str:
    return f"{command['type']} {command['command_id']} of {command['account_no']}"


def _lost(view: _View) -> Iterator[str]:
    for command_id, command in view.commands.items():
        if not view.outcomes[command_id]:
            did = ", though it was applied" if view.effects[command_id] else ""
            yield f"{_name(command)} was never heard of again{did}"


def _unanswered(view: _View) -> Iterator[str]:
    for command_id, command in view.commands.items():
        heard = [one["type"] for one in view.outcomes[command_id]]
        if heard and not view.verdicts(command_id) and UNDECIDED not in heard:
            yield f"{_name(command)} has no terminal outcome and is not parked, only {', '.join(heard)}"
        booked = command["type"] == "temp.adjust" and any(
            v["type"] == "command.succeeded" for v in view.verdicts(command_id)
        )
        if booked and _instant(command["payload"]["expires_at"]) < _latest(view) and EXPIRED not in heard:
            yield f"{_name(command)} lapsed at {command['payload']['expires_at']}, and nothing says that it ended"


def _latest(view: _View) -> datetime:
    return max((_instant(one["recorded_at"]) for one in view.told.outcomes), default=datetime.min.replace(tzinfo=UTC))


def _applied_twice(view: _View) -> Iterator[str]:
    for command_id, command in view.commands.items():
        if len(effects := view.effects[command_id]) > 1:
            yield f"{_name(command)} was applied {len(effects)} times: {', '.join(e['applied_at'] for e in effects)}"
    for adjust_no, effects in view.ends.items():
        if len(effects) > 1:
            yield f"the temporary adjustment {adjust_no} was ended {len(effects)} times"


def _told_twice(view: _View) -> Iterator[str]:
    for command_id, command in view.commands.items():
        if len(verdicts := view.verdicts(command_id)) > 1:
            yield f"{_name(command)} has {len(verdicts)} terminal outcomes: {[v['type'] for v in verdicts]}"
        if (ended := [one["type"] for one in view.outcomes[command_id]].count(EXPIRED)) > 1:
            yield f"{_name(command)} was told to have expired {ended} times"
    contents: dict[str, str] = {}
    for one in view.told.outcomes:
        text = json.dumps(one, sort_keys=True)
        if contents.setdefault(one["event_id"], text) != text:
            yield f"event {one['event_id']} of {one['account_no']} was published with two contents"


def _misordered(view: _View) -> Iterator[str]:
    """Within one partition of one topic an account's effects must come in the sequence of its records."""
    places = dict(zip((one["command_id"] for one in view.told.commands), view.told.sent, strict=True))
    ranks = {id(effect): rank for rank, effect in enumerate(view.told.effects)}
    applied: dict[tuple[str, str, int], list[tuple[int, int, str]]] = defaultdict(list)
    for command_id, command in view.commands.items():
        place = places[command_id]
        for effect in view.effects[command_id]:
            queue = applied[command["account_no"], place.topic, place.partition]
            queue.append((ranks[id(effect)], place.offset, command_id))
    for queue in applied.values():
        queue.sort()
        for (_, before, first), (_, after, second) in pairwise(queue):
            if after < before:
                names = f"{_name(view.commands[first])} (offset {before})", f"{second} (offset {after})"
                yield f"{names[0]} was applied before {names[1]}"


def _false(view: _View) -> Iterator[str]:
    for command_id, command in view.commands.items():
        effects = view.effects[command_id]
        for verdict in view.verdicts(command_id):
            if command["type"] == "temp.expire":
                continue
            if verdict["type"] == "command.rejected" and effects:
                corrected = any(one["type"] == "command.corrected" for one in view.outcomes[command_id])
                if not corrected:
                    yield f"{_name(command)} was applied but is rejected: {verdict['error']}"
            if verdict["type"] == "command.succeeded":
                yield from _false_success(command, verdict, effects)


def _false_success(command: Json, verdict: Json, effects: Sequence[Json]) -> Iterator[str]:
    if not effects:
        yield f"{_name(command)} succeeded, but the brokerage never applied it"
        return
    named = {verdict["result"][kind] for kind in ("adjust_no", "serial_num", "order_id")} - {None}
    if named and effects[0]["number"] not in named:
        yield f"{_name(command)} succeeded with {named}, but the brokerage's number is {effects[0]['number']}"


def _strangers(view: _View) -> Iterator[str]:
    for effect in view.strangers:
        yield f"an effect that no command asked for: {effect['operation']} {effect['request']}"


def _false_ends(view: _View) -> Iterator[str]:
    for command_id, command in view.commands.items():
        if command["type"] == "temp.expire":
            yield from _false_ender(view, command)
        for told in (one for one in view.outcomes[command_id] if one["type"] == EXPIRED):
            adjust_no = view.adjust_no(command_id)
            how = {effect["operation"] for effect in view.ends.get(str(adjust_no), [])}
            by = told["result"]["ended_by"]
            wanted = {"timer": {"temp.expire"}, "command": {"temp.expire"}, "brokerage": {"sweep"}}.get(by)
            if not how or (wanted is not None and how != wanted):
                yield f"{_name(command)} is said to have been ended by {by}, but the ledger says {how or 'it is open'}"


def _false_ender(view: _View, command: Json) -> Iterator[str]:
    verdicts = [one["type"] for one in view.verdicts(command["command_id"])]
    reference = command["payload"]["adjust"]
    adjust_no = reference.get("adjust_no") or view.adjust_no(reference["command_id"])
    ended = any(effect["operation"] == "temp.expire" for effect in view.ends.get(str(adjust_no), []))
    if "command.succeeded" in verdicts and not ended:
        yield f"{_name(command)} succeeded, but the brokerage did not end {adjust_no} on request"


def _early(view: _View) -> Iterator[str]:
    hours = {view.adjust_no(c): view.commands[c]["payload"]["expires_at"] for c in view.commands if view.adjust_no(c)}
    for call in view.told.calls:
        if call["operation"] != "temp.expire":
            continue
        adjust_no = call["request"]["adjust_no"]
        hour = hours.get(adjust_no)
        if hour is not None and _instant(call["received_at"]) < _instant(hour) and not view.enders(adjust_no):
            yield f"{adjust_no} was asked to end at {call['received_at']}, before its hour {hour}"
    for told in (one for one in view.told.outcomes if one["type"] == EXPIRED):
        hour, by = view.commands[told["command_id"]]["payload"]["expires_at"], told["result"]["ended_by"]
        if by != "command" and _instant(told["occurred_at"]) < _instant(hour):
            yield f"{told['command_id']} was told to have ended by {by} at {told['occurred_at']}, before {hour}"


def _gaps(view: _View) -> Iterator[str]:
    """Each account's outcomes count 1, 2, 3 …, and the first sight of each number comes in this sequence."""
    sequences: dict[str, dict[int, str]] = defaultdict(dict)
    for one in view.told.outcomes:
        account_no, number = one["account_no"], one["account_seq"]
        seen = sequences[account_no]
        if number in seen:
            if seen[number] != one["event_id"]:
                yield f"{account_no} has two outcomes with account_seq {number}"
            continue
        if number != len(seen) + 1:
            yield f"{account_no}: account_seq {number} came as the {len(seen) + 1}th"
        seen[number] = one["event_id"]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
