"""The database's revisions, from nothing to what `worker.store.tables` and `operator_tables` describe.

A release is known by its newest revision. A revision either expands, so that releases before it go on working with the
database, or names in `oldest_release` the oldest one that still can: docs/upgrade.md.
"""

from functools import cache
from pathlib import Path


@cache
def newest() -> str:
    """Return the newest revision of this release, by the names of its files; a test keeps both in one sequence."""
    return max(path.name[:4] for path in (Path(__file__).parent / "versions").glob("[0-9]*.py"))
