"""Puts the twin's functions where the worker's statements are, and virtual time where its clock is; and takes them out.

Each entry is a name of `worker.store` as a stage imports it. A stage that begins to use another statement fails here
loudly: its connection is a `Database`, which can execute no SQL.
"""

import importlib
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, Self, TypeVar
from unittest import mock
from uuid import UUID

from schemas.outcomes import event_id
from tests.simulation import database, lookups
from tests.simulation.database import Database, Said
from tests.simulation.facts import write_facts
from worker.errors import PartUnavailableError
from worker.store.facts import Facts
from worker.store.outcomes import Told
from worker.store.rows import LaneRow

Outcome = TypeVar("Outcome")

READS = ("read_commands", "read_histories", "read_adjusting")
DOORS: dict[str, dict[str, Any]] = {
    "worker.pipeline.claim": {
        **dict.fromkeys(("lease_ready", "open_attempts"), database), "read_brakes": lookups,
    },
    "worker.pipeline.finish": {
        "lock_lanes": database, "report_attempts": database, **dict.fromkeys(READS, lookups),
    },
    "worker.timers.reclaim": {
        "take_silent": database, "silence_attempts": database, **dict.fromkeys(READS, lookups),
    },
    "worker.timers.due": {
        **dict.fromkeys(("read_due", "make_due", "seconds_to_next"), database), "expiries_stopped": lookups,
    },
    "worker.timers.expire": {
        **dict.fromkeys(("read_due", "rearm", "lock_lanes"), database), "read_adjusting": lookups,
    },
    "worker.timers.resolve": {
        **dict.fromkeys(("read_untold", "take_untold", "take_watches", "lock_lanes"), database),
        **dict.fromkeys(("read_commands", "read_histories"), lookups),
    },
    "worker.operate.resolve": {
        **dict.fromkeys(("clear_attempts", "requeue", "lock_lanes"), database),
        **dict.fromkeys(READS, lookups),
        **dict.fromkeys(("read_account", "read_open_call", "read_last_decision", "read_number_owner"), lookups),
    },
    "worker.store.lanes": {"read_histories": lookups},
    "worker.store.references": {"read_adjusting": lookups},
    "worker.store.rest": {"write_lanes": database},
}  # fmt: skip
RENAMED = {
    "worker.store.lanes": {"_due_expiries": lookups.due_expiries, "_head_commands": lookups.head_commands},
    "worker.store.references": {"_read_commands": lookups.read_targets, "_read_numbers": lookups.read_numbers},
    "worker.store.rest": {"_what_waits": lookups.what_waits},
}
OPENERS = ("pipeline.claim", "pipeline.finish", "timers.reclaim", "timers.due", "timers.expire", "timers.resolve")


class Engine:
    """Stands for the pool of connections of one worker; `fate` says how its next commit goes."""

    __slots__ = ("db", "fate")

    def __init__(self, db: Database) -> None:
        self.db, self.fate = db, "well"


class Transaction:
    """One database transaction, committed at the end unless its fate is another."""

    __slots__ = ("_before", "_engine")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __aenter__(self) -> Database:
        self._before = self._engine.db.copy() if self._engine.fate != "well" else None
        return self._engine.db

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        fate, self._engine.fate = self._engine.fate, "well"
        if fate == "well" or self._before is None:
            return
        if kind is not None or fate == "rolled_back":
            self._engine.db.take_back(self._before)
        if kind is None:
            raise PartUnavailableError("the answer to the commit was lost")


class Silent:
    """Stands for metrics and the log: whatever is asked of it, it says nothing."""

    def __getattr__(self, name: str) -> Self:
        return self

    def __call__(self, *_: object, **__: object) -> Self:
        return self


class Clock:
    """The clock of every worker: that of the world which acts now."""

    def __init__(self) -> None:
        self.world_at_s = 0.0
        self.ids = 0

    def boot_s(self) -> float:
        return self.world_at_s

    def new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=(1 << 100) + self.ids)


CLOCK = Clock()


def record(facts: Facts, lane: LaneRow, now: datetime, told: Told) -> UUID:
    """Stand for `outcomes.record`: take the account's next number; nothing is serialised."""
    command = told.command
    ended_by, basis = (told.result.ended_by, told.result.basis) if told.result else (None, None)
    code = told.error.code if told.error else None
    of_expiry = told.command_type != command.command_type
    name = event_id(told.kind, command.command_id, attempt=told.attempt_number, place=told.place, of_expiry=of_expiry)
    said = Said(command.account_no, lane.next_seq(), told.kind.value, command.command_id, ended_by, code, basis, name)
    facts.add("outcomes", {"said": said})
    return name


def run(steps: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run to its end what never waits: there is no event loop in a virtual world."""
    try:
        steps.send(None)
    except StopIteration as ended:
        value: Outcome = ended.value
        return value
    raise RuntimeError("a step of the twin waited for something")


@contextmanager
def twin() -> Iterator[None]:
    """Let the worker's stages work on a `Database`; everything is as before afterwards."""
    with ExitStack() as kept:
        for module, names in DOORS.items():
            for name, source in names.items():
                _put(kept, module, name, getattr(source, name))
        for module, renamed in RENAMED.items():
            for name, function in renamed.items():
                _put(kept, module, name, function)
        for opener in (*(f"worker.{name}" for name in OPENERS), "worker.operate.resolve"):
            _put(kept, opener, "transaction", Transaction)
        _put(kept, "worker.store.conclude", "record", record)
        kept.enter_context(mock.patch.object(Facts, "write", write_facts))
        _put(kept, "worker.clock", "boot_s", CLOCK.boot_s)
        _put(kept, "worker.clock", "new_id", CLOCK.new_id)
        yield


def _put(kept: ExitStack, module: str, name: str, function: object) -> None:
    kept.enter_context(mock.patch.object(importlib.import_module(module), name, function))
