"""What the tests of this folder share: quick doubts, a count of what is finished, the measure."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest

from tests.support import SandboxClient, Topics, read_outcomes, wait_until
from tests.support.kafka import Sent
from tests.support.measure import TERMINAL, UNDECIDED, Measure, Told, measure

CHAOS = {
    "LEDGER_WHALE_TIMEOUT_S": "1",
    "LEDGER_LANE_LEASE_S": "4",
    "LEDGER_LATE_APPLY_S": "2",
    "LEDGER_IN_DOUBT_NOTICE_S": "1",
    "LEDGER_WHALE_KEY_LIFE_S": "90",
    "LEDGER_SWEEP_GRACE_S": "2",
    "LEDGER_DRAIN_S": "10",
    "LEDGER_WHALE_RATE_PER_S": "2000",
}
"""A dead worker's lanes are free after seconds; keys live longer than any of these tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give these tests the time that several processes need to start on a busy machine; each waits with deadlines anyway."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300))


_GATE = 7_041_994


@dataclass(frozen=True)
class Database:
    """Looks at what the worker stores, to know when the next blow may fall; the measure does not look here."""

    url: str

    def scalar(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement, values).fetchone()
        return None if row is None else row[0]

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def finished(self) -> int:
        """Count commands that are succeeded, rejected or parked."""
        return int(self.scalar("SELECT count(*) FROM commands WHERE state IN ('succeeded', 'rejected', 'parked')"))


@contextmanager
def gate(
    database: Database, table: str, *, at_commit: bool, event: Literal["INSERT", "DELETE"] = "INSERT"
) -> Iterator[Callable[[], bool]]:
    """Until the end of this block whoever writes to a table waits there, or inside its COMMIT; gives whether one does."""
    when = (
        "CONSTRAINT TRIGGER gate AFTER {} ON {} DEFERRABLE INITIALLY DEFERRED"
        if at_commit
        else "TRIGGER gate AFTER {} ON {}"
    )
    with psycopg.connect(database.url, autocommit=True) as keeper:
        keeper.execute(f"""
            CREATE OR REPLACE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql
                AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared({_GATE}, TG_RELID::int); RETURN NULL; END $$;
            CREATE {when.format(event, table)} FOR EACH ROW EXECUTE FUNCTION wait_at_gate();
        """)
        keeper.execute(f"SELECT pg_advisory_lock({_GATE}, %s::regclass::oid::int)", [table])
        held = f"""
            SELECT count(*) FROM pg_locks
            WHERE locktype = 'advisory' AND NOT granted AND classid = {_GATE} AND objid = %s::regclass::oid
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
        yield lambda: database.scalar(held, table) > 0


@pytest.fixture
def database(database_url: str) -> Database:
    return Database(database_url)


async def hear(
    bootstrap: str,
    topics: Topics,
    brokerage: SandboxClient,
    commands: Sequence[Mapping[str, Any]],
    sent: Sequence[Sent],
    *,
    until: Callable[[list[dict[str, Any]]], bool] = lambda _: True,
    deadline_s: float = 120,
) -> Told:
    """Read outcomes until every command is decided or parked and `until` holds, then the brokerage's audit at rest.

    At the deadline it gives what there is: the measure tells better than a timeout what is missing.
    """
    give_up_at = time.monotonic() + deadline_s
    wanted = {one["command_id"] for one in commands}

    def is_over(outcomes: list[dict[str, Any]]) -> bool:
        over = {one["command_id"] for one in outcomes if one["type"] in TERMINAL | {UNDECIDED}}
        return (wanted <= over and until(outcomes)) or time.monotonic() > give_up_at

    outcomes = await read_outcomes(bootstrap, topics, is_over, deadline_s + 30)
    wait_until(lambda: all(call["answered_at"] or call["fault"] for call in brokerage.calls()), message="calls end")
    return Told(commands, sent, brokerage.effects(), brokerage.calls(), outcomes)


def assert_clean(told: Told) -> Measure:
    """Fail with the whole measure unless all of its lists are empty."""
    found = measure(told)
    assert found.is_clean(), f"\n{found}"
    return found
