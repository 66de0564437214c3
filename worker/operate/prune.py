"""Takes away what is old and done, a little at a time, at a rate; what any promise needs stays.

Each step is one database transaction with the count of what it took. A prune that is killed is begun again and goes on with
what is left; of two at once the second is refused. The audit tells its beginning and its end.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.times import written
from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.retention import DAYS_MIN, Aged
from worker.operate.pace import Pace
from worker.settings import Settings
from worker.store import pruning as store
from worker.store.audit import Action, note
from worker.store.engine import connected, transaction
from worker.store.facts import Facts
from worker.store.reconciling import count_accounts, list_accounts

PAGES_AT_ONCE = 128
ROWS_AT_ONCE = 1000
ACCOUNTS_AT_ONCE = 50

Ages = Mapping[Aged, timedelta]
Reach = Callable[[int, int], None]
"""Told how many steps are done, of how many."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What may go at what age, how fast, and who wants it; without anybody it is counted and nothing is changed."""

    ages: Ages
    rate_per_s: float | None
    actor: str = ""
    reason: str = ""

    @property
    def changes(self) -> bool:
        """Whether anything is taken away."""
        return bool(self.actor)

    def sentence(self) -> str:
        """Say what would go."""
        told = ", ".join(f"{what} older than {_days(age)}" for what, age in self.ages.items())
        return f"This takes away for good: {told}; only what is finished and needed by nothing. `--dry-run` counts it."


def ages_of(settings: Settings) -> dict[Aged, timedelta]:
    """Return what the settings let go, and at what age."""
    days = {what: getattr(settings, what.setting) for what in Aged}
    return {what: timedelta(days=count) for what, count in days.items() if count is not None}


def chosen_ages(settings: Settings, only: tuple[Aged, ...], older_than: timedelta | None) -> dict[Aged, timedelta]:
    """Return the ages of what a person chose, in the sequence in which it goes.

    Raises NothingMatchedError where no age is set, RefusedByGuardError for an age that is too low.
    """
    if older_than is not None and older_than < timedelta(days=DAYS_MIN):
        raise RefusedByGuardError(f"what is younger than {DAYS_MIN} days is not pruned: it is still asked for")
    ages = dict.fromkeys(Aged, older_than) if older_than is not None else ages_of(settings)
    found = {what: age for what in Aged if what in (only or tuple(Aged)) and (age := ages.get(what)) is not None}
    missing = [what for what in only if what not in found]
    if missing or not found:
        named = missing or list(Aged)
        first = "LEDGER_" + named[0].setting.upper()
        raise NothingMatchedError(
            f"no age is set for {', '.join(named)}, so nothing goes: set {first} and its like, or give --older-than"
        )
    return found


async def prune(
    engine: AsyncEngine, asked: Asked, reach: Reach, stops: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """Take away, or count, what is old; returns a row for each sort: up to what age, and how many.

    `stops` is asked between the steps. Raises RefusedByGuardError while another prunes, PartUnavailableError where the
    database goes away: what is done is done.
    """
    async with _alone(engine) if asked.changes else _beside_others():
        return await _Pruning(engine, asked, reach, stops).run()


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    async with connected(engine) as connection:
        if not await store.try_alone(connection):
            raise RefusedByGuardError("somebody else prunes at the moment; this one stops before it began")
        yield


@asynccontextmanager
async def _beside_others() -> AsyncIterator[None]:
    yield


async def last_pruned_s(engine: AsyncEngine) -> float | None:
    """Say how many seconds ago anything was pruned, by the database's clock; None where nothing ever was."""
    async with transaction(engine) as connection:
        now, pruned = await store.enter(connection), await store.read_pruned(connection)
    return min(((now - one.pruned_at).total_seconds() for one in pruned.values()), default=None)


class _Pruning:
    """One prune under way."""

    def __init__(self, engine: AsyncEngine, asked: Asked, reach: Reach, stops: Callable[[], bool]) -> None:
        self._engine, self._asked, self._reach, self._stops = engine, asked, reach, stops
        self._pace = Pace(asked.rate_per_s if asked.changes else None)
        self._limit = ROWS_AT_ONCE if asked.rate_per_s is None else max(1, min(ROWS_AT_ONCE, int(asked.rate_per_s)))
        self._before: dict[Aged, datetime] = {}
        self._pages: dict[str, int] = {}
        self._counts: Counter[Aged] = Counter()
        self._notes: dict[Aged, str] = {}
        self._done = self._total = 0

    async def run(self) -> list[dict[str, Any]]:
        """Go through all of it, from the bytes to the rows."""
        await self._begin()
        for what in self._before:
            if what is Aged.OUTCOMES:
                await self._outcomes(what)
            else:
                for walk in store.WALKS[what]:
                    await self._walk(what, walk)
        if self._asked.changes:
            await self._note("prune.end", {"stopped": True} if self._stops() else {})
        return [self._row(what) for what in self._before]

    def _row(self, what: Aged) -> dict[str, Any]:
        return {
            "what": what.value,
            "before": written(self._before[what]),
            "count": self._counts[what],
            "note": self._notes.get(what, ""),
        }

    async def _begin(self) -> None:
        async with transaction(self._engine) as connection:
            now = await store.enter(connection)
            self._before = {what: now - age for what, age in self._asked.ages.items()}
            tables = [walk.table for what in self._before for walk in store.WALKS.get(what, ())]
            self._pages = {table: await store.count_pages(connection, table) for table in set(tables)}
            self._total = sum(self._pages[table] for table in tables)
            if Aged.OUTCOMES in self._before:
                self._total += await count_accounts(connection)
        if self._asked.changes:
            await self._note("prune.begin", {})

    async def _note(self, action: str, more: Mapping[str, Any]) -> None:
        """Write the audit of the beginning, or of the end, with what went."""
        facts = Facts()
        before = {what.value: written(at) for what, at in self._before.items()}
        after = {what.value: self._counts[what] for what in self._before} if action == "prune.end" else {}
        asked = self._asked
        async with transaction(self._engine) as connection:
            now = await store.enter(connection)
            told = Action(asked.actor, action, asked.reason, "database", {"older_than": before}, {**after, **more})
            note(facts, clock.new_id(), told, now)
            await facts.write(connection)

    async def _walk(self, what: Aged, walk: store.Walk) -> None:
        """Go over a table, so many pages at a time; what was redacted before may lie behind what the table had at first."""
        async with transaction(self._engine) as connection:
            pages = await store.count_pages(connection, walk.table)
        self._total += pages - self._pages[walk.table]
        for first in range(0, pages, PAGES_AT_ONCE):
            step = first, min(first + PAGES_AT_ONCE, pages)
            while not self._stops() and await self._step(what, walk, step) == self._limit:
                pass
            self._passed(step[1] - first)

    async def _step(self, what: Aged, walk: store.Walk, pages: tuple[int, int]) -> int:
        before = self._before[what]
        async with transaction(self._engine) as connection:
            await store.enter(connection)
            if not self._asked.changes:
                self._counts[what] += await store.count(connection, walk, before, pages)
                return 0
            taken = await store.take(connection, walk, before, pages, self._limit)
            if taken:
                await store.note_pruned(connection, what, before, taken)
        await self._took(what, taken)
        return taken

    async def _outcomes(self, what: Aged) -> None:
        """Take each account's outcomes from the oldest on, up to the first that must stay: what is left has no gap."""
        async with transaction(self._engine) as connection:
            await store.enter(connection)
            lasts = await store.read_last_offsets(connection)
        after = ""
        while not self._stops():
            async with transaction(self._engine) as connection:
                accounts = await list_accounts(connection, after=after, limit=ACCOUNTS_AT_ONCE)
            if not accounts:
                return
            left = dict.fromkeys(accounts, 0)
            while left and not self._stops():
                left = await self._oldest(what, left, lasts)
            if what in self._notes:
                return
            after = accounts[-1]
            self._passed(len(accounts))

    async def _oldest(self, what: Aged, after: Mapping[str, int], lasts: Mapping[int, int]) -> dict[str, int]:
        """Take some of each account; returns the accounts that may have more, with the number they go on behind."""
        each = max(1, self._limit // len(after))
        before, left, going = self._before[what], {}, []
        async with transaction(self._engine) as connection:
            await store.enter(connection)
            if self._asked.changes and not await store.shut_out_republishing(connection):
                self._notes[what] = "left: outcomes are being published again, see `ledger-worker replay list`"
                return {}
            oldest = await store.read_oldest(connection, after, before, lasts, each)
            for account_no, of_account in groupby(oldest, lambda one: one.account_no):
                told = list(of_account)
                goes = next((number for number, one in enumerate(told) if one.stays), len(told))
                going += [one.event_id for one in told[:goes]]
                if goes == each:
                    left[account_no] = told[-1].account_seq
            if going and self._asked.changes:
                await store.note_pruned(connection, what, before, await store.drop_outcomes(connection, going))
        await self._took(what, len(going))
        return left

    async def _took(self, what: Aged, count: int) -> None:
        self._counts[what] += count
        await self._pace.after(count)

    def _passed(self, steps: int) -> None:
        self._done += steps
        self._reach(self._done, self._total)


def _days(age: timedelta) -> str:
    return f"{age.total_seconds() / 86_400:g} days"
