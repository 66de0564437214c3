"""Plans of replays and their runs: what was found, how far a run has come, and that only one runs at a time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from worker.errors import RefusedByGuardError
from worker.store.blobs import to_json
from worker.store.engine import connected, sql
from worker.store.shown import Shown, all_shown

FEED = ""
"""In the place of the topic to which outcomes are published: this run feeds."""

# the halves of a lock's number are two columns of pg_locks
_IS_RUNNING = """EXISTS (
    SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (CAST(l.classid AS bigint) << 32) | CAST(l.objid AS bigint) = hashtextextended(CAST(p.plan_id AS text), 0)
)"""
_STATE = f"""CASE WHEN {_IS_RUNNING} THEN 'running'
    WHEN EXISTS (SELECT 1 FROM replay_runs r WHERE r.plan_id = p.plan_id AND r.ended_at IS NULL) THEN 'interrupted'
    WHEN EXISTS (SELECT 1 FROM replay_runs r WHERE r.plan_id = p.plan_id) THEN 'done' ELSE 'planned' END AS state"""


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan as it is stored; `filters`, `ranges` and `classes` are what `replay status` shows."""

    plan_id: UUID
    actor: str
    topic: str
    filters: Mapping[str, Any]
    ids: frozenset[UUID] | None
    ranges: list[dict[str, Any]]
    classes: Mapping[str, Any]
    records: int
    to_feed: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class Run:
    """How far a run has come; `progress` is by partition the next offset, or the last number that was published."""

    progress: dict[str, int]
    counts: dict[str, int]
    ended_at: datetime | None


async def save_plan(connection: AsyncConnection, plan: Plan) -> None:
    """Store a plan."""
    statement = sql("""
        INSERT INTO replay_plans (plan_id, planned_at, actor, topic, filters, ids, ranges, classes, records, to_feed,
                                  forgotten)
        VALUES (:plan_id, now(), :actor, :topic, CAST(:filters AS jsonb), :ids, CAST(:ranges AS jsonb),
                CAST(:classes AS jsonb), :records, :to_feed, :forgotten)
    """)
    given = {
        "plan_id": plan.plan_id,
        "actor": plan.actor,
        "topic": plan.topic,
        "filters": to_json(dict(plan.filters)),
        "ids": None if plan.ids is None else sorted(plan.ids),
        "ranges": to_json(plan.ranges),
        "classes": to_json(dict(plan.classes)),
        "records": plan.records,
        "to_feed": plan.to_feed,
        "forgotten": plan.forgotten,
    }
    await connection.execute(statement, given)


async def read_plan(connection: AsyncConnection, plan_id: UUID) -> Plan | None:
    """Read a plan; None where there is none of this id."""
    statement = sql("""
        SELECT plan_id, actor, topic, filters, ids, ranges, classes, records, to_feed, forgotten
        FROM replay_plans WHERE plan_id = :plan_id
    """)
    row = (await connection.execute(statement, {"plan_id": plan_id})).mappings().one_or_none()
    if row is None:
        return None
    return Plan(**{**row, "ids": None if row["ids"] is None else frozenset(row["ids"])})


async def list_plans(
    connection: AsyncConnection, *, plan_id: UUID | None = None, after: UUID | None = None, limit: int
) -> list[Shown]:
    """List plans, the latest first; of one asked for by its id what was found, too."""
    more = "" if plan_id is None else ", p.filters, p.ranges, p.classes"
    statement = sql(f"""
        SELECT p.plan_id, p.planned_at, p.actor, p.topic, {_STATE}, p.records, p.to_feed, p.forgotten{more}
        FROM replay_plans p
        WHERE (CAST(:plan_id AS uuid) IS NULL OR p.plan_id = :plan_id)
          AND (CAST(:after AS uuid) IS NULL
               OR (p.planned_at, p.plan_id) < (SELECT planned_at, plan_id FROM replay_plans WHERE plan_id = :after))
        ORDER BY p.planned_at DESC, p.plan_id DESC LIMIT :limit
    """)
    given = {"plan_id": plan_id, "after": after, "limit": limit}
    return all_shown((await connection.execute(statement, given)).mappings())


async def list_runs(connection: AsyncConnection, plan_id: UUID) -> list[Shown]:
    """List the runs of a plan."""
    statement = sql(f"""
        SELECT CASE r.to_topic WHEN '{FEED}' THEN 'feed' ELSE 'republish' END AS does, nullif(r.to_topic, '') AS to_topic,
               r.actor, r.reason, r.begun_at, r.ended_at, r.progress, r.counts
        FROM replay_runs r WHERE r.plan_id = :plan_id ORDER BY r.begun_at, r.to_topic
    """)
    return all_shown((await connection.execute(statement, {"plan_id": plan_id})).mappings())


async def read_run(connection: AsyncConnection, plan_id: UUID, to_topic: str) -> Run | None:
    """Read how far a run has come; None where it was never begun."""
    statement = sql("""
        SELECT progress, counts, ended_at FROM replay_runs WHERE plan_id = :plan_id AND to_topic = :to_topic
    """)
    row = (await connection.execute(statement, {"plan_id": plan_id, "to_topic": to_topic})).mappings().one_or_none()
    return None if row is None else Run(**row)


async def begin_run(connection: AsyncConnection, plan_id: UUID, to_topic: str, actor: str, reason: str) -> None:
    """Begin a run, or go on with one that was interrupted; one that has ended begins anew."""
    statement = sql("""
        INSERT INTO replay_runs AS r (plan_id, to_topic, actor, reason, begun_at, progress, counts)
        VALUES (:plan_id, :to_topic, :actor, :reason, now(), '{}', '{}')
        ON CONFLICT (plan_id, to_topic) DO UPDATE SET actor = excluded.actor, reason = excluded.reason, ended_at = NULL,
            progress = CASE WHEN r.ended_at IS NULL THEN r.progress ELSE '{}' END,
            counts = CASE WHEN r.ended_at IS NULL THEN r.counts ELSE '{}' END
    """)
    await connection.execute(statement, {"plan_id": plan_id, "to_topic": to_topic, "actor": actor, "reason": reason})


async def move_run(
    connection: AsyncConnection, plan_id: UUID, to_topic: str, before: Run, after: Run, *, ends: bool = False
) -> None:
    """Note how far a run has come; call it first in the database transaction that does the step.

    Raises RefusedByGuardError where somebody else has moved it on: two never do one step.
    """
    statement = sql("""
        UPDATE replay_runs SET progress = CAST(:after AS jsonb), counts = CAST(:counts AS jsonb),
            ended_at = CASE WHEN :ends THEN now() END
        WHERE plan_id = :plan_id AND to_topic = :to_topic AND ended_at IS NULL AND progress = CAST(:before AS jsonb)
    """)
    given = {"plan_id": plan_id, "to_topic": to_topic, "ends": ends, "counts": to_json(after.counts)}
    given |= {"before": to_json(before.progress), "after": to_json(after.progress)}
    if (await connection.execute(statement, given)).rowcount != 1:
        raise RefusedByGuardError(f"somebody else has moved the run of plan {plan_id} on; this one stops")


@asynccontextmanager
async def only_run(engine: AsyncEngine, plan_id: UUID) -> AsyncIterator[None]:
    """Let nobody else run this plan during the block; a run that is killed lets go with its connection.

    Raises RefusedByGuardError, naming who began it, while another runs it.
    """
    given = {"plan_id": plan_id}
    async with connected(engine) as connection:
        lock = sql("SELECT pg_try_advisory_lock(hashtextextended(CAST(CAST(:plan_id AS uuid) AS text), 0))")
        if not (await connection.execute(lock, given)).scalar_one():
            who = sql("SELECT actor FROM replay_runs WHERE plan_id = :plan_id ORDER BY begun_at DESC LIMIT 1")
            actor = (await connection.execute(who, given)).scalar_one_or_none() or "somebody who is being asked now"
            raise RefusedByGuardError(f"plan {plan_id} is being run by {actor}; see `ledger-worker replay status`")
        yield
