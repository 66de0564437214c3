"""Redrives that were begun: the same selection given again goes on with it, with what the first preview bounded."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.store.engine import sql
from worker.store.redrive import Run

_COLUMNS = "run_id, actor, reason, begun_at"


async def find_run(connection: AsyncConnection, selection: bytes) -> tuple[Run, int] | None:
    """Find the redrive of this selection that has not ended, and how many it has put back."""
    statement = sql(f"""
        SELECT {_COLUMNS}, (SELECT count(*) FROM redrives x WHERE x.run_id = r.run_id) AS done
        FROM redrive_runs r WHERE selection = :selection AND ended_at IS NULL
    """)
    row = (await connection.execute(statement, {"selection": selection})).one_or_none()
    return None if row is None else (Run(*row[:4]), row.done)


async def begin_run(connection: AsyncConnection, selection: bytes, wanted: Run) -> Run:
    """Begin a redrive; where another has begun the same one meanwhile, return that."""
    statement = sql(f"""
        INSERT INTO redrive_runs (run_id, selection, actor, reason, begun_at)
        VALUES (:run_id, :selection, :actor, :reason, :begun_at)
        ON CONFLICT (selection) WHERE ended_at IS NULL DO UPDATE SET selection = excluded.selection
        RETURNING {_COLUMNS}
    """)
    given = {
        "run_id": wanted.run_id,
        "selection": selection,
        "actor": wanted.actor,
        "reason": wanted.reason,
        "begun_at": wanted.begun_at,
    }
    return Run(*(await connection.execute(statement, given)).one())


async def end_run(connection: AsyncConnection, run_id: UUID) -> None:
    """Note that a redrive is done; once more changes nothing."""
    statement = sql("UPDATE redrive_runs SET ended_at = now() WHERE run_id = :run_id AND ended_at IS NULL")
    await connection.execute(statement, {"run_id": run_id})
