"""How Postgres keeps the tables: room in their pages, and when they are vacuumed. Measured in docs/performance.md."""

from typing import Any

PAGE_FULL = 100


def hot(*, fillfactor: int = 70) -> dict[str, Any]:
    """Room for updates within a page, and vacuum by count: these tables are small and change all the time."""
    return _with(fillfactor, {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 5000})


def long_lived(*, fillfactor: int = PAGE_FULL, growing: bool = False) -> dict[str, Any]:
    """Vacuum by count for tables that grow, and statistics often; `growing`: most rows are never changed.

    A fifth of the table, Postgres' own rule, would let millions of dead rows gather; migration 0009 says more.
    """
    by_count = {"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 50_000}
    inserted = {"autovacuum_vacuum_insert_scale_factor": 0, "autovacuum_vacuum_insert_threshold": 200_000}
    return _with(fillfactor, by_count | (inserted if growing else {}) | {"autovacuum_analyze_scale_factor": 0.02})


def _with(fillfactor: int, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"postgresql_with": ({"fillfactor": fillfactor} if fillfactor < PAGE_FULL else {}) | parameters}
