"""Each part with the least rights in Postgres: the worker does its whole work, operators decide, analysts read."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sandbox.parts.postgres import Postgres
from tests.integration.operate.typed import Typed, typed
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.kafka import terminal
from tests.support.logins import login_of, name_of
from tests.support.upstream import Json, Upstream, about, temporary, types_of
from tests.support.worker import CHECKOUT, clean_env
from worker.store import revision

SETTINGS = QUICK | {
    "LEDGER_EXPIRES_AHEAD_MIN_S": "1",
    "LEDGER_OPEN_DOUBTS_MAX": "0",
    "LEDGER_LIMITS": '{"cash.adjust": {"day": {"USD": "1000000"}}}',
    "LEDGER_HTTP_EXPLAIN": "true",
}
WHY = ("--reason", "looked into", "--yes")


def rows(url: str, statement: str, *given: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement, given or None).fetchall()


def types(env: dict[str, str], url: str, *arguments: str) -> Typed:
    done = asyncio.run(typed({**env, "LEDGER_DATABASE_URL": url}, *arguments))
    assert done.returncode == 0, done.stderr
    return done


def test_worker_operator_and_reader_do_their_work_as_members_of_nothing_but_their_role(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    worker_env: dict[str, str],
    login: Callable[..., str],
) -> None:
    worker = start_worker(settings=SETTINGS | {"LEDGER_DATABASE_URL": login("ledger_worker")})
    operator, reader = login("ledger_operator"), login("ledger_reader")
    done, ending, unsure = (
        new_command("cash.adjust", new_account()),
        temporary(new_account(), 4),
        temporary(new_account()),
    )
    refused = new_command("cash.adjust", new_account(), {"amount": 7})
    brokerage.fault("drop_answer", operation="temp.adjust", account_no=unsure["account_no"])
    upstream.send(done, done, ending, refused)
    upstream.answered(done, ending, refused)
    upstream.send(unsure)
    upstream.outcomes(lambda seen: "command.parked" in types_of(seen, unsure))
    upstream.outcomes(lambda seen: "temp_adjustment.expired" in types_of(seen, ending))
    [doubt] = rows(reader, "SELECT command_id::text, amount, parked_at IS NULL FROM ledger_read.open_doubts")
    assert doubt == (unsure["command_id"], 1000, False)
    [(letter,)] = rows(operator, "SELECT dead_letter_id::text FROM dead_letters")
    types(worker_env, operator, "dead-letters", "seen", letter, *WHY)
    types(worker_env, operator, "in-doubt", "resolve", unsure["command_id"], "--not-applied", *WHY)
    types(worker_env, operator, "resume", "--operation", "temp.adjust", *WHY)
    types(worker_env, operator, "accounts", "hold", done["account_no"], *WHY)
    outcomes = upstream.answered(unsure)
    assert types_of(outcomes, unsure) == ["command.in_doubt", "command.parked", "command.rejected"]
    assert sorted(types_of(outcomes, done)) == ["command.duplicate", "command.succeeded"]
    audited = "SELECT database_role, count(*), bool_and(published_at IS NOT NULL) FROM audit GROUP BY 1"
    wait_until(lambda: rows(operator, audited) == [(name_of(operator), 4, True)])
    assert worker.get(f"/commands/{unsure['command_id']}")[0] == 200
    types(worker_env, operator, "audit", "verify")
    reads_the_same(reader, outcomes, ending, done)
    assert worker.sigterm() == 0
    assert "permission denied" not in worker.log


def reads_the_same(reader: str, outcomes: list[Json], ending: Json, done: Json) -> None:
    """Hold the views to what was published."""
    told = {one["event_id"]: one for one in outcomes}
    wait_until(lambda: rows(reader, "SELECT bool_and(published_at IS NOT NULL) FROM ledger_read.outcomes") == [(True,)])
    seen = rows(
        reader,
        """SELECT event_id::text, type, account_seq, adjust_no, ended_by, error_code, source_offset
           FROM ledger_read.outcomes""",
    )
    expected = [
        (
            one["event_id"],
            one["type"],
            one["account_seq"],
            (one["result"] or {}).get("adjust_no"),
            (one["result"] or {}).get("ended_by"),
            (one["error"] or {}).get("code"),
            one["source"]["offset"],
        )
        for one in told.values()
    ]
    assert sorted(seen) == sorted(expected)
    [ended] = [one for one in about(outcomes, ending) if one["type"] == "temp_adjustment.expired"]
    statement = """SELECT command_id::text, adjust_no, amount, ended_by, ended_at IS NOT NULL, next_try_at
                   FROM ledger_read.temporary_adjustments"""
    number = ended["result"]["adjust_no"]
    assert rows(reader, statement) == [(ending["command_id"], number, 1000, "timer", True, None)]
    result = terminal(outcomes)[done["command_id"]]["result"]
    statement = "SELECT state, serial_num, attempts FROM ledger_read.commands WHERE command_id = %s"
    assert rows(reader, statement, done["command_id"]) == [("succeeded", result["serial_num"], 1)]


@pytest.fixture
def server(own_postgres: Callable[[], Postgres]) -> Postgres:
    """A server of the test's own: roles are a whole server's."""
    return own_postgres()


def test_roles_that_are_missing_are_named_until_somebody_makes_them_and_of_two_migrations_that_make_them_each_goes_through(
    server: Postgres,
) -> None:
    with login_of(server.url) as owner:
        mine = f"{owner.rpartition('/')[0]}/mine"
        with psycopg.connect(server.url, autocommit=True) as admin:
            made = sql.SQL("CREATE DATABASE mine OWNER {}").format(sql.Identifier(name_of(owner)))
            admin.execute(made)
            said = types(clean_env({}), mine, "migrate")
            assert said.stdout.split() == [revision.head()]
            assert "ledger_worker, ledger_operator, ledger_pruner, ledger_reader" in said.stderr
            for _ in range(2):  # a second time changes nothing
                admin.execute((CHECKOUT / "deploy" / "postgres" / "roles.sql").read_text())
            assert not may_tell(mine)
            assert "roles" not in types(clean_env({}), mine, "migrate").stderr
            assert may_tell(mine)
            admin.execute("DROP DATABASE mine")
            admin.execute("DROP ROLE ledger_worker, ledger_operator, ledger_pruner, ledger_reader")
    with psycopg.connect(server.url) as first, ThreadPoolExecutor() as pool:
        first.execute("CREATE ROLE ledger_worker NOLOGIN")  # as another database's migration does
        second = pool.submit(revision.upgrade, server.url)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT grant_ledger_roles%'"
        try:
            wait_until(lambda: rows(server.url, waits) == [(1,)], message=lambda: str(second))
        finally:
            first.commit()
        assert second.result(60).roles_missing == ()
    assert may_tell(server.url)


def may_tell(url: str) -> bool:
    return rows(url, "SELECT has_table_privilege('ledger_worker', 'outcomes', 'INSERT')") == [(True,)]
