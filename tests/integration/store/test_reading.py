"""The views for reading: their columns are promised, and their reader sees nothing else."""

import re
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from tests.support.worker import CHECKOUT
from worker.store.operator_tables import metadata

PAGE = Path(CHECKOUT / "docs" / "reading.md")
COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'ledger_read'::regnamespace AND a.attnum > 0 ORDER BY c.relname, a.attnum
"""


def promised() -> list[tuple[str, ...]]:
    """Read the page's tables: one row a column, under a heading with the view's name."""
    found: list[tuple[str, ...]] = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        view = section.split("\n", 1)[0].strip("` ")
        rows = re.findall(r"^\| `(\w+)` \| ([a-z ]+) \| (.+) \|$", section, flags=re.MULTILINE)
        found += [(view, *row) for row in rows]
    return sorted(found, key=lambda row: row[0])


def test_the_columns_of_the_views_are_those_that_the_page_promises(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute(COLUMNS).fetchall() == promised()


def test_the_reader_reads_the_views_and_nothing_else_and_changes_nothing(
    database_url: str, login: Callable[..., str], subtests: pytest.Subtests
) -> None:
    url = login("ledger_reader")
    views = {view for view, *_ in promised()}
    assert views == {"commands", "outcomes", "open_doubts", "temporary_adjustments"}
    forbidden = [f'SELECT 1 FROM "{table}"' for table in metadata.tables]
    forbidden += [f"DELETE FROM ledger_read.{view}" for view in views]
    forbidden += [
        "UPDATE ledger_read.temporary_adjustments SET ended_by = 'timer'",
        "INSERT INTO ledger_read.commands (command_id) VALUES (gen_random_uuid())",
        "CREATE VIEW ledger_read.mine AS SELECT 1",
        "CREATE TABLE public.mine (a int)",
        "SELECT grant_ledger_roles()",
        "COPY ledger_read.commands TO PROGRAM 'cat'",
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        for view in views:
            connection.execute(f"SELECT * FROM ledger_read.{view}")
        for statement in forbidden:
            with (
                subtests.test(statement),
                pytest.raises((InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)),
            ):
                connection.execute(statement)
