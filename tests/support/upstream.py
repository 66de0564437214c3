"""What stands on both sides of the worker in one test: it sends commands and reads what became of them."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import ConsumerRecord

from tests.support.commands import new_command
from tests.support.kafka import Sent, Topics, all_answered, produce, produce_commands, read_outcomes, read_records

Json = dict[str, Any]
Record = tuple[str, bytes | None, bytes | None, Sequence[tuple[str, bytes]]]


class Upstream:
    """Blocks; each reading begins at the topic's beginning."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        self.bootstrap, self.topics = bootstrap, topics

    def send(self, *commands: Mapping[str, Any]) -> list[Sent]:
        """Write commands to their topics, each under its account."""
        return asyncio.run(produce_commands(self.bootstrap, self.topics, commands))

    def write(self, records: Iterable[Record], **options: Any) -> list[Sent]:
        """Write (topic, key, value, headers) as they are."""
        return asyncio.run(produce(self.bootstrap, records, **options))

    def outcomes(self, until: Callable[[list[Json]], bool], deadline_s: float = 60) -> list[Json]:
        """Read outcomes until those seen satisfy `until`."""
        return asyncio.run(read_outcomes(self.bootstrap, self.topics, until, deadline_s))

    def answered(self, *commands: Mapping[str, Any], deadline_s: float = 60) -> list[Json]:
        """Read outcomes until each of these commands has a terminal one; returns all that were read."""
        return self.outcomes(all_answered(commands), deadline_s)

    def records(
        self, topic: str, until: Callable[[list[ConsumerRecord]], bool], deadline_s: float = 60
    ) -> list[ConsumerRecord]:
        """Read a topic until the records seen satisfy `until`."""
        return asyncio.run(read_records(self.bootstrap, topic, until, deadline_s))

    def dead_letters(self, count: int, deadline_s: float = 60) -> list[ConsumerRecord]:
        """Read dead letters until there are so many."""
        return self.records(self.topics.dead_letters, lambda seen: len(seen) >= count, deadline_s)


def temporary(account_no: str, ahead_s: float = 3600, **changes: Any) -> Json:
    """Return a temp.adjust that ends so many seconds from now."""
    hour = (datetime.now(UTC) + timedelta(seconds=ahead_s)).replace(microsecond=0)  # noqa: TID251
    return new_command("temp.adjust", account_no, {"expires_at": hour.isoformat().replace("+00:00", "Z"), **changes})


def about(outcomes: Iterable[Json], command: Mapping[str, Any]) -> list[Json]:
    """Return what was told of one command, repeats of an event left out."""
    told = {one["event_id"]: one for one in outcomes if one["command_id"] == command["command_id"]}
    return list(told.values())


def types_of(outcomes: Iterable[Json], command: Mapping[str, Any]) -> list[str]:
    """Return the kinds of event of one command, in sequence."""
    return [one["type"] for one in about(outcomes, command)]


def gaps(outcomes: Iterable[Json]) -> dict[str, list[int]]:
    """Return the accounts whose events, repeats left out, are not numbered 1, 2, 3, … as they were published."""
    seen: dict[str, list[int]] = defaultdict(list)
    ids: set[str] = set()
    for one in outcomes:
        if one["event_id"] not in ids:
            ids.add(one["event_id"])
            seen[one["account_no"]].append(one["account_seq"])
    return {account: numbers for account, numbers in seen.items() if numbers != list(range(1, len(numbers) + 1))}


def value_of(record: ConsumerRecord) -> Json:
    """Return the JSON of a record."""
    read: Json = json.loads(record.value)
    return read
