"""The demo's closing balance: it agrees only when the brokerage's own ledger bears out every outcome, once."""

from typing import Any

import pytest

from worker.cli.demo.balance import balance

CASH, PLACED, WITHDRAWN, TEMPORARY = (f"0f8fad5b-d9cb-469f-a165-70867728950{n}" for n in range(4))
TAGS = {PLACED: "lw1:b6h22w6zzndj7ilfocdhokevae", TEMPORARY: "lw1:b6h22w6zzndj7ilfocdhokevam"}
COMMANDS = {CASH, PLACED, WITHDRAWN, TEMPORARY}


def outcome(seq: int, type_: str, command_id: str, command_type: str, **result: str) -> dict[str, Any]:
    return {
        "event_id": f"{type_}/{command_id}",
        "type": type_,
        "command_id": command_id,
        "command_type": command_type,
        "account_no": "H1",
        "account_seq": seq,
        "result": result,
    }


def effect(operation: str, **given: str) -> dict[str, Any]:
    return {"operation": operation, "request_id": None, "remark": None, "number": None} | given


OUTCOMES = [
    outcome(1, "command.succeeded", CASH, "cash.adjust", serial_num="1"),
    outcome(2, "command.in_doubt", PLACED, "order.place"),
    outcome(3, "command.succeeded", PLACED, "order.place", order_id="7"),
    outcome(4, "command.succeeded", WITHDRAWN, "order.withdraw", order_id="7"),
    outcome(5, "command.succeeded", TEMPORARY, "temp.adjust", adjust_no="TA1"),
    outcome(6, "temp_adjustment.expired", TEMPORARY, "temp.adjust", adjust_no="TA1", ended_by="timer"),
]
EFFECTS = [
    effect("cash.adjust", request_id=CASH),
    effect("order.place", remark=TAGS[PLACED]),
    effect("order.withdraw", number="7"),
    effect("temp.adjust", remark=f"{TAGS[TEMPORARY]} buying power"),
    effect("temp.expire", number="TA1"),
]


def test_it_agrees_when_each_outcome_has_its_effect() -> None:
    found = balance(COMMANDS, OUTCOMES, EFFECTS)
    assert found.agrees
    assert found.line == (
        "4 commands in, 4 answered: 3 succeeded, 0 rejected, 1 in doubt and resolved; "
        "brokerage's own ledger agrees: 0 lost, 0 doubled"
    )


@pytest.mark.parametrize("missing", range(len(EFFECTS)))
def test_an_outcome_without_its_effect_is_lost(missing: int) -> None:
    found = balance(COMMANDS, OUTCOMES, [one for n, one in enumerate(EFFECTS) if n != missing])
    assert (found.agrees, found.lost, found.doubled) == (False, 1, 0)
    assert "brokerage's own ledger DISAGREES: 1 lost, 0 doubled" in found.line


@pytest.mark.parametrize("twice", range(len(EFFECTS)))
def test_an_effect_that_came_twice_is_doubled(twice: int) -> None:
    found = balance(COMMANDS, OUTCOMES, [*EFFECTS, EFFECTS[twice]])
    assert (found.agrees, found.lost, found.doubled) == (False, 0, 1)


def test_an_effect_of_a_rejected_command_is_doubled() -> None:
    rejected = [outcome(1, "command.rejected", CASH, "cash.adjust")]
    assert balance({CASH}, rejected, []).agrees
    assert balance({CASH}, rejected, EFFECTS[:1]).doubled == 1


def test_a_sweep_bears_out_only_an_expiry_by_the_brokerage() -> None:
    swept = outcome(6, "temp_adjustment.expired", TEMPORARY, "temp.adjust", adjust_no="TA1", ended_by="brokerage")
    effects = [*EFFECTS[:4], effect("sweep", number="TA1")]
    assert balance(COMMANDS, [*OUTCOMES[:5], swept], effects).agrees
    assert not balance(COMMANDS, OUTCOMES, effects).agrees


def test_it_disagrees_while_a_command_has_no_answer() -> None:
    found = balance({*COMMANDS, "another"}, OUTCOMES, EFFECTS)
    assert (found.agrees, found.commands, found.answered) == (False, 5, 4)


def test_it_disagrees_with_two_terminal_outcomes_of_one_command() -> None:
    found = balance({CASH}, [OUTCOMES[0], outcome(2, "command.rejected", CASH, "cash.adjust")], EFFECTS[:1])
    assert (found.agrees, found.answered_twice) == (False, 1)
    assert found.line.endswith("0 lost, 0 doubled, 1 answered twice")


def test_it_disagrees_with_a_gap_in_an_account() -> None:
    found = balance({CASH}, [OUTCOMES[0] | {"account_seq": 2}], EFFECTS[:1])
    assert (found.agrees, found.misnumbered) == (False, 1)
