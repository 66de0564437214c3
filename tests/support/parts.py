"""The Kafka and the Postgres that all tests of a run share.

Addresses come from `LEDGER_TEST_KAFKA` and `LEDGER_TEST_DATABASE` where they are set; what is missing is started, embedded or by
`LEDGER_TEST_PARTS=docker` in containers, once in the controlling process, which sets these variables for pytest's workers.
"""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Programs
from sandbox.parts.together import start_all

KAFKA = "LEDGER_TEST_KAFKA"
DATABASE = "LEDGER_TEST_DATABASE"
CHOICE = "LEDGER_TEST_PARTS"


def are_wanted() -> bool:
    """Say whether tests may have parts at all."""
    return os.environ.get(CHOICE) != "none"


def start_missing(stack: ExitStack) -> None:
    """Start what has no address yet and set its variable; ends with the stack. Does nothing the second time."""
    missing = [name for name in (KAFKA, DATABASE) if not os.environ.get(name)]
    if not missing:
        return
    if os.environ.get(CHOICE) == "docker":
        from tests.support.docker import start_containers  # noqa: PLC0415

        start_containers(stack, missing)
    else:
        _start_embedded(stack, missing)


def _start_embedded(stack: ExitStack, missing: list[str]) -> None:
    programs = stack.enter_context(Programs())
    starts: list[Callable[[], None]] = []
    if KAFKA in missing:
        kafka = Kafka(programs, partial(_say, "kafka"))
        starts.append(kafka.start)
        _set(stack, KAFKA, kafka.bootstrap)
    if DATABASE in missing:
        postgres = Postgres(programs, partial(_say, "postgres"))
        starts.append(postgres.start)
        _set(stack, DATABASE, postgres.url)
    start_all(programs, starts)


def _set(stack: ExitStack, name: str, value: str) -> None:
    os.environ[name] = value
    stack.callback(os.environ.pop, name, None)


def _say(part: str, text: str) -> None:
    if not text.startswith("fetched"):
        sys.stderr.write(f"{part}: {text}\n")
