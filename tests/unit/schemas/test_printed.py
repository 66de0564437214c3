"""The schemas of what is printed name the states that the code has, and are strict where it counts."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator

from schemas.dead_letters import Reason
from schemas.printed import PRINTED, states
from worker.cli import dead_letters
from worker.kafka.topics import Step
from worker.ledger.audit_chain import Fault, Side
from worker.ledger.books import Book, Kind
from worker.ledger.decide import Known, Sight
from worker.ledger.lanes import LaneState
from worker.ledger.positions import ReasonKind
from worker.ledger.redrive import Would
from worker.ledger.replays import Class
from worker.ledger.retention import Aged
from worker.operate.certificate import FORMAT
from worker.operate.reconcile import COUNTS
from worker.operate.recover import Report
from worker.store import replays, tables


def checked(table: sa.Table, column: str) -> set[str]:
    """The words that the database takes in this column."""
    texts = [str(one.sqltext) for one in table.constraints if isinstance(one, sa.CheckConstraint)]
    [words] = [found[1] for one in texts if (found := re.fullmatch(rf"{column} IN \((.*)\)", one))]
    return set(re.findall(r"'(\w+)'", words))


@pytest.mark.parametrize(
    ("printed", "known"),
    [
        (states.COMMAND, checked(tables.commands, "state")),
        (states.LANE, LaneState),
        (states.DISPOSITION, checked(tables.records, "disposition")),
        (states.ATTEMPT, checked(tables.attempts, "kind")),
        (states.KNOWN, Known),
        (states.SIGHT, Sight),
        (states.TIMER, checked(tables.timers, "kind")),
        (states.TIMER_STATE, checked(tables.timers, "state")),
        (states.ENDED_BY, checked(tables.temp_adjustments, "ended_by")),
        (states.LETTER, checked(tables.dead_letters, "state")),
        (states.LETTER, dead_letters.State),
        (Reason, dead_letters.WhyDead),
        (states.WOULD, Would),
        (states.AGED, Aged),
        (states.OUTBOX, checked(tables.outbox, "kind")),
        (states.STEP, Step),
        (states.NOT_READ, ReasonKind),
        (states.CLASS, Class),
        (states.PLAN, re.findall(r"(?:THEN|ELSE) '(\w+)'", replays._STATE)),
        (states.BOOK, Book),
        (states.DIFFERENCE, Kind),
        (states.SIDE, Side),
        (states.FAULT, Fault),
        (PRINTED["recover"]["items"]["properties"], Report().row()),
        (PRINTED["reconcile"]["properties"]["counts"]["properties"], {*COUNTS, "differences"}),
        ([PRINTED["reconcile"]["properties"]["format"]["const"]], [FORMAT]),
    ],
)
def test_a_schema_names_the_words_that_the_code_has(printed: Iterable[str], known: Iterable[str]) -> None:
    assert sorted(map(str, printed)) == sorted(map(str, known))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, list):
        for one in schema:
            yield from objects(one)
    if isinstance(schema, dict):
        yield from ([schema] if "properties" in schema else [])
        yield from objects(list(schema.values()))


@pytest.mark.parametrize("command", PRINTED)
def test_further_members_are_allowed_and_those_not_always_there_say_when(command: str) -> None:
    for schema in objects(PRINTED[command]):
        assert schema["additionalProperties"] is not False
        sometimes = [member for name, member in schema["properties"].items() if name not in schema.get("required", ())]
        assert all("description" in member or member["type"] == "integer" for member in sometimes)


@pytest.mark.parametrize(
    "written", ["2026-11-22 08:30:00+00:00", "2026-11-22T08:30:00Z", "2026-11-22T08:30:00.000000+01:00"]
)
def test_an_instant_has_one_form(written: str) -> None:
    schema = PRINTED["outbox list"]["items"]["properties"]["recorded_at"]
    assert Draft202012Validator(schema).is_valid("2026-11-22T08:30:00.000000Z")
    assert not Draft202012Validator(schema).is_valid(written)
