"""Outcomes as the kit reads them: the worker's own bytes, repeats and gaps, and what is no outcome."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_client.client import Answer, State, _Watched
from ledger_client.consume import COLUMNS, Completeness, Gap, row_of
from ledger_client.errors import ContradictionError, NotAnsweredError, UnreadableError
from ledger_client.outcomes import read_outcome
from schemas import examples
from schemas.outcomes import Error, Outcome, OutcomeType, Source
from tests.unit.schemas.test_outcomes import OUTCOME, REJECTED


@pytest.mark.parametrize("outcome", [OUTCOME, REJECTED])
def test_an_outcome_is_read_back_as_it_was_written(outcome: Outcome) -> None:
    assert read_outcome(outcome.to_bytes()) == outcome


@pytest.mark.parametrize("example", examples.OUTCOMES, ids=lambda one: str(one["type"]))
def test_every_kind_is_read_as_an_object_and_as_a_row(example: dict[str, Any]) -> None:
    value = json.dumps({**example, "later": 1}).encode()
    assert read_outcome(value).type == example["type"]
    row = dict(zip((column.name for column in COLUMNS), row_of(value, 3, 42), strict=True))
    assert (row["type"], row["read_partition"], row["read_offset"]) == (example["type"], 3, 42)
    assert row["error_code"] == (example["error"] or {}).get("code")
    assert row["adjust_no"] == (example["result"] or {}).get("adjust_no")
    assert row["payload"] is None or json.loads(row["payload"]) == example["payload"]


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        json.dumps({**examples.OUTCOMES[0], "account_seq": None}).encode(),
        json.dumps({**examples.OUTCOMES[0], "account_seq": 2**63}).encode(),
        json.dumps({**examples.OUTCOMES[0], "account_no": "\ud800"}).encode(),
        json.dumps({**examples.OUTCOMES[0], "event_id": "x"}).encode(),
        json.dumps({**examples.OUTCOMES[0], "occurred_at": "now"}).encode(),
        json.dumps({**examples.OUTCOMES[0], "source": []}).encode(),
    ],
)
def test_what_is_no_outcome_is_named_by_its_place(wrong: bytes | None) -> None:
    with pytest.raises(UnreadableError, match="partition 3, offset 42"):
        row_of(wrong, 3, 42)


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 30)), max_size=80))
def test_repeats_are_dropped_and_exactly_what_is_missing_is_named(sights: list[tuple[str, int]]) -> None:
    seen = Completeness()
    first = [seen.first_sight(no, seq, f"{no}{seq}") for no, seq in sights]
    assert first == [one not in sights[:at] for at, one in enumerate(sights)]
    missing = {(gap.account_no, seq) for gap in seen.missing() for seq in range(gap.first, gap.last + 1)}
    highest = {no: max(seq for other, seq in sights if other == no) for no, _ in sights}
    assert missing == {(no, seq) for no, top in highest.items() for seq in range(1, top) if (no, seq) not in sights}


def test_two_events_with_one_number_are_no_repeat() -> None:
    seen = Completeness()
    assert seen.first_sight("A", 2, "x")
    assert seen.missing() == [Gap("A", 1, 1)]
    with pytest.raises(ContradictionError, match="account A bear the number 2"):
        seen.first_sight("A", 2, "y")


def state_of(*outcomes: Outcome, sent: Source | None = None) -> State | None:
    answer = heard(*outcomes, sent=sent)
    return None if answer is None else answer.state


def heard(*outcomes: Outcome, sent: Source | None = None) -> Answer | None:
    watched = _Watched(sent=[sent] if sent else [])
    for outcome in outcomes:
        watched.hear(outcome)
    return watched.answer()


def told(kind: OutcomeType, **changes: Any) -> Outcome:
    return replace(OUTCOME, type=kind, **changes)


REFUSED = Error("TOO_LATE", "not_after passed", "policy")


def test_only_what_ends_a_command_is_its_answer() -> None:
    on_the_way = [told(kind) for kind in (OutcomeType.ACCEPTED, OutcomeType.IN_DOUBT, OutcomeType.PARKED)]
    on_the_way += [told(OutcomeType.DUPLICATE), told(OutcomeType.EXPIRED)]
    assert [heard(one) for one in on_the_way] == [None] * len(on_the_way)
    told_first = replace(OUTCOME, type=OutcomeType.IN_DOUBT, event_id=REJECTED.command_id)
    assert heard(told_first, OUTCOME) == Answer(State.SUCCEEDED, OUTCOME)
    assert state_of(REJECTED) is State.REJECTED


def test_a_duplicate_of_what_has_ended_tells_how_it_ended() -> None:
    ended = OUTCOME.event_id
    assert state_of(told(OutcomeType.DUPLICATE, refers_to=ended)) is State.SUCCEEDED
    rejected = told(OutcomeType.DUPLICATE, refers_to=ended, result=None, error=REFUSED)
    answer = heard(rejected)
    assert answer == Answer(State.REJECTED, rejected)
    assert answer.error == REFUSED


def test_a_conflict_is_the_answer_to_the_very_record_that_was_sent() -> None:
    conflict = told(OutcomeType.CONFLICTED, result=None)
    assert heard(conflict, sent=Source("other", 0, 0)) is None
    assert state_of(conflict, sent=OUTCOME.source) is State.CONFLICTED


@pytest.mark.parametrize(
    ("news", "said"),
    [
        ([], "nothing was told"),
        ([OutcomeType.IN_DOUBT], "in doubt"),
        ([OutcomeType.IN_DOUBT, OutcomeType.PARKED], "a person"),
    ],
)
def test_a_timeout_says_what_is_known_and_that_the_same_id_is_safe(news: list[OutcomeType], said: str) -> None:
    text = str(NotAnsweredError("id-1", 5, [told(kind) for kind in news], None))
    assert said in text
    assert "id-1 has no outcome after 5 s" in text
    assert "under the same command_id is safe" in text
