"""What the demo sends is what it says it sends, judged by the worker's own check."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.factories import TOPIC_TYPES, TYPES
from worker import clock
from worker.cli.demo.play import Seen
from worker.cli.demo.scenario import Scenario, further, scenario
from worker.ledger.commands import Command, Malformed, Refusal
from worker.ledger.records import RawRecord
from worker.pipeline.check import check
from worker.settings import Settings

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
SETTINGS = Settings.from_env({}, needs=())


@pytest.fixture
def script() -> Scenario:
    return scenario(SETTINGS, NOW, clock.new_id)


def judged(topic: str, key: bytes | None, value: bytes) -> Command | Refusal | Malformed:
    return check(RawRecord(topic, 0, 0, 0, key, value), TOPIC_TYPES)


def test_sixty_commands_of_all_ten_types_are_among_the_records(script: Scenario) -> None:
    found = [judged(record.topic, record.key, record.value) for record in script.records]
    kinds = Counter(type(one) for one in found)
    assert kinds == {Command: 58, Refusal: 4, Malformed: 2}, "56 good ones, two of them once more"
    assert {one.command_type for one in found if isinstance(one, Command)} == set(TYPES)
    assert len(script.commands) == 60
    assert script.dead_letters == 7


def test_every_id_is_fresh() -> None:
    ids = iter(UUID(int=n, version=4) for n in range(1000))
    made = scenario(SETTINGS, NOW, lambda: next(ids))
    assert len(set(made.commands)) == 60


def test_the_further_commands_are_right_and_new(script: Scenario) -> None:
    lines = further(SETTINGS, NOW, clock.new_id)
    found = [
        check(RawRecord(topic, 0, 0, 0, b"H10240041", line), TOPIC_TYPES) for topic in TOPIC_TYPES for line in lines
    ]
    commands = [one for one in found if isinstance(one, Command)]
    assert len(commands) == len(lines) == 6
    assert not {str(one.command_id) for one in commands} & script.commands.keys()


def test_what_has_not_come_is_missing(script: Scenario) -> None:
    expected = {"terminal outcomes": 60, "notices": 2, "expiries": 2, "dead letters": 7}
    assert Seen().missing(script) == expected
    first = next(iter(script.commands))
    seen = Seen({"e": {"type": "command.rejected", "command_id": first}})
    assert seen.missing(script) == expected | {"terminal outcomes": 59}
