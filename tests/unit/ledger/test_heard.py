"""Outcomes read back from their topic: what was written is read, and what is none of ours is passed over."""

from dataclasses import replace

import pytest

from schemas.outcomes import Outcome
from tests.unit.schemas.test_outcomes import OUTCOME, REJECTED
from worker.ledger.heard import hear, renumbered
from worker.ledger.records import RawRecord


def record(value: bytes | None) -> RawRecord:
    return RawRecord("outcomes", 3, 42, 1_795_336_200_000, b"H1", value)


@pytest.mark.parametrize("written", [OUTCOME, REJECTED], ids=["succeeded", "rejected"])
def test_an_outcome_is_read_as_it_was_written(written: Outcome) -> None:
    told = hear(record(written.to_bytes()))
    assert told is not None
    for name in (
        "event_id",
        "type",
        "command_id",
        "command_type",
        "account_no",
        "account_seq",
        "attempts",
        "recorded_at",
    ):
        assert getattr(told, name) == getattr(written, name)
    assert (told.result, told.error) == (written.result, written.error)
    assert told.ends_command


def test_another_number_changes_nothing_else_of_the_bytes() -> None:
    assert renumbered(REJECTED.to_bytes(), 99) == replace(REJECTED, account_seq=99).to_bytes()


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b"{}", b'"x"', b"[" * 100_000, b'{"event_id": 1}'])
def test_what_anybody_wrote_there_is_passed_over(value: bytes | None) -> None:
    assert hear(record(value)) is None
