"""The sink into a table: each outcome once, whatever is killed, and what is missing by name."""

import json
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from tests.integration.client.conftest import Fact, Kit, Published, outcome_of
from tests.support import wait_until

Facts = Callable[..., list[Fact]]


def kept(url: str) -> list[Fact]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT account_no, account_seq FROM ledger_outcomes ORDER BY 2, 1").fetchall()


def offsets(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT sum(next_offset) FROM ledger_outcomes_offsets").fetchone()
    assert row is not None
    return int(row[0])


def to(url: str) -> tuple[str, ...]:
    return "--to", "postgres", "--database-url", url


def test_each_outcome_is_kept_once_with_all_it_says_and_a_second_run_goes_on(
    published: Published, kit: Kit, empty_database_url: str, facts: Facts
) -> None:
    first, repeats, later = facts(4, 10), facts(2, 4), [("ACC00", 11)]
    published.add([*first, *repeats])
    ended = kit.run(*to(empty_database_url), "--until-end")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {"read": 48, "stored": 40, "at_end": True, "missing": []}
    with psycopg.connect(empty_database_url) as connection:
        row = connection.execute(
            "SELECT type, adjust_no, payload, occurred_at::text, source_offset FROM ledger_outcomes"
            " WHERE account_no = 'ACC01' AND account_seq = 9"
        ).fetchone()
    told = outcome_of(("ACC01", 9))
    assert row is not None
    assert (row[0], row[1], row[2], row[4]) == ("command.succeeded", "TA2026112200001", told["payload"], 42)
    assert kept(empty_database_url) == first
    published.add(later)
    ended = kit.run(*to(empty_database_url), "--until-end")
    assert json.loads(ended.stdout) == {"read": 1, "stored": 1, "at_end": True, "missing": []}
    assert kept(empty_database_url) == [*first, *later]


def test_exactly_what_is_missing_is_named_and_comes_later(
    published: Published, kit: Kit, empty_database_url: str, facts: Facts
) -> None:
    whole = facts(2, 9)
    gone = [("ACC00", 1), ("ACC01", 4), ("ACC01", 5), ("ACC01", 8)]
    published.add([fact for fact in whole if fact not in gone])
    ended = kit.run(*to(empty_database_url), "--until-end")
    assert (ended.returncode, ended.stderr) == (4, "4 outcomes are missing\n")
    assert json.loads(ended.stdout)["missing"] == [
        {"account_no": "ACC00", "first": 1, "last": 1},
        {"account_no": "ACC01", "first": 4, "last": 5},
        {"account_no": "ACC01", "first": 8, "last": 8},
    ]
    published.add(gone)
    ended = kit.run(*to(empty_database_url), "--until-end")
    assert (ended.returncode, json.loads(ended.stdout)["missing"]) == (0, [])
    assert kept(empty_database_url) == whole


def test_nothing_is_lost_or_doubled_when_it_is_killed_between_the_rows_and_their_commit(
    published: Published, kit: Kit, empty_database_url: str, facts: Facts
) -> None:
    first, second = facts(3, 5), [(no, seq + 5) for no, seq in facts(3, 400)]
    published.add(first)
    assert kit.run(*to(empty_database_url), "--until-end").returncode == 0
    published.add(second)
    with psycopg.connect(empty_database_url) as gate:
        gate.execute("SELECT * FROM ledger_outcomes_offsets FOR UPDATE")  # rows are written before offsets
        running = kit.start(*to(empty_database_url))
        with psycopg.connect(empty_database_url, autocommit=True) as look:
            wait_until(lambda: look.execute(WAITS).fetchone())
        running.kill()
        assert kept(empty_database_url) == first
    assert offsets(empty_database_url) == len(first)
    ended = kit.run(*to(empty_database_url), "--until-end")
    assert json.loads(ended.stdout)["missing"] == []
    assert kept(empty_database_url) == [*first, *second]


WAITS = """
    SELECT 1 FROM pg_stat_activity WHERE application_name = 'ledger_client.consume' AND wait_event_type = 'Lock'
        AND query LIKE '%_offsets%'
"""


def test_it_runs_on_until_told_to_stop_and_keeps_what_it_has_read(
    published: Published, kit: Kit, empty_database_url: str, facts: Facts
) -> None:
    published.add(facts(2, 3))
    running = kit.start(*to(empty_database_url))
    wait_until(lambda: _is_there(empty_database_url) and len(kept(empty_database_url)) == 6)
    published.add([("ACC00", 4)])
    wait_until(lambda: len(kept(empty_database_url)) == 7)
    second = kit.run(*to(empty_database_url), "--until-end")
    assert (second.returncode, "another consumer writes to ledger_outcomes" in second.stderr) == (1, True)
    assert running.stop() == 0
    assert json.loads(running.log.read_text().splitlines()[-1])["stored"] == 7


def _is_there(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT to_regclass('ledger_outcomes_offsets')").fetchone() != (None,)


@pytest.mark.parametrize("table", ["reports.ledger", 'odd "name'])
def test_the_table_may_have_any_name(
    published: Published, kit: Kit, empty_database_url: str, facts: Facts, table: str
) -> None:
    published.add(facts(1, 2))
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE SCHEMA reports")
    ended = kit.run(*to(empty_database_url), "--table", table, "--until-end")
    assert ended.returncode == 0, ended.stderr
    with psycopg.connect(empty_database_url) as connection:
        found = connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*table.split(".")))
        ).fetchone()
    assert found == (2,)


def test_what_is_wrong_is_one_sentence_and_nothing_is_passed_over(
    published: Published, kit: Kit, empty_database_url: str, facts: Facts
) -> None:
    def said(*arguments: str, **env: str) -> str:
        ended = kit.run(*arguments, "--until-end", **env)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended.stderr
        return ended.stderr

    assert "not an address" in said(*to("postgresql//user:s3cret@host/x"))
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE theirs (event_id uuid PRIMARY KEY)")
    published.add(facts(1, 3))
    assert "theirs is not a table that this consumer made" in said(*to(empty_database_url), "--table", "theirs")
    assert "does not exist" in said(*to(empty_database_url), LEDGER_TOPIC_OUTCOMES="nowhere")
    assert kit.run(*to(empty_database_url), "--until-end").returncode == 0
    published.add([("ACC00", 2)], event_id="5f0e0a0c-0b0d-5c2f-8f3a-5b8c8a4b1d99")
    assert "two different outcomes" in said(*to(empty_database_url))
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("UPDATE ledger_outcomes_offsets SET next_offset = 99")
    assert "it is not the topic that was read" in said(*to(empty_database_url))
    assert kept(empty_database_url) == facts(1, 3)
