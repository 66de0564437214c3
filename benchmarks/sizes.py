"""`python -m benchmarks.sizes`: what commands leave in Postgres, table by table; half a minute.

They go through a running worker to their outcomes; each is a `cash.adjust` that is applied at the first call. What a table takes
before the first of them is taken off.
"""

import argparse
import asyncio
import sys
from typing import NamedTuple

import psycopg

from benchmarks.end_to_end import WARM_UP, pass_through
from benchmarks.ground import KEYS, new_ground
from benchmarks.running import running_worker
from sandbox.parts import running

SIZES = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""


class Size(NamedTuple):
    """Bytes of a table with what is stored beside it, and of its indexes."""

    table: int
    indexes: int


def main() -> int:
    """Send, look, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes")
    parser.add_argument("--commands", type=int, default=10_000, help="10000; a thousand of them first, to warm up")
    parser.add_argument("--accounts", type=int, default=2_000, help="that they go round (2000)")
    given = parser.parse_args()
    with (
        running(lambda *_: None, brokerage_options=KEYS) as parts,
        new_ground(parts) as ground,
        psycopg.connect(ground.database_url, autocommit=True) as connection,
    ):
        before, wal_before = _sizes(connection), _written(connection)
        with running_worker(parts, ground.env) as worker:
            topics, count = (ground.commands_topic, ground.outcomes_topic), given.commands - WARM_UP
            program = ground.brokerage.program
            asyncio.run(pass_through(parts, [worker], program, "sizes", count, given.accounts, topics))
        written = _written(connection) - wal_before
        connection.execute("VACUUM (ANALYZE)")  # so that rows are counted; files stay as large as they were
        _show(connection, before, given.commands, written)
    return 0


def _sizes(connection: "psycopg.Connection[tuple[str, int, int]]") -> dict[str, Size]:
    return {name: Size(table, indexes) for name, table, indexes in connection.execute(SIZES)}


def _written(connection: "psycopg.Connection[tuple[str, int, int]]") -> int:
    row = connection.execute("SELECT '', pg_current_wal_lsn() - '0/0'::pg_lsn, 0").fetchone()
    return int(row[1]) if row else 0


def _show(
    connection: "psycopg.Connection[tuple[str, int, int]]", before: dict[str, Size], commands: int, written: int
) -> None:
    found = _sizes(connection)
    added = {
        name: Size(one.table - before[name].table, one.indexes - before[name].indexes) for name, one in found.items()
    }
    sys.stdout.write("| table | rows | bytes a command | of its indexes |\n|---|---|---|---|\n")
    for name, one in sorted(added.items(), key=lambda item: -sum(item[1])):
        row = connection.execute(f"SELECT '', count(*), 0 FROM {name}").fetchone()  # noqa: S608
        if sum(one) >= commands:  # a byte a command is noise
            sys.stdout.write(
                f"| `{name}` | {row and row[1]:,} | {one.table / commands:,.0f} | {one.indexes / commands:,.0f} |\n"
            )
    table, indexes = (sum(one[part] for one in added.values()) / commands for part in (0, 1))
    sys.stdout.write(f"| together | | {table:,.0f} | {indexes:,.0f} |\n\n")
    sys.stdout.write(f"write-ahead log, {written / commands:,.0f} bytes a command\n")


if __name__ == "__main__":
    sys.exit(main())
