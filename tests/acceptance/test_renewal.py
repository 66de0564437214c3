"""Secrets are replaced in their files under a running worker: nothing is lost, nobody is restarted, nothing is shown."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.support import SandboxClient, Topics, WorkerProcess, new_account, new_command, wait_until
from tests.support.kafka import terminal
from tests.support.upstream import Upstream

NEXT_TOKEN = "the-token-that-comes-next"


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """A login of the worker's own; its password is `first`."""
    name = f"renewed_{new_account().lower()}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD 'first'").format(sql.Identifier(name)))
        yield name
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def as_role(url: str, role: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}:{password}@{rest.rpartition('@')[2]}"


def test_a_token_that_expires_pauses_the_calls_until_another_is_in_the_file_and_then_each_command_is_done_once(
    upstream: Upstream,
    brokerage: SandboxClient,
    applied_topics: Topics,
    start_worker: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("test-token\n")
    given = {"LEDGER_WHALE_ACCESS_TOKEN": "", "LEDGER_WHALE_ACCESS_TOKEN_FILE": str(token)}
    worker = start_worker(settings=given)
    commands = [new_command("cash.adjust", new_account()) for _ in range(12)]
    upstream.send(*commands[:4])
    upstream.answered(*commands[:4])
    brokerage.replace_token(NEXT_TOKEN)
    upstream.send(*commands[4:])
    paused = lambda: "calls are paused (credentials)" in worker.get("/readyz")[1]  # noqa: E731
    wait_until(paused, message=lambda: worker.get("/readyz")[1])
    token.write_text("")
    wait_until(lambda: "secrets.unusable" in worker.log, message=lambda: worker.log)
    assert paused()
    token.write_text(f"{NEXT_TOKEN}\n")
    outcomes = upstream.answered(*commands)
    assert {one["type"] for one in terminal(outcomes).values()} == {"command.succeeded"}
    assert sorted(one["account_no"] for one in brokerage.effects()) == sorted(c["account_no"] for c in commands)
    wait_until(worker.is_ready)
    assert worker.sigterm() == 0
    assert not {"test-token", NEXT_TOKEN} & set(worker.log.replace('"', " ").split())
    assert NEXT_TOKEN not in worker.log


def test_the_password_of_the_database_is_replaced_in_its_file_and_the_next_connections_use_it(
    upstream: Upstream,
    database_url: str,
    role: str,
    applied_topics: Topics,
    start_worker: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    (url := tmp_path / "url").write_text(as_role(database_url, role, "first"))
    worker = start_worker(settings={"LEDGER_DATABASE_URL": "", "LEDGER_DATABASE_URL_FILE": str(url)})
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD 'second'").format(sql.Identifier(role)))
        cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s"
        assert connection.execute(cut, [role]).fetchone() != (0,)
    wait_until(lambda: not worker.is_ready(), message=lambda: worker.get("/readyz")[1])
    url.write_text(as_role(database_url, role, "second"))
    command = new_command("cash.adjust", new_account())
    upstream.send(command)
    upstream.answered(command)
    wait_until(worker.is_ready, message=lambda: worker.get("/readyz")[1])
    assert worker.sigterm() == 0
