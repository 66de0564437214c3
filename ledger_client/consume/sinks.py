"""What a sink must do: keep rows and the offsets that belong to them together, and say what is missing."""

from collections.abc import Mapping
from typing import Protocol

from ledger_client.consume.completeness import Gap
from ledger_client.consume.reading import Batch


class Sink(Protocol):
    """A place for outcomes; open for one consumer at a time. It takes batches of up to `records_max`."""

    records_max: int

    async def offsets(self) -> Mapping[int, int]:
        """Return where to go on, by partition."""
        ...

    async def store(self, batch: Batch) -> int:
        """Take a batch and return how many of its rows were not there yet; after a kill all of it is kept, or none."""
        ...

    async def flush(self) -> None:
        """Keep for good what was taken."""
        ...

    async def missing(self) -> list[Gap]:
        """Return every gap in what is kept, below the highest number of each account."""
        ...


GAPS = """
    SELECT account_no, before + 1, account_seq - 1
    FROM (SELECT account_no, account_seq,
                 lag(account_seq, 1, 0) OVER (PARTITION BY account_no ORDER BY account_seq) AS before FROM {}) AS numbered
    WHERE account_seq > before + 1 ORDER BY account_no, account_seq
"""
"""The gaps of a table that has both columns, in Postgres and in SQLite."""
