"""Puts dead letters back into intake, through the database: judged anew, stored by intake's own code, in their sequence.

A redrive is begun once: the same selection given again, by whomever, goes on with it and does nothing twice. What it
changes is changed in batches, each one database transaction with its history and its audit.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker import clock
from worker.errors import DataRefusedError, NothingMatchedError, PartUnavailableError, RefusedByGuardError
from worker.ledger.commands import Malformed
from worker.ledger.redrive import GUARDED, Foreseen, Would
from worker.operate.edits import edited_candidate, note_edit
from worker.operate.pace import Pace
from worker.pipeline.accept import accept_options, topic_types
from worker.pipeline.check import TopicTypes, check
from worker.settings import Settings
from worker.store.adoptions import read_now
from worker.store.audit import Action, note
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.forgotten import read_forgotten_redrives
from worker.store.redrive import (
    FIRST,
    Candidate,
    Fate,
    Letter,
    Place,
    Run,
    Selection,
    foresee_one,
    put_back,
    read_letters,
    read_uses,
)
from worker.store.redrive_runs import begin_run, end_run, find_run

PAGE = 100
TOLD_MAX = 100
WAITS_MAX = 100
WAIT_S = 0.05

Reach = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person wants put back: a selection, as it was read or with these bytes instead.

    `new_id`: an edit whose command_id is used up gets a new one.
    """

    selection: Selection
    edits: Mapping[UUID, bytes] = field(default_factory=dict)
    new_id: bool = False

    def digest(self) -> bytes:
        """Return what tells this selection from others."""
        parts = [repr(self.selection), repr(self.new_id)]
        parts += [f"{one} {sha256(value).hexdigest()}" for one, value in sorted(self.edits.items())]
        return sha256("\n".join(parts).encode()).digest()


@dataclass(slots=True)
class Preview:
    """What would happen now. `done` were put back by the same redrive before it was interrupted, `run` is that."""

    until: datetime
    run: Run | None = None
    done: int = 0
    total: int = 0
    unknown: int = 0
    would: Counter[Would] = field(default_factory=Counter)
    told: list[dict[str, Any]] = field(default_factory=list)
    edited: list[Candidate] = field(default_factory=list)

    @property
    def guarded(self) -> int:
        """Count what the guard refuses."""
        return sum(self.would[one] for one in GUARDED)


class _Judge:
    """Judges the pages of a selection."""

    def __init__(self, engine: AsyncEngine, settings: Settings, wanted: Wanted) -> None:
        self._engine, self._wanted = engine, wanted
        self._topics: TopicTypes = topic_types(settings)

    async def pages(
        self, until: datetime, run_id: UUID | None, limit: int = PAGE
    ) -> AsyncIterator[list[tuple[Letter, Candidate | None, Foreseen]]]:
        """Read the selection page by page, each dead letter with what would become of it now."""
        after: Place = FIRST
        while True:
            async with transaction(self._engine) as connection:
                letters = await read_letters(
                    connection, self._wanted.selection, until=until, run_id=run_id, after=after, limit=limit
                )
                judged = await self._judged(connection, letters)
            if letters:
                yield judged
            if len(letters) < limit:
                return
            after = letters[-1].place

    async def _judged(
        self, connection: AsyncConnection, letters: Sequence[Letter]
    ) -> list[tuple[Letter, Candidate | None, Foreseen]]:
        candidates = {one.dead_letter_id: self._candidate(one) for one in letters}
        found = [one for one in candidates.values() if one is not None]
        uses = await read_uses(connection, found)
        if self._wanted.new_id:
            found = [edited_candidate(one.letter, one.record.value or b"", self._topics, uses) for one in found]
            candidates |= {one.letter.dead_letter_id: one for one in found}
            uses |= await read_uses(connection, found)
        forgotten = await read_forgotten_redrives(connection, candidates)
        return [
            (one, at, self._foreseen(one, at, uses, forgotten))
            for one in letters
            for at in [candidates[one.dead_letter_id]]
        ]

    def _candidate(self, letter: Letter) -> Candidate | None:
        if letter.record.topic not in self._topics:
            return None
        if self._wanted.edits:
            return edited_candidate(letter, self._wanted.edits[letter.dead_letter_id], self._topics)
        return Candidate(letter, letter.record, check(letter.record, self._topics))

    def _foreseen(
        self, letter: Letter, candidate: Candidate | None, uses: Mapping[UUID, Any], forgotten: Mapping[UUID, str]
    ) -> Foreseen:
        if candidate is None:
            return Foreseen(Would.OTHER_TOPIC, f"{letter.record.topic} is none of the command topics of the settings")
        return foresee_one(candidate, uses, forgotten)


async def preview(engine: AsyncEngine, settings: Settings, wanted: Wanted) -> Preview:
    """Say what would become of each now; changes nothing.

    Raises NothingMatchedError where the selection is empty, RefusedByGuardError where the guard refuses all of it.
    """
    async with transaction(engine) as connection:
        found = await find_run(connection, wanted.digest())
        seen = Preview(await read_now(connection))
    if found is not None:
        seen.run, seen.done = found
        seen.until = seen.run.begun_at
    run_id = None if seen.run is None else seen.run.run_id
    async for page in _Judge(engine, settings, wanted).pages(seen.until, run_id):
        for letter, candidate, foreseen in page:
            seen.total += 1
            seen.would[foreseen.would] += 1
            if len(seen.told) < TOLD_MAX and foreseen.would is not Would.DONE:
                seen.told.append(_row(letter, foreseen))
            if candidate is not None and candidate.edited_from is not None and len(seen.edited) < TOLD_MAX:
                seen.edited.append(candidate)
    seen.unknown = len(wanted.selection.ids) - seen.total if wanted.selection.ids else 0
    if not seen.total and seen.run is None:
        raise NothingMatchedError("no dead letter matches that could be put back")
    refused = seen.guarded + (sum(seen.would[w] for w in _NOT_AS_AN_EDIT) if wanted.edits else 0)
    if seen.total and refused == seen.total:
        raise RefusedByGuardError(f"none of {seen.total} can be put back: {seen.told[0]['why']}")
    return seen


_NOT_AS_AN_EDIT = (Would.REFUSED, Would.MALFORMED)


def _row(letter: Letter, foreseen: Foreseen) -> dict[str, Any]:
    return {
        "dead_letter_id": letter.dead_letter_id,
        "topic": letter.record.topic,
        "partition": letter.record.partition,
        "offset": letter.record.offset,
        "would": foreseen.would.value,
        "why": foreseen.why,
    }


class Redrive:
    """One redrive, from where it was."""

    def __init__(
        self, engine: AsyncEngine, settings: Settings, wanted: Wanted, reason: str, rate_per_s: float | None = None
    ) -> None:
        self._engine, self._settings, self._wanted = engine, settings, wanted
        self._reason, self._rate_per_s = reason, rate_per_s
        self._options = accept_options(settings)
        self.became: Counter[Would] = Counter()
        self.left: list[dict[str, Any]] = []

    async def run(self, seen: Preview, reach: Reach) -> Run:
        """Put back what is left of it; `became` counts what became of each, `left` names some that were not taken.

        Raises PartUnavailableError where the database goes away, or the relay keeps a dead letter: run it again.
        """
        going_on = await self._begin(seen)
        limit = PAGE if self._rate_per_s is None else max(1, min(PAGE, int(self._rate_per_s)))
        pace, count = Pace(self._rate_per_s), 0
        async for page in _Judge(self._engine, self._settings, self._wanted).pages(seen.until, going_on.run_id, limit):
            for letter, _, foreseen in page:
                if foreseen.would is Would.OTHER_TOPIC:
                    self._note(letter, foreseen)
            found = [candidate for _, candidate, _ in page if candidate is not None]
            for batch in _of_one_epoch(found):
                await self._put_back(batch, going_on)
            count += len(page)
            reach(count, seen.total)
            await pace.after(len(page))
        async with transaction(self._engine) as connection:
            await end_run(connection, going_on.run_id)
        return going_on

    async def _begin(self, seen: Preview) -> Run:
        actor = self._settings.actor
        async with transaction(self._engine) as connection:
            wanted = Run(clock.new_id(), actor, self._reason, seen.until)
            begun = await begin_run(connection, self._wanted.digest(), wanted)
        return Run(begun.run_id, actor, self._reason, begun.begun_at)

    async def _put_back(self, batch: Sequence[Candidate], going_on: Run) -> None:
        """Put a batch back; where the database refuses it for its data, halve it until the culprit stands alone."""
        try:
            fates = await self._try_until_free(batch, going_on)
        except DataRefusedError as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._put_back(batch[:middle], going_on)
                await self._put_back(batch[middle:], going_on)
                return
            [one] = batch
            if isinstance(one.judged, Malformed) and one.judged.reason == "QUARANTINED":
                raise
            if one.edited_from is not None:
                self._note(one.letter, Foreseen(Would.QUARANTINED, str(error)))
                return
            quarantined = Malformed("QUARANTINED", str(error))
            await self._put_back([Candidate(one.letter, one.record, quarantined)], going_on)
            return
        for fate in fates:
            self._note(fate.candidate.letter, fate.became)

    def _note(self, letter: Letter, became: Foreseen) -> None:
        self.became[became.would] += 1
        if became.would not in (Would.ACCEPTED, Would.DUPLICATE, Would.DONE) and len(self.left) < TOLD_MAX:
            self.left.append(_row(letter, became))

    async def _try_until_free(self, batch: Sequence[Candidate], going_on: Run) -> list[Fate]:
        for _ in range(WAITS_MAX):
            async with transaction(self._engine) as connection:
                done = await put_back(connection, batch, self._options, going_on)
                if done is not None:
                    fates, now = done
                    await _audit(fates, going_on, now).write(connection)
                    return fates
            await asyncio.sleep(WAIT_S)
        raise PartUnavailableError("a relay keeps these dead letters locked; run it again, it goes on where it was")


def _audit(fates: Sequence[Fate], going_on: Run, now: datetime) -> Facts:
    """Note each edit by itself, and of the rest once for the batch what they were and are."""
    facts = Facts()
    done = [fate for fate in fates if fate.is_changed]
    for fate in done:
        if fate.candidate.edited_from is not None:
            note_edit(facts, fate, going_on, now)
    plain = [fate for fate in done if fate.candidate.edited_from is None]
    if plain:
        before = {str(one.candidate.letter.dead_letter_id): one.candidate.letter.state for one in plain}
        after = {str(one.candidate.letter.dead_letter_id): one.became.would.value for one in plain}
        told = {"run_id": str(going_on.run_id), "became": after}
        subject = str(plain[0].candidate.letter.dead_letter_id) if len(plain) == 1 else f"{len(plain)} dead letters"
        action = Action(going_on.actor, "dead-letters.redrive", going_on.reason, subject, {"states": before}, told)
        note(facts, clock.new_id(), action, now)
    return facts


def _of_one_epoch(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Cut a page where a partition's epoch changes: a batch has one epoch per partition."""
    return [list(some) for _, some in groupby(candidates, lambda one: one.letter.place[:2])]
