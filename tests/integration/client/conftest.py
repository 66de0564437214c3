"""An outcomes topic of this test's own, filled as the worker would fill it, and the kit as a process."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from ledger_client.consume.__main__ import app
from sandbox.parts.programs import Program, Programs
from schemas import examples
from tests.support import Topics, create_topics, produce
from tests.support.worker import CHECKOUT, clean_env

PARTITIONS = 3
Fact = tuple[str, int]


def outcome_of(fact: Fact, **changes: Any) -> dict[str, Any]:
    """The outcome of that account with that number; the same fact has the same id and bytes."""
    account_no, account_seq = fact
    event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{account_no} {account_seq}"))
    numbered = {"event_id": event_id, "account_no": account_no, "account_seq": account_seq}
    return {**examples.OUTCOMES[account_seq % len(examples.OUTCOMES)], **numbered, **changes}


@dataclass
class Published:
    """What was published, and how."""

    bootstrap: str
    topic: str

    def add(self, facts: Iterable[Fact], **changes: Any) -> None:
        """Publish these facts, in this sequence, each under its account."""
        records = [
            (self.topic, fact[0].encode(), json.dumps(outcome_of(fact, **changes)).encode(), ()) for fact in facts
        ]
        asyncio.run(produce(self.bootstrap, records))

    def add_bytes(self, value: bytes) -> None:
        asyncio.run(produce(self.bootstrap, [(self.topic, b"A", value, ())]))


@pytest.fixture
def published(kafka: str, topics: Topics) -> Published:
    asyncio.run(create_topics(kafka, [topics.outcomes], PARTITIONS))
    return Published(kafka, topics.outcomes)


class Ended(NamedTuple):
    """How it ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Kit:
    """`python -m ledger_client.consume`."""

    programs: Programs
    env: dict[str, str]

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ledger_client.consume", *arguments]

    def run(self, *arguments: str, **env: str) -> Ended:
        """Run it to its end, in this process: it starts in no time."""
        with patch.dict(os.environ, self.env | env, clear=True):
            found = CliRunner().invoke(app, list(arguments))
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return Ended(found.exit_code, found.stdout, found.stderr)

    def spawn(self, *arguments: str, **env: str) -> Ended:
        """Run it to its end as a process."""
        options: dict[str, Any] = {"env": self.env | env, "cwd": CHECKOUT, "timeout": 60}
        found = subprocess.run(self.argv(*arguments), check=False, capture_output=True, text=True, **options)
        return Ended(found.returncode, found.stdout, found.stderr)

    def start(self, *arguments: str) -> Program:
        log: Path = self.programs.new_folder("kit") / "kit.log"
        return self.programs.start("the kit", self.argv(*arguments), log, env=self.env, cwd=CHECKOUT)


@pytest.fixture
def kit(programs: Programs, kafka: str, topics: Topics) -> Kit:
    env = {"LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka, "LEDGER_TOPIC_OUTCOMES": topics.outcomes}
    return Kit(programs, clean_env(env))


@pytest.fixture
def facts() -> Callable[..., list[Fact]]:
    """Facts of so many accounts, so many each, in turn."""

    def of(accounts: int, each: int) -> list[Fact]:
        return [(f"ACC{account:02}", seq) for seq in range(1, each + 1) for account in range(accounts)]

    return of
