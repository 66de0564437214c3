"""The measure itself: it sees each thing that can go wrong, and nothing where nothing went wrong."""

import copy
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kafka import Sent
from tests.support.measure import Told, measure, tag_of

Json = dict[str, Any]
FIRST, SECOND, BOOKING = (str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))
HOUR = "2026-11-22T16:00:00Z"


def command(command_id: str, type_: str, payload: Json) -> Json:
    return {"command_id": command_id, "type": type_, "account_no": "A1", "payload": payload}


def effect(operation: str, number: str, request: Json, **more: Any) -> Json:
    applied = {"operation": operation, "number": number, "request": request, "applied_at": "2026-11-22T15:00:00Z"}
    return {"account_no": "A1", "request_id": None, "remark": None, **applied, **more}


def outcome(command_id: str, seq: int, type_: str = "command.succeeded", **result: Any) -> Json:
    numbers = {"adjust_no": None, "serial_num": None, "order_id": None, "ended_by": None}
    at = "2026-11-22T16:00:01Z"
    said = {"type": type_, "occurred_at": at, "recorded_at": at, "result": numbers | result, "error": None}
    return (
        {"event_id": f"event-{command_id}-{type_}", "command_id": command_id, "account_no": "A1"}
        | said
        | {"account_seq": seq}
    )


def clean() -> Told:
    """Two adjustments of cash and a temporary one that its timer ended."""
    commands = [
        command(FIRST, "cash.adjust", {}),
        command(SECOND, "cash.adjust", {}),
        command(BOOKING, "temp.adjust", {"expires_at": HOUR}),
    ]
    ending = {"operation": "temp.expire", "request": {"adjust_no": "TA1"}, "received_at": "2026-11-22T16:00:00.1Z"}
    return Told(
        commands,
        [Sent("adjustments", 0, number) for number in range(3)],
        [
            effect("cash.adjust", "S1", {}, request_id=FIRST),
            effect("cash.adjust", "S2", {}, request_id=SECOND),
            effect("temp.adjust", "TA1", {}, remark=tag_of(BOOKING) + "lent"),
            effect("temp.expire", "TA1", {"adjust_no": "TA1"}),
        ],
        [ending],
        [
            outcome(FIRST, 1, serial_num="S1"),
            outcome(SECOND, 2, serial_num="S2"),
            outcome(BOOKING, 3, adjust_no="TA1"),
            outcome(BOOKING, 4, "temp_adjustment.expired", adjust_no="TA1", ended_by="timer"),
        ],
    )


def drop_outcomes(told: Told) -> None:
    del told.outcomes[1]


def apply_again(told: Told) -> None:
    told.effects.append(told.effects[0])


def apply_in_another_sequence(told: Told) -> None:
    told.effects.insert(0, told.effects.pop(1))


def never_apply(told: Told) -> None:
    del told.effects[0]


def reject_what_was_applied(told: Told) -> None:
    told.outcomes[0]["type"] = "command.rejected"


def name_another_number(told: Told) -> None:
    told.outcomes[0]["result"]["serial_num"] = "S9"


def ask_before_the_hour(told: Told) -> None:
    told.calls[0]["received_at"] = "2026-11-22T15:59:59.9Z"


def end_by_the_sweep(told: Told) -> None:
    told.effects[3]["operation"] = "sweep"


def never_tell_the_end(told: Told) -> None:
    del told.outcomes[3]


def only_doubt(told: Told) -> None:
    told.outcomes[2]["type"] = "command.in_doubt"


def tell_two_verdicts(told: Told) -> None:
    told.outcomes.append(outcome(FIRST, 5, "command.rejected"))


def change_a_repeat(told: Told) -> None:
    told.outcomes.append({**told.outcomes[0], "error": "another"})


def swap_outcomes(told: Told) -> None:
    told.outcomes.insert(0, told.outcomes.pop(1))


def apply_what_nobody_asked_for(told: Told) -> None:
    told.effects.append(effect("cash.adjust", "S8", {}, request_id="nobody"))


def test_nothing_is_found_where_nothing_went_wrong() -> None:
    told = clean()
    assert measure(told).is_clean(), str(measure(told))


def test_a_repeated_outcome_is_no_fault() -> None:
    told = clean()
    told.outcomes.append(told.outcomes[0])
    assert measure(told).is_clean(), str(measure(told))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (drop_outcomes, "lost"),
        (drop_outcomes, "gaps"),
        (apply_again, "doubled"),
        (tell_two_verdicts, "doubled"),
        (change_a_repeat, "doubled"),
        (apply_in_another_sequence, "misordered"),
        (never_apply, "false"),
        (reject_what_was_applied, "false"),
        (name_another_number, "false"),
        (end_by_the_sweep, "false"),
        (apply_what_nobody_asked_for, "false"),
        (ask_before_the_hour, "early"),
        (swap_outcomes, "gaps"),
        (only_doubt, "unanswered"),
        (never_tell_the_end, "unanswered"),
    ],
)
def test_each_fault_is_seen(change: Callable[[Told], None], kind: str) -> None:
    told = copy.deepcopy(clean())
    change(told)
    assert getattr(measure(told), kind), f"\n{measure(told)}"
