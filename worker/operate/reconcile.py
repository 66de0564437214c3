"""`reconcile`: commands and outcomes against the brokerage's own histories, account by account and day by day; reads only."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.times import written
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.books import Kind
from worker.ledger.retention import Aged
from worker.operate.certificate import FORMAT, Certificate, seal
from worker.operate.comparing import Part
from worker.operate.differences import Found
from worker.settings import Settings
from worker.store import reconciling as store
from worker.store.engine import transaction
from worker.store.pruning import STILL_READ_FOR, read_pruned
from worker.whale.entry import Reader

PART: Final = timedelta(days=1)
ACCOUNTS_AT_ONCE: Final = 500
STILL_UNDER_WAY_FOR: Final = timedelta(minutes=1)
"""What was sent a moment ago is not finished and published yet: unless told, the range ends before it."""
RANGE: Final = timedelta(days=1)
NOT_COMPARED: Final = (
    "temporary adjustments and their ends: the brokerage's API has no list of them",
    "accounts that never had a command here",
)
COUNTS: Final = ("accounts", "commands", "outcomes", "lines", "matched", "not_comparable", "left_out")

Told = Callable[[str, int, int], None]
"""Called after each account: its number, how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to compare: one account or all, instants in [start, end); lines with these business codes are left out."""

    account_no: str | None
    start: datetime
    end: datetime
    left_out_codes: tuple[str, ...] = ()


async def ask(
    engine: AsyncEngine, account_no: str | None, start: datetime | None, end: datetime | None, codes: Iterable[str]
) -> Asked:
    """Complete what was asked: up to a minute ago, from a day before; the end is never after now by the database's clock."""
    async with transaction(engine) as connection:
        now, pruned = await store.read_now(connection), await read_pruned(connection)
    end = now - STILL_UNDER_WAY_FOR if end is None else min(end, now)
    start = end - RANGE if start is None else start
    if start >= end:
        raise NothingMatchedError(f"the range from {written(start)} to {written(end)} is empty")
    kept_from = [pruned[what].before_at + STILL_READ_FOR for what in (Aged.COMMANDS, Aged.OUTCOMES) if what in pruned]
    if kept_from and start < max(kept_from):
        raise RefusedByGuardError(
            f"commands or outcomes of that range were pruned: what begins at {written(max(kept_from))} or later can be compared"
        )
    return Asked(account_no, start, end, tuple(sorted(set(codes))))


async def reconcile(engine: AsyncEngine, reader: Reader, asked: Asked, told: Told) -> Found:
    """Compare; raises PartUnavailableError where a part is away. What the brokerage did not show is in `not_read`."""
    found = Found()
    async with transaction(engine) as connection:
        count = 1 if asked.account_no else await store.count_accounts(connection)
    done, after = 0, ""
    while True:
        if asked.account_no is not None:
            accounts = [asked.account_no]
        else:
            async with transaction(engine) as connection:
                accounts = await store.list_accounts(connection, after=after, limit=ACCOUNTS_AT_ONCE)
        for account_no in accounts:
            await _account(engine, reader, asked, found, account_no)
            done += 1
            told(account_no, done, max(done, count))
        if not accounts or asked.account_no is not None:
            return found
        after = accounts[-1]


async def certify(engine: AsyncEngine, settings: Settings, asked: Asked, found: Found) -> Certificate:
    """Write down what was compared and what came of it; NothingMatchedError where there was nothing at all."""
    counts = {name: found.counts[name] for name in sorted({*COUNTS, *found.counts})}
    counts["differences"] = found.kinds.total()
    if not (counts["commands"] or counts["outcomes"] or counts["lines"] or counts["differences"] or found.not_read):
        raise NothingMatchedError("there is nothing in that range, neither here nor at the brokerage")
    async with transaction(engine) as connection:
        made_at = await store.read_now(connection)
    complete = not found.not_read
    return seal(
        {
            "format": FORMAT,
            "made_at": written(made_at),
            "made_by": settings.actor,
            "brokerage": settings.whale_base_url,
            "account": asked.account_no,
            "range": {"from": written(asked.start), "to": written(asked.end)},
            "compared": ["commands", "outcomes", "cash", "positions", "freezes", "orders"],
            "not_compared": list(NOT_COMPARED),
            "left_out_codes": list(asked.left_out_codes),
            "complete": complete,
            "agrees": complete and not counts["differences"],
            "counts": counts,
            "kinds": {str(kind): found.kinds[kind] for kind in Kind},
            "totals": found.totals(),
            "differences": found.differences,
            "not_read": found.not_read,
            "signed_off": None,
        }
    )


async def _account(engine: AsyncEngine, reader: Reader, asked: Asked, found: Found, account_no: str) -> None:
    found.counts["accounts"] += 1
    start = asked.start
    while start < asked.end:
        end = min(asked.end, start + PART)
        await Part(engine, reader, found, account_no, start, end, asked.left_out_codes).compare()
        start = end
    async with transaction(engine) as connection:
        given, highest = await store.read_last_seq(connection, account_no)
    if given != highest:
        said = (f"account_seq up to {given}", f"outcomes up to {highest}")
        found.differ(Kind.GAP, account_no, said=said, note="the last outcomes are missing")
