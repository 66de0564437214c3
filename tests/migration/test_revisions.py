"""The way from an empty database to the head revision, and what it must not do on the way."""

import re
from collections import Counter
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

import migrations
from worker.errors import PartUnavailableError, RevisionError
from worker.store import revision
from worker.store.chain import ORDERED_BY
from worker.store.outbox import outbox_shard

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
        INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers,
                              published_at, published_partition, published_offset)
            VALUES ('7c9e6679-7425-40de-944b-e07fc1f90ae7', 'A1', 1, 'command.succeeded',
                    '0f8fad5b-d9cb-469f-a165-70867728950e', now(), '\\x', '\\x', now(), 3, 42);
        INSERT INTO dead_letters (dead_letter_id, topic, epoch, partition, "offset", reason, message, fingerprint, failed_at,
                                  headers)
            VALUES ('7c9e6679-7425-40de-944b-e07fc1f90ae7', 't', 1, 0, 0, 'MALFORMED', 'm', 'f', now(), '');
    """,
    "0002": """
        INSERT INTO publications (event_id, published_at, partition, "offset")
            VALUES ('16fd2706-8baf-433b-82eb-8c7fada847da', now(), 0, 1);
    """,
    "0003": """
        INSERT INTO lanes (account_no, state, ready_at, next_position) VALUES ('A6', 'ready', now(), 2);
        INSERT INTO command_ids (command_id, account_no, command_type, content_hash, hash_version)
            VALUES ('0f8fad5b-d9cb-469f-a165-708677289506', 'A6', 'cash.adjust', '\\x00', 1);
        INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch,
                              partition, "offset", accepted_at)
            VALUES ('0f8fad5b-d9cb-469f-a165-708677289506', 'A6', 1, 'cash.adjust', false, '{}', now(), 't', 1, 0, 6, now());
        INSERT INTO timers (command_id, account_no, kind, due_at, wake_at)
            VALUES ('7c9e6679-7425-40de-944b-e07fc1f90a06', 'A6', 'expire', now(), now());
        INSERT INTO outbox (shard, kind, ref_id, recorded_at)
            VALUES (0, 'outcome', '7c9e6679-7425-40de-944b-e07fc1f90a06', now());
    """,
    "0004": """
        INSERT INTO redrive_runs (run_id, selection, actor, reason, begun_at)
            VALUES ('7c9e6679-7425-40de-944b-e07fc1f90ae7', '\\x00', 'ann', 'mended', now());
        INSERT INTO redrives (dead_letter_id, number, run_id, redriven_at, actor, reason, disposition)
            SELECT dead_letter_id, 1, '7c9e6679-7425-40de-944b-e07fc1f90ae7', now(), 'ann', 'mended', 'malformed'
            FROM dead_letters WHERE state = 'new';
    """,
    "0005": """
        INSERT INTO replay_plans (plan_id, planned_at, actor, topic, filters, ranges, classes, records, to_feed, forgotten)
            VALUES ('0f8fad5b-d9cb-469f-a165-70867728950e', now(), 'ann', 't', '{}', '[]', '{}', 2, 1, 0);
        INSERT INTO replay_runs (plan_id, to_topic, actor, reason, begun_at, progress, counts)
            VALUES ('0f8fad5b-d9cb-469f-a165-70867728950e', '', 'ann', 'why', now(), '{"0": 1}', '{}');
        INSERT INTO replay_outcomes (plan_id, to_topic, number, event_id)
            VALUES ('0f8fad5b-d9cb-469f-a165-70867728950e', 't', 1, '7c9e6679-7425-40de-944b-e07fc1f90ae7');
    """,
    "0006": """
        INSERT INTO audit (audit_id, recorded_at, actor, action, reason, value, audit_seq, previous_hash, hash)
            SELECT gen_random_uuid(), now(), 'ann', 'recover', 'why', '\\x7b7d', h.audit_seq + 1, h.hash, sha256('\\x7b7d')
            FROM audit_head h;
        UPDATE audit_head SET audit_seq = audit_seq + 1, hash = sha256('\\x7b7d');
    """,
    "0007": """
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
    "0008": """
        INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers)
            VALUES ('33333333-7425-40de-944b-e07fc1f90ae7', 'A2', 1, 'command.duplicate',
                    '11111111-7425-40de-944b-e07fc1f90ae7', now(), '\\x', '\\x');
    """,
    "0009": """
        INSERT INTO command_ids (command_id, account_no, command_type, content_hash, hash_version, verdict,
                                 terminal_event_id, pruned_at)
            VALUES ('33333333-7425-40de-944b-e07fc1f90ae7', 'A2', 'cash.adjust', '\\x00', 1, 'succeeded',
                    '33333333-7425-40de-944b-e07fc1f90ae8', now());
        INSERT INTO records (topic, epoch, partition, "offset", produced_at, headers, disposition, command_id, redacted_at,
                             digest)
            VALUES ('t', 1, 0, 9, now(), '', 'accepted', '33333333-7425-40de-944b-e07fc1f90ae7', now(), '\\x00');
        INSERT INTO attempts (attempt_id, command_id, account_no, kind, number, operation, fence, owner, opened_at,
                              send_before_at, lease_until, horizon_at, method, path, known, redacted_at, body_hash)
            VALUES ('33333333-7425-40de-944b-e07fc1f90ae9', '33333333-7425-40de-944b-e07fc1f90aea', 'A2', 'write', 1,
                    'cash.adjust', 1, '33333333-7425-40de-944b-e07fc1f90ae7', now(), now(), now(), now(), 'POST', '/',
                    'confirmed', now(), '\\x00');
        INSERT INTO prunings VALUES ('commands', now() - interval '9 days', now(), 1);
    """,
    "0010": """
        INSERT INTO temp_adjustments (command_id, account_no, op_user, expires_at, booked_at)
            VALUES ('44444444-7425-40de-944b-e07fc1f90ae7', 'A2', 'admin', now(), now());
        INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers)
            VALUES ('44444444-7425-40de-944b-e07fc1f90ae7', 'A2', 2, 'command.duplicate',
                    '11111111-7425-40de-944b-e07fc1f90ae7', now(), '{}', '\\x');
    """,
    "0011": "",  # a column of alembic's own row
}
MADE_OF_ROWS_BEFORE = {"publications": 1}  # of the outcome that 0001 has published


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
    assert revision.look(empty_database_url) == revision.Found(None)
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
        connection.execute("UPDATE alembic_version SET version_num = '4f1a'")
    with pytest.raises(RevisionError, match="4f1a"):
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
    written = Counter(re.findall(r"INSERT INTO (\w+)", "".join(SAMPLES.values()))) + Counter(MADE_OF_ROWS_BEFORE)
    assert {table: rows(empty_database_url, table) for table in written} == written
    revision.check(empty_database_url)


def test_the_audit_from_before_the_chain_is_sealed_by_its_first_row(empty_database_url: str) -> None:
    config = revision._config(empty_database_url)
    command.upgrade(config, "0001")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("""
            INSERT INTO audit (audit_id, recorded_at, actor, action, reason, value)
                SELECT gen_random_uuid(), now(), 'ann', 'recover', 'why', '\\x01' FROM generate_series(1, 2);
            INSERT INTO outbox (shard, kind, ref_id, recorded_at) SELECT 3, 'audit', audit_id, recorded_at FROM audit
        """)
        command.upgrade(config, "head")
        digest = sha256(sha256(b"\x01").digest() * 2).digest()
        assert connection.execute("SELECT audit_seq, hash FROM audit_head").fetchall() == [(0, digest)]
        waiting = connection.execute("SELECT DISTINCT shard, ordered_by FROM outbox").fetchall()
        assert waiting == [(outbox_shard(ORDERED_BY), ORDERED_BY)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="older than the database"):
            connection.execute(
                "INSERT INTO audit (audit_id, recorded_at, actor, action, reason, value)"
                " VALUES (gen_random_uuid(), now(), 'ann', 'recover', 'why', '')"
            )
