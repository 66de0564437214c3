"""Sorts dead letters: a person has seen them, or ignores them for a reason. Nothing of the path reads it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.store.audit import Action, note
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.triage import Group, count_states, sort_letters

BATCH = 500
WAITS_MAX = 20
WAIT_S = 0.1


async def preview(engine: AsyncEngine, group: Group, state: str) -> str:
    """Say in one sentence what `sort_out` would do.

    Raises NothingMatchedError where the group is empty, RefusedByGuardError where all of it was put back already.
    """
    counts = await _counts(engine, group)
    if not counts:
        raise NothingMatchedError(f"no dead letter {_named(group)}")
    redriven = counts.get("redriven", 0)
    if redriven == sum(counts.values()):
        raise RefusedByGuardError(f"all {redriven} were redriven; there is nothing to sort")
    changed = sum(counts.values()) - redriven - counts.get(state, 0)
    return f"{changed} dead letters become {state}."


async def sort_out(engine: AsyncEngine, group: Group, state: str, actor: str, reason: str) -> Mapping[str, int]:
    """Give them the state, so many in one database transaction, each with its audit; returns how many were changed.

    `redriven` were put back and stay so, `unknown` are ids that name nothing.
    """
    async with transaction(engine) as connection:
        counts, until = await count_states(connection, group)
    wanted = sum(counts.values()) - counts.get("redriven", 0) - counts.get(state, 0)
    changed = waits = 0
    while changed < wanted and waits < WAITS_MAX:
        rows = await _sort_some(engine, group, state, actor, reason, until)
        changed += len(rows)
        if not rows:  # a relay has them, or another person was quicker
            waits += 1
            await asyncio.sleep(WAIT_S)
    unknown = len(group.ids) - sum(counts.values()) if group.fingerprint is None else 0
    return {"changed": changed, "redriven": counts.get("redriven", 0), "unknown": unknown}


async def _sort_some(
    engine: AsyncEngine, group: Group, state: str, actor: str, reason: str, until: datetime
) -> Sequence[RowMapping]:
    facts = Facts()
    async with transaction(engine) as connection:
        rows = await sort_letters(connection, group, state, actor, reason, until, BATCH)
        if rows:
            note(facts, clock.new_id(), _action(group, state, actor, reason, rows), rows[0]["now"])
            await facts.write(connection)
    return rows


async def _counts(engine: AsyncEngine, group: Group) -> dict[str, int]:
    async with transaction(engine) as connection:
        return (await count_states(connection, group))[0]


def _action(group: Group, state: str, actor: str, reason: str, rows: Sequence[RowMapping]) -> Action:
    before: dict[str, list[UUID]] = {}
    for row in rows:
        before.setdefault(row["state_before"], []).append(row["dead_letter_id"])
    told = {was: [str(one) for one in sorted(ids)] for was, ids in before.items()}
    subject = group.fingerprint or (str(group.ids[0]) if len(group.ids) == 1 else f"{len(rows)} dead letters")
    return Action(actor, f"dead-letters.{state}", reason, subject, told, {"state": state, "count": len(rows)})


def _named(group: Group) -> str:
    if group.fingerprint is not None:
        return f"has the fingerprint {group.fingerprint}"
    return f"has the id {group.ids[0]}" if len(group.ids) == 1 else f"has one of these {len(group.ids)} ids"
