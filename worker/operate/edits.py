"""A person's edit of a record that was not taken: other bytes, in the record's place, under an id that nothing has used.

What was read stays as it is. The new bytes are kept with the redrive, the audit has both, and an outcome's source names
the place of the record.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.commands import VALUE_BYTES_MAX
from schemas.outcomes import EVENT_NAMESPACE
from worker import clock
from worker.errors import NothingMatchedError
from worker.ledger.commands import Malformed, Refusal
from worker.ledger.redrive import IdUse
from worker.pipeline.check import TopicTypes, check
from worker.store.adoptions import read_now
from worker.store.audit import Action, note
from worker.store.decisions import read_account
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.redrive import FIRST, Candidate, Fate, Letter, Run, Selection, read_letters
from worker.store.shown import text_of


def edited_candidate(
    letter: Letter, value: bytes, topics: TopicTypes, uses: Mapping[UUID, IdUse] | None = None
) -> Candidate:
    """Judge an edit. Its key is its account: a person vouches for what the producer left out or got wrong.

    Where `uses` says that its id is used up, it gets another: always the same for the same dead letter and bytes.
    """
    candidate = _judged(letter, value, topics)
    judged = candidate.judged
    if uses and not isinstance(judged, Malformed) and judged.command_id in uses:
        return _judged(letter, with_id(value, made_id(letter, value)), topics)
    return candidate


def _judged(letter: Letter, value: bytes, topics: TopicTypes) -> Candidate:
    record = letter.record._replace(value=value)
    judged = check(record, topics)
    if isinstance(judged, Refusal):
        record = record._replace(key=judged.account_no.encode())
        judged = check(record, topics)
    return Candidate(letter, record, judged, edited_from=check(letter.record, topics))


def made_id(letter: Letter, value: bytes) -> UUID:
    """Make the new id of an edit."""
    return uuid5(EVENT_NAMESPACE, f"edit {letter.dead_letter_id} {sha256(value).hexdigest()}")


def with_id(value: bytes, command_id: UUID) -> bytes:
    """Return the command under another id; what is no JSON object stays as it is."""
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return value
    if not isinstance(read, dict):
        return value
    return json.dumps(read | {"command_id": str(command_id)}, ensure_ascii=False).encode("utf-8", "replace")


def note_edit(facts: Facts, fate: Fate, going_on: Run, now: datetime) -> None:
    """Note an edit in the audit: what was read and what stands in its place, each with its digest."""
    candidate = fate.candidate
    subject = str(candidate.letter.dead_letter_id)
    before = _told(candidate.letter.record.value) | {"state": candidate.letter.state}
    after = _told(candidate.record.value) | {"run_id": str(going_on.run_id), "became": fate.became.would.value}
    action = Action(going_on.actor, "dead-letters.edit", going_on.reason, subject, before, after)
    note(facts, clock.new_id(), action, now)


def _told(value: bytes | None) -> dict[str, Any]:
    """Return a value's digest, and its text as far as a command may be long."""
    digest = None if value is None else sha256(value).hexdigest()
    return {"sha256": digest, "text": text_of(None if value is None else value[:VALUE_BYTES_MAX])}


async def read_value(engine: AsyncEngine, dead_letter_id: UUID) -> bytes:
    """Read the value to edit, as it was read. Raises NothingMatchedError for an unknown id."""
    async with transaction(engine) as connection:
        now = await read_now(connection)
        selection = Selection((dead_letter_id,))
        found = await read_letters(connection, selection, until=now, run_id=None, after=FIRST, limit=1)
    if not found:
        raise NothingMatchedError(f"no dead letter has the id {dead_letter_id}")
    return found[0].record.value or b""


def id_of(value: bytes) -> UUID | None:
    """Return the command_id of an edit, by a lenient look."""
    try:
        return UUID(json.loads(value)["command_id"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


async def is_used(engine: AsyncEngine, value: bytes) -> UUID | None:
    """Return the command_id of an edit where something has used it already."""
    command_id = id_of(value)
    if command_id is None:
        return None
    async with transaction(engine) as connection:
        return command_id if await read_account(connection, command_id) else None
