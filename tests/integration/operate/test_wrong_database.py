"""A database that is not of this release, not for this role, or not what its URL says: one sentence, no SQL, exit 1."""

import json
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.integration.operate.typed import Typed, typed
from tests.support.worker import clean_env

LISTS = [("dead-letters", "list"), ("in-doubt", "list", "--account", "A-4711"), ("outbox", "list"), ("audit", "list")]
DECIDES = ("commands", "cancel", "00000000-0000-4000-8000-000000000007", "--reason", "why", "--yes")


async def at(url: str, *arguments: str) -> Typed:
    return await typed(clean_env({"LEDGER_DATABASE_URL": url, "LEDGER_ACTOR": "ann"}), *arguments)


def is_one_sentence(done: Typed, *said: str) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert [part for part in said if part not in done.stderr] == [], done.stderr
    assert [part for part in ("SELECT", "psycopg", "A-4711", "00000007") if part in done.stderr] == []


@pytest.fixture
def without_rights(database_url: str) -> Iterator[str]:
    """Log in to a migrated database as a role that may read nothing of it."""
    name, password = f"nothing_{secrets.token_hex(4)}", secrets.token_hex(8)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        parts = urlsplit(database_url)
        yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
        admin.execute(f"DROP OWNED BY {name}")
        admin.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("arguments", [*LISTS, DECIDES], ids=" ".join)
async def test_without_tables_every_command_says_what_to_run(
    empty_database_url: str, arguments: tuple[str, ...]
) -> None:
    is_one_sentence(await at(empty_database_url, *arguments), "run `ledger-worker migrate`")


async def test_with_the_columns_of_an_earlier_release_too(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE dead_letters RENAME COLUMN reason TO formerly")
    is_one_sentence(await at(database_url, "dead-letters", "list"), "run `ledger-worker migrate`")


@pytest.mark.parametrize("arguments", [*LISTS, DECIDES], ids=" ".join)
async def test_a_role_without_rights_is_told_which_it_lacks(without_rights: str, arguments: tuple[str, ...]) -> None:
    is_one_sentence(
        await at(without_rights, *arguments), "the database role lacks a right: permission denied for table"
    )


@pytest.mark.parametrize("arguments", [("dead-letters", "list"), ("migrate",)], ids=" ".join)
@pytest.mark.parametrize("wrong", ["no_such_option=1", "port=abc", "plugin=none"])
async def test_an_option_that_the_driver_does_not_take_is_a_wrong_setting(
    database_url: str, wrong: str, arguments: tuple[str, ...]
) -> None:
    is_one_sentence(await at(f"{database_url}?{wrong}", *arguments), "LEDGER_DATABASE_URL")


async def test_doctor_has_a_line_for_each_and_never_ends_by_an_exception(
    empty_database_url: str, database_url: str, without_rights: str, subtests: pytest.Subtests
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("GRANT SELECT ON alembic_version TO public")
    for url, name, do in [
        (empty_database_url, "revision", "migrate"),
        (without_rights, "database", "role"),
        (f"{database_url}?no_such_option=1", "database", "LEDGER_DATABASE_URL"),
    ]:
        with subtests.test(name=name, do=do):
            done = await at(url, "doctor", "--output", "json")
            wrong = {one["check"]: one for one in json.loads(done.stdout) if not one["ok"]}
            assert done.returncode == 1
            assert set(wrong) == {"settings", name}
            assert do in wrong[name]["do"]
            assert len(wrong[name]["says"].splitlines()) == 1
