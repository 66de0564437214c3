"""First sights, repeats and gaps: an account's outcomes are numbered 1, 2, 3, …, so what is missing can be named.

For a sink of your own; it keeps every event_id in memory. The sinks that are ready ask their own store instead.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ledger_client.errors import ContradictionError


class Gap(NamedTuple):
    """Outcomes of an account that were not seen though a later one was: from `first` to `last`, both included."""

    account_no: str
    first: int
    last: int


class Completeness:
    """What was seen of each account."""

    def __init__(self) -> None:
        self._ids: dict[str, dict[int, str]] = {}

    def first_sight(self, account_no: str, account_seq: int, event_id: str) -> bool:
        """Note an outcome; False where it is a repeat, to be dropped. Raises ContradictionError."""
        seen = self._ids.setdefault(account_no, {})
        if account_seq not in seen:
            seen[account_seq] = event_id
            return True
        if seen[account_seq] != event_id:
            raise contradiction(account_no, account_seq)
        return False

    def missing(self) -> list[Gap]:
        """Return every gap below the highest number seen; empty means complete up to what was read."""
        return [gap for account_no in sorted(self._ids) for gap in self._gaps(account_no)]

    def _gaps(self, account_no: str) -> Iterator[Gap]:
        before = 0
        for number in sorted(self._ids[account_no]):
            if number > before + 1:
                yield Gap(account_no, before + 1, number - 1)
            before = number


def contradiction(account_no: str, account_seq: int) -> ContradictionError:
    """Say that two outcomes bear one number."""
    return ContradictionError(f"two different outcomes of account {account_no} bear the number {account_seq}")
