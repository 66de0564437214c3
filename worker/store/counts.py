"""Counts for the gauges, in one statement: each part is read by index or from a small table."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Counted = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Counts:
    """How things stand; ages are in seconds, 0 where there is nothing. `adjustments_without_timer` must be 0.

    `queued` is how many places in lanes are taken from each one's head on: the commands that wait, at most.
    """

    lanes: Counted
    queued: int
    oldest_ready_lane_s: float
    in_doubt: Counted
    doubts_by_age: Counted
    doubts_amount: Counted
    oldest_doubt_s: float
    parked: Counted
    timers_armed: int
    timers_overdue: int
    most_overdue_s: float
    unpublished: int
    oldest_unpublished_s: float
    set_aside: int
    intake_stopped: int
    adjustments_without_timer: int


# what nobody bounds, an upstream's word for a currency, is bounded here: ten codes, and `other`
_COUNTS = text("""
    WITH doubtful AS (
        SELECT d.operation, d.parked_at, now() - d.since_at AS age, CAST(c.payload ->> 'amount' AS numeric) AS amount,
               CASE WHEN c.payload ->> 'currency' ~ '^[A-Z]{3}$' THEN c.payload ->> 'currency' ELSE 'other' END AS unit
        FROM doubts d LEFT JOIN commands c USING (command_id)
    ), units AS (
        SELECT unit FROM doubtful WHERE amount IS NOT NULL AND unit <> 'other'
        GROUP BY unit ORDER BY count(*) DESC, unit LIMIT 10
    ), waiting AS (
        SELECT * FROM doubtful WHERE parked_at IS NULL
    ), by_state AS (
        SELECT state, count(*) AS n, sum(next_position - head_position) AS queued FROM lanes GROUP BY state
    )
    SELECT (SELECT json_agg(json_build_array(state, n)) FROM by_state) AS lanes,
           (SELECT CAST(sum(queued) AS bigint) FROM by_state WHERE state <> 'idle') AS queued,
           (SELECT extract(epoch FROM now() - min(ready_at)) FROM lanes WHERE state = 'ready') AS oldest_ready_lane_s,
           (SELECT json_agg(json_build_array(operation, n)) FROM (
                SELECT operation, count(*) AS n FROM waiting GROUP BY operation) AS one) AS in_doubt,
           (SELECT json_agg(json_build_array(name, n)) FROM (
                SELECT CASE WHEN age < '1 minute' THEN 'under_1m' WHEN age < '10 minutes' THEN 'under_10m'
                            WHEN age < '1 hour' THEN 'under_1h' ELSE 'over_1h' END AS name, count(*) AS n
                FROM waiting GROUP BY 1) AS one) AS doubts_by_age,
           (SELECT json_agg(json_build_array(operation, unit, amount)) FROM (
                SELECT operation, CASE WHEN unit IN (SELECT unit FROM units) THEN unit ELSE 'other' END AS unit,
                       CAST(sum(amount) AS double precision) AS amount
                FROM doubtful WHERE amount IS NOT NULL GROUP BY 1, 2) AS one) AS doubts_amount,
           (SELECT extract(epoch FROM max(age)) FROM waiting) AS oldest_doubt_s,
           (SELECT json_agg(json_build_array(command_type, n)) FROM (
                SELECT c.command_type, count(*) AS n FROM parked p JOIN commands c USING (command_id) GROUP BY 1) AS one
           ) AS parked,
           (SELECT count(*) FROM timers WHERE due_at > now()) AS timers_armed,
           (SELECT count(*) FROM timers WHERE due_at <= now()) AS timers_overdue,
           (SELECT extract(epoch FROM now() - min(due_at)) FROM timers WHERE due_at <= now()) AS most_overdue_s,
           (SELECT count(*) FROM outbox) AS unpublished,
           (SELECT extract(epoch FROM now() - min(recorded_at)) FROM outbox) AS oldest_unpublished_s,
           (SELECT count(*) FROM outbox WHERE set_aside_reason IS NOT NULL) AS set_aside,
           (SELECT count(*) FROM offsets WHERE stopped_reason IS NOT NULL) AS intake_stopped,
           (SELECT count(*) FROM temp_adjustments a LEFT JOIN timers t USING (command_id)
            WHERE a.ended_at IS NULL AND t.command_id IS NULL) AS adjustments_without_timer
""")


async def read_counts(connection: AsyncConnection) -> Counts:
    """Count lanes and what waits in them, doubts, parked commands, timers, what waits to be published, and where intake is stopped."""
    row = (await connection.execute(_COUNTS)).one()
    return Counts(
        lanes=_counted(row.lanes),
        queued=row.queued or 0,
        oldest_ready_lane_s=_age(row.oldest_ready_lane_s),
        in_doubt=_counted(row.in_doubt),
        doubts_by_age=_counted(row.doubts_by_age),
        doubts_amount=_counted(row.doubts_amount),
        oldest_doubt_s=_age(row.oldest_doubt_s),
        parked=_counted(row.parked),
        timers_armed=row.timers_armed,
        timers_overdue=row.timers_overdue,
        most_overdue_s=_age(row.most_overdue_s),
        unpublished=row.unpublished,
        oldest_unpublished_s=_age(row.oldest_unpublished_s),
        set_aside=row.set_aside,
        intake_stopped=row.intake_stopped,
        adjustments_without_timer=row.adjustments_without_timer,
    )


def _counted(rows: list[list[str | float]] | None) -> dict[tuple[str, ...], float]:
    return {tuple(map(str, names)): float(count) for *names, count in rows or []}


def _age(seconds: object) -> float:
    return 0.0 if seconds is None else max(0.0, float(str(seconds)))
