"""docs/operations.md, run as it is written: a base backup, an archive, the loss of the server, and nothing forgotten."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sandbox.parts.postgres import Postgres
from tests.support import Topics
from tests.support.pages import fences
from tests.support.waiting import wait_until
from tests.support.worker import CHECKOUT, run_worker_cli

PAGE = (CHECKOUT / "docs/operations.md").read_text()


def section(title: str) -> list[tuple[str, str]]:
    """Return language and text of the fences under this heading."""
    text = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return [(one.language, one.text) for one in fences(text)]


def run_as_owner(server: Postgres, script: str, here: Path) -> None:
    """Run shell lines as the user that Postgres runs as, with Postgres' own programs before all others."""
    uid = server.data.stat().st_uid
    path = f"{server._binaries}:{os.environ['PATH']}"
    env = {"PATH": path, "PGDATA": str(server.data), "DATABASE_URL": server.url}
    done = subprocess.run(
        ["sh", "-euc", script],
        env=env,
        cwd=here,
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stderr}"


@pytest.mark.timeout(300)  # a server made, stopped and restored, and four commands
def test_what_was_committed_after_the_backup_is_there_when_it_is_restored_and_recover_finds_nothing_forgotten(
    own_postgres: Callable[[], Postgres], worker_env: dict[str, str], applied_topics: Topics
) -> None:
    server = own_postgres()
    env = worker_env | {"LEDGER_DATABASE_URL": server.url}
    assert run_worker_cli("migrate", env=env).returncode == 0
    here = server.data.parent
    for name in ("archive", "backup"):
        (here / name).mkdir()
        os.chown(here / name, server.data.stat().st_uid, server.data.stat().st_gid)
    placed = lambda text: text.replace("/archive", f"{here}/archive").replace("/backup", f"{here}/backup")  # noqa: E731
    [(_, once), (_, nightly)] = section("Backing up Postgres")
    with psycopg.connect(server.url, autocommit=True) as connection:
        for statement in filter(None, placed(once).splitlines()):
            connection.execute(statement.encode())
    server.stop()
    server.start()
    run_as_owner(server, placed(nightly), here)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE archived AS SELECT 1")
        connection.execute("SELECT pg_switch_wal()")
    wait_until(lambda: is_archived(server))
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE only_on_the_old_disk AS SELECT 1")
    server.kill()
    [(_, restore), (_, then)] = section("Restoring it")
    run_as_owner(server, placed(restore), here)
    server.start()
    wait_until(lambda: not rows(server, "SELECT pg_is_in_recovery()")[0][0])
    assert rows(server, "SELECT * FROM archived, only_on_the_old_disk") == [(1, 1)]
    doctor, recover = then.splitlines()
    assert doctor == "ledger-worker doctor"
    assert "ok    revision" in run_worker_cli("doctor", env=env).stdout
    reason = recover.partition("--reason ")[2].strip("'")
    done = run_worker_cli("recover", "--reason", reason, "--yes", env=env)
    assert done.returncode == 3, done.stderr


def is_archived(server: Postgres) -> bool:
    return bool(rows(server, "SELECT archived_count > 0 AND failed_count = 0 FROM pg_stat_archiver")[0][0])


def rows(server: Postgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url) as connection:
        return connection.execute(statement.encode()).fetchall()
