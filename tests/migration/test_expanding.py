"""A revision expands, or says which releases can work with what it leaves; and what the database then says of releases."""

from collections.abc import Iterator

import psycopg
import pytest
from alembic import command
from alembic.script import Script, ScriptDirectory, base

import migrations
from tests.chaos.releases import CONTRACT, EXPAND
from tests.integration.operate.typed import typed
from tests.support import wait_until
from tests.support.expanding import catalogue, contractions
from tests.support.worker import clean_env
from worker.errors import RevisionError
from worker.store import revision
from worker.store.revision import Found

RULED_FROM = "0011"
"""Before it a release worked with its own revision alone."""
HEAD = revision.head()
NEXT, LATER = (f"{int(HEAD) + more:04}" for more in (1, 2))


CONTRACTING = [
    ("ALTER TABLE lanes DROP COLUMN hold_reason CASCADE", "gone: the column lanes.hold_reason"),
    ("ALTER TABLE lanes RENAME COLUMN hold_reason TO why", "gone: the column lanes.hold_reason"),
    ("ALTER TABLE lanes RENAME TO queues", "gone: the column lanes.account_no"),
    ("ALTER TABLE day_totals ALTER COLUMN used TYPE float8", "gone: the column day_totals.used of type numeric"),
    ("ALTER TABLE records ALTER COLUMN value SET NOT NULL", "gone: records.value without a value"),
    ("ALTER TABLE dead_letters ALTER COLUMN state DROP DEFAULT", "gone: dead_letters.state without a value"),
    ("ALTER TABLE prunings ADD COLUMN who text NOT NULL", "new on prunings: who must be given"),
    ("ALTER TABLE brakes ADD CHECK (reason <> '')", "new on brakes: CHECK"),
    ("ALTER TABLE brakes ADD CHECK (reason <> '') NOT VALID", "new on brakes: CHECK"),
    ("CREATE UNIQUE INDEX one ON brakes (kind)", "new on brakes: unique"),
    ("DROP TABLE doubts_seen", "gone: the column doubts_seen.operation"),
    ("DROP VIEW ledger_read.open_doubts", "gone: the column ledger_read.open_doubts.command_id"),
    ("DROP FUNCTION tell_with_audit CASCADE", "gone: the function tell_with_audit()"),
    ("REVOKE SELECT ON lanes FROM ledger_worker", "gone: SELECT on public.lanes for ledger_worker"),
    ("REVOKE INSERT ON audit FROM ledger_operator", "for ledger_operator"),
    ("ALTER TABLE brakes DROP CONSTRAINT pk_brakes", "gone: one row of brakes for each (kind, subject)"),
]
EXPANDING = [
    "ALTER TABLE lanes ADD COLUMN note text",
    "ALTER TABLE lanes ADD COLUMN note text NOT NULL DEFAULT ''",
    "ALTER TABLE lanes ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY",
    "CREATE TABLE notes (note text NOT NULL PRIMARY KEY CHECK (note <> ''))",
    "CREATE INDEX notes ON lanes (hold_reason)",
    "DROP INDEX ix_doubts_newest",
    "ALTER TABLE brakes DROP CONSTRAINT ck_brakes_subject",
    "GRANT INSERT ON lanes TO ledger_reader",
    EXPAND,
]


def scripts() -> list[Script]:
    return list(reversed(list(ScriptDirectory.from_config(revision._config("")).walk_revisions())))


@pytest.fixture
def connection(database_url: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """All that is done in it is taken back."""
    with psycopg.connect(database_url) as opened:
        yield opened
        opened.rollback()


def test_every_revision_expands_or_says_which_releases_can_work_with_what_it_leaves(empty_database_url: str) -> None:
    config, told = revision._config(empty_database_url), []
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        before = None
        for script in scripts():
            command.upgrade(config, script.revision)
            after = catalogue(connection)
            if before is not None and script.revision >= RULED_FROM and script.module.oldest_release is None:
                told += [f"{script.revision}: {one}" for one in contractions(before, after)]
            before = after
    assert told == []


def test_the_oldest_release_that_a_revision_names_is_one_before_it_and_none_lets_older_ones_in_again() -> None:
    named = [(script.revision, getattr(script.module, "oldest_release", None)) for script in scripts()]
    oldest = [(number, one) for number, one in named if one is not None]
    assert all(one in dict(named) and one < number for number, one in oldest)
    assert [one for _, one in oldest] == sorted(one for _, one in oldest)


def test_what_takes_away_or_asks_for_more_is_seen(
    connection: "psycopg.Connection[tuple[object, ...]]", subtests: pytest.Subtests
) -> None:
    before = catalogue(connection)
    for statement, told in CONTRACTING:
        with subtests.test(statement), connection.transaction(force_rollback=True):
            connection.execute(statement)
            found = contractions(before, catalogue(connection))
            assert [one for one in found if told in one] != [], found


def test_what_expands_is_let_through(
    connection: "psycopg.Connection[tuple[object, ...]]", subtests: pytest.Subtests
) -> None:
    before = catalogue(connection)
    for statement in EXPANDING:
        with subtests.test(statement), connection.transaction(force_rollback=True):
            connection.execute(statement)
            assert contractions(before, catalogue(connection)) == []


def test_the_last_step_of_a_new_name_is_a_contraction(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    connection.execute(EXPAND)
    before = catalogue(connection)
    connection.execute(CONTRACT)
    found = contractions(before, catalogue(connection))
    assert "gone: the column attempts.duration_ms of type double precision" in found


def test_the_names_of_the_files_tell_the_newest_revision() -> None:
    assert migrations.newest() == scripts()[-1].revision
    for script in scripts():
        assert script.module.__file__.rpartition("/")[2].startswith(f"{script.revision}_")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Found(None), f"at revision none and this release needs {HEAD}; run `ledger-worker migrate`"),
        (Found("0001"), f"at revision 0001 and this release needs {HEAD}; run `ledger-worker migrate`"),
        (Found("4f1a"), "at revision 4f1a, which is none of ours; see LEDGER_DATABASE_URL"),
        (
            Found(LATER, NEXT),
            f"too new for this release, which ends at {HEAD}; start a release with revision {NEXT} or newer",
        ),
    ],
    ids=str,
)
def test_a_database_that_is_too_old_too_new_or_another_s_is_refused_in_one_sentence(found: Found, said: str) -> None:
    told = found.misfit()
    assert told is not None
    assert said in told


@pytest.mark.parametrize("found", [Found(HEAD), Found(NEXT), Found(LATER, HEAD), Found(LATER, "0001")], ids=str)
def test_one_that_later_releases_have_only_expanded_is_worked_with(found: Found) -> None:
    assert found.misfit() is None


def set_to(url: str, number: str, oldest: str | None) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s, oldest_release = %s", [number, oldest])


async def test_migrate_leaves_what_a_later_release_did_and_doctor_tells_of_it(database_url: str) -> None:
    set_to(database_url, LATER, HEAD)
    env = clean_env({"LEDGER_DATABASE_URL": database_url, "LEDGER_ACTOR": "ann"})
    done = await typed(env, "migrate")
    assert (done.returncode, done.stdout.strip()) == (0, LATER)
    assert "this one may work with it: nothing was changed" in done.stderr
    assert f"{LATER}, of a later release" in (await typed(env, "doctor")).stdout
    set_to(database_url, LATER, NEXT)
    refused = await typed(env, "migrate")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "too new for this release" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "too new for this release" in (await typed(env, "doctor")).stdout


def test_a_revision_that_contracts_is_refused_while_older_releases_are_connected_and_then_names_the_oldest(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = scripts()[-1]
    oldest = str(last.down_revision)
    command.upgrade(revision._config(empty_database_url), oldest)
    load = base.util.load_python_file

    def load_marked(folder: str, filename: str) -> object:
        module = load(folder, filename)
        if filename.startswith(last.revision):
            module.oldest_release = oldest
        return module

    monkeypatch.setattr(base.util, "load_python_file", load_marked)
    for name in ("ledger-worker", "ledger-worker 0001"):
        with (
            psycopg.connect(empty_database_url, application_name=name),
            pytest.raises(RevisionError, match="1 connections of older ones are open; nothing was changed"),
        ):
            revision.upgrade(empty_database_url)
        assert revision.look(empty_database_url) == Found(oldest)
        gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
        with psycopg.connect(empty_database_url, autocommit=True) as looking:
            wait_until(lambda: looking.execute(gone, [name]).fetchone() == (0,))  # noqa: B023 - within this round
    with (
        psycopg.connect(empty_database_url, application_name=f"ledger-worker {oldest}"),
        psycopg.connect(empty_database_url, application_name="psql"),
    ):
        revision.upgrade(empty_database_url)
    assert revision.look(empty_database_url) == Found(last.revision, oldest)
