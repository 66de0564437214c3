"""Urgent calls always find room, and borrowed tokens lapse."""

import pytest

from worker.whale.limits import Budget, Slots


def test_tokens_are_spent_once() -> None:
    budget = Budget(life_s=1.0)
    budget.add(2, 10.0)
    assert [budget.take(10.0, urgent=False) for _ in range(3)] == [True, True, False]


def test_borrowed_tokens_lapse_and_the_oldest_go_first() -> None:
    budget = Budget(life_s=1.0)
    budget.add(1, 10.0)
    budget.add(1, 10.5)
    assert budget.take(10.6, urgent=False)
    assert budget.left(11.0) == 1
    assert budget.left(11.5) == 0
    assert not budget.take(11.5, urgent=True)


def test_some_tokens_are_only_for_urgent_calls() -> None:
    budget = Budget(life_s=1.0, reserve=1)
    budget.add(2, 10.0)
    assert budget.take(10.0, urgent=False)
    assert not budget.take(10.0, urgent=False)
    assert budget.take(10.0, urgent=True)


def test_nothing_borrowed_is_nothing_to_spend() -> None:
    budget = Budget(life_s=1.0)
    budget.add(0, 10.0)
    assert not budget.take(10.0, urgent=True)


def test_some_slots_are_only_for_urgent_calls() -> None:
    slots = Slots(in_flight_max=3, reserve=1)
    assert slots.free(urgent=False) == 2
    assert [slots.take(urgent=False) for _ in range(3)] == [True, True, False]
    assert slots.take(urgent=True)
    assert not slots.take(urgent=True)
    slots.give_back()
    assert not slots.take(urgent=False)
    assert slots.take(urgent=True)


def test_a_slot_is_given_back_once() -> None:
    slots = Slots(in_flight_max=1)
    assert slots.take(urgent=False)
    slots.give_back()
    with pytest.raises(ValueError, match="more calls ended"):
        slots.give_back()
