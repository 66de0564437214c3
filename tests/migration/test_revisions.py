"""The way from an empty database to the head revision, and what it must not do on the way."""

import re
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

import migrations
from worker.errors import PartUnavailableError, RevisionError
from worker.store import revision

SAMPLES: dict[str, str] = {
    # For each revision: rows as the release of that revision writes them, which every later one must carry along.
    "0001": """
        INSERT INTO lanes (account_no, state, ready_at, next_position) VALUES ('A1', 'ready', now(), 2);
        INSERT INTO command_ids (command_id, account_no, command_type, content_hash, hash_version)
            VALUES ('0f8fad5b-d9cb-469f-a165-70867728950e', 'A1', 'cash.adjust', '\\x00', 1);
        INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch,
                              partition, "offset", accepted_at)
            VALUES ('0f8fad5b-d9cb-469f-a165-70867728950e', 'A1', 1, 'cash.adjust', false, '{}', now(), 't', 1, 0, 0, now());
        INSERT INTO timers (command_id, account_no, kind, due_at, wake_at)
            VALUES ('7c9e6679-7425-40de-944b-e07fc1f90ae7', 'A1', 'expire', now(), now());
        INSERT INTO outbox (shard, kind, ref_id, recorded_at)
            VALUES (0, 'outcome', '7c9e6679-7425-40de-944b-e07fc1f90ae7', now());
    """,
    "0002": """
        INSERT INTO lanes (account_no, state, ready_at, next_position) VALUES ('A2', 'ready', now(), 2);
        INSERT INTO command_ids (command_id, account_no, command_type, content_hash, hash_version)
            VALUES ('11111111-7425-40de-944b-e07fc1f90ae7', 'A2', 'cash.adjust', '\\x00', 1);
        INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch,
                              partition, "offset", accepted_at)
            VALUES ('11111111-7425-40de-944b-e07fc1f90ae7', 'A2', 1, 'cash.adjust', false, '{}', now(), 't', 1, 0, 1, now());
        INSERT INTO timers (command_id, account_no, kind, due_at, wake_at, fired_at)
            VALUES ('22222222-7425-40de-944b-e07fc1f90ae7', 'A2', 'expire', now(), now() - interval '1 hour', now());
        INSERT INTO outbox (shard, kind, ref_id, recorded_at)
            VALUES (0, 'outcome', '22222222-7425-40de-944b-e07fc1f90ae7', now());
        INSERT INTO brakes (kind, subject, set_by, reason) VALUES ('operation', 'order.place', 'ann', 'why');
        INSERT INTO doubts_seen VALUES ('order.place', now());
        INSERT INTO day_totals VALUES (current_date, 'A2', 'cash.adjust', 'USD', 1.5);
    """,
}
KEPT = ("lanes", "command_ids", "commands", "timers", "outbox")


def revisions() -> list[str]:
    walked = ScriptDirectory.from_config(revision._config("")).walk_revisions()
    return [one.revision for one in reversed(list(walked))]


def rows(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        [count] = connection.execute(f'SELECT count(*) FROM "{table}"').fetchone() or [0]
    return int(count)


def test_an_empty_database_comes_to_the_head_revision_and_a_second_time_changes_nothing(
    empty_database_url: str,
) -> None:
    assert revision.current(empty_database_url) is None
    assert revision.upgrade(empty_database_url) == revision.Change(None, revision.head())
    assert revision.upgrade(empty_database_url) == revision.Change(revision.head(), revision.head())
    assert rows(empty_database_url, "rate") == 1
    assert rows(empty_database_url, "relay_shards") > 0


def test_migrations_and_tables_are_equal(database_url: str) -> None:
    revision.check(database_url)


def test_a_table_that_differs_is_noticed(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE lanes DROP COLUMN hold_reason CASCADE")
    with pytest.raises(RevisionError):
        revision.check(database_url)


def test_a_revision_that_this_release_does_not_know_is_named(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RevisionError, match="9999"):
        revision.upgrade(database_url)


def test_a_database_that_does_not_answer_is_said_to_be_away() -> None:
    with pytest.raises(PartUnavailableError):
        revision.upgrade("postgresql://nobody:none@127.0.0.1:1/none")


def test_there_is_one_line_of_revisions_numbered_in_sequence() -> None:
    assert revisions() == [f"{i:04}" for i in range(1, len(revisions()) + 1)]


@pytest.mark.parametrize("path", sorted((Path(migrations.__file__).parent / "versions").glob("[0-9]*.py")), ids=str)
def test_every_revision_waits_for_no_lock_for_long(path: Path) -> None:
    upgrade = path.read_text().partition("def upgrade")[2].partition("\ndef ")[0]
    first = next(line.strip() for line in upgrade.splitlines()[1:] if line.strip() and '"""' not in line)
    assert re.search(r"SET (LOCAL )?lock_timeout", first), f"{path.name} begins with {first}"


def test_rows_of_every_revision_are_carried_up_to_the_head(empty_database_url: str) -> None:
    config = revision._config(empty_database_url)
    assert set(SAMPLES) == set(revisions())
    for one in revisions():
        command.upgrade(config, one)
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute(SAMPLES[one])
    assert {table: rows(empty_database_url, table) for table in KEPT} == dict.fromkeys(KEPT, len(SAMPLES))
    revision.check(empty_database_url)
