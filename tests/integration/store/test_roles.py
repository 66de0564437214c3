"""What each group role cannot do, whatever its login types: Postgres refuses it. What each can do, its own tests show."""

from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.support.logins import name_of
from worker.store.operator_tables import metadata

Login = Callable[..., str]

ID = "gen_random_uuid()"
OUTCOME = (
    "INSERT INTO outcomes (event_id, account_no, account_seq, type, command_id, recorded_at, value, headers) "
    f"VALUES ({ID}, 'A', 1, 'command.succeeded', {ID}, now(), '{{}}', '')"
)
AUDIT = (
    "INSERT INTO audit (audit_id, recorded_at, actor, action, reason, value, audit_seq, previous_hash, hash{0}) "
    f"SELECT {ID}, now(), 'ann', 'pause', 'why', '{{{{}}}}', audit_seq + 1, hash, sha256('{{{{}}}}'){{1}} FROM audit_head"
)
MOVED = "UPDATE audit_head SET audit_seq = audit_seq + 1, hash = sha256('{}')"
OWNERS = (
    "DROP TRIGGER keep_audit ON audit",
    "ALTER TABLE outcomes DISABLE TRIGGER ALL",
    "SET session_replication_role = replica",
    "TRUNCATE outcomes",
    "TRUNCATE audit",
    "DELETE FROM audit",
    "UPDATE audit SET actor = 'nobody'",
    "DELETE FROM outcomes",
    "UPDATE outcomes SET value = ''",
    "DELETE FROM command_ids",
    "UPDATE command_ids SET command_id = gen_random_uuid()",
    "UPDATE command_ids SET content_hash = ''",
    "UPDATE command_ids SET account_no = 'B'",
    "UPDATE commands SET payload = '{}'",
    "DELETE FROM commands",
    "UPDATE records SET value = ''",
    "DELETE FROM records",
    "UPDATE attempts SET body = ''",
    "DELETE FROM attempts",
    "UPDATE evidence SET actor = 'nobody'",
    "DELETE FROM numbers",
    "DELETE FROM temp_adjustments",
    "UPDATE alembic_version SET version_num = '0001'",
    "CREATE TABLE of_mine (a int)",
    "SELECT grant_ledger_roles()",
)
WORKERS = (
    "DELETE FROM brakes",
    AUDIT.format("", ""),
    MOVED,
    "UPDATE commands SET position = 7",
    "DELETE FROM prunings",
)
OPERATORS = (
    "UPDATE commands SET attempts = 0",
    "DELETE FROM outbox",
    "INSERT INTO publications VALUES (gen_random_uuid(), now(), 0, 0)",
    AUDIT.format(", taken_back", ", true"),
    AUDIT.format(", published_at", ", now()"),
    AUDIT.format(", database_role", ", 'postgres'"),
    AUDIT.replace("sha256", "sha512").format("", ""),
)
PRUNED = (
    "DELETE FROM outcomes",
    "DELETE FROM commands",
    "DELETE FROM attempts",
    "UPDATE records SET value = ''",
    "UPDATE attempts SET body = ''",
)
PRUNERS = (
    OUTCOME,
    "UPDATE commands SET state = 'queued'",
    "UPDATE command_ids SET verdict = NULL",
    "DELETE FROM brakes",
)
REFUSED = {
    "ledger_worker": OWNERS + WORKERS,
    "ledger_operator": OWNERS + OPERATORS,
    "ledger_pruner": tuple(one for one in OWNERS if one not in PRUNED) + PRUNERS,
}


def does(connection: "psycopg.Connection[tuple[object, ...]]", *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)
    connection.commit()


def refuses(url: str, *statements: str) -> None:
    """Hold the server to refusing these, together, at the last by their commit."""
    with closing(psycopg.connect(url)) as connection, pytest.raises(InsufficientPrivilege):
        does(connection, *statements)


@pytest.mark.parametrize("role", REFUSED)
def test_what_is_not_a_role_s_business_is_refused(
    database_url: str, login: Login, role: str, subtests: pytest.Subtests
) -> None:
    url = login(role)
    for statement in REFUSED[role]:
        with subtests.test(statement):
            refuses(url, statement)


def test_an_operator_s_outcome_stands_only_with_the_operator_s_row_of_the_audit(
    database_url: str, login: Login, subtests: pytest.Subtests
) -> None:
    mine, other = login("ledger_operator"), login("ledger_operator")
    audit = AUDIT.format("", "")
    chain = "CREATE TEMP TABLE {} AS SELECT 1 AS audit_seq, ''::bytea AS hash"
    forged = (chain.format("audit"), chain.format("audit_head"), OUTCOME)
    for told, statements in {
        "alone": (OUTCOME,),
        "with a row that is not the chain's last": (audit, OUTCOME),
        "with the head moved and no row": (MOVED, OUTCOME),
        "beside tables of its own": forged,
    }.items():
        with subtests.test(told):
            refuses(mine, *statements)
    with psycopg.connect(other) as connection:
        does(connection, audit, MOVED)
    with subtests.test("after another's row"):
        refuses(mine, OUTCOME)
    with psycopg.connect(mine) as connection:
        does(connection, OUTCOME, audit, MOVED)  # the audit comes last, as the tools write it
    with psycopg.connect(database_url) as owner:
        assert owner.execute("SELECT count(*) FROM outcomes").fetchone() == (1,)
        roles = owner.execute("SELECT database_role FROM audit ORDER BY audit_seq").fetchall()
    assert roles == [(name_of(other),), (name_of(mine),)]


def test_whoever_is_a_worker_tells_outcomes_and_so_does_a_login_of_no_group(database_url: str, login: Login) -> None:
    plain = login()
    with psycopg.connect(database_url) as owner:
        owner.execute(f"GRANT INSERT ON outcomes TO {name_of(plain)}")
    for number, url in enumerate(
        (login("ledger_worker"), login("ledger_worker", "ledger_operator"), plain, database_url)
    ):
        with psycopg.connect(url) as connection:
            connection.execute(OUTCOME.replace("'A', 1", f"'A', {number + 1}"))
    with psycopg.connect(database_url) as owner:
        owner.execute(f"DROP OWNED BY {name_of(plain)}")


def test_every_table_is_read_by_worker_operator_and_pruner_and_none_by_the_reader(database_url: str) -> None:
    statement = """
        SELECT t, r FROM unnest(%s::text[]) t, unnest(%s::text[]) r WHERE has_table_privilege(r, quote_ident(t), 'SELECT')
    """
    tables = [*metadata.tables, "alembic_version"]
    roles = ["ledger_worker", "ledger_operator", "ledger_pruner"]
    with psycopg.connect(database_url) as owner:
        readable = set(owner.execute(statement, [tables, [*roles, "ledger_reader"]]).fetchall())
    assert readable == {(table, role) for table in tables for role in roles}
