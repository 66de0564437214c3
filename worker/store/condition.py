"""How the database and what is in it are, for `doctor`: each number is read by index or from a small table."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Server:
    """What Postgres says of itself; `now` is its clock at the moment of answering."""

    now: datetime
    version: str
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    in_recovery: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """How things stand; ages are in seconds, 0 where there is nothing."""

    unpublished: int
    oldest_unpublished_s: float
    set_aside: int
    doubts: int
    oldest_doubt_s: float
    parked: int
    timers_overdue: int
    most_overdue_s: float
    stopped: list[str]
    workers: int
    lanes_ready: int


@dataclass(frozen=True, slots=True)
class AuditCondition:
    """Where the chain of the audit ends, by its head and by its rows, and what of it is not published yet."""

    head_seq: int
    last_seq: int
    unpublished: int
    oldest_unpublished_s: float


async def read_server(connection: AsyncConnection) -> Server:
    """Read the server's clock and what makes its commits last."""
    statement = text("""
        SELECT clock_timestamp() AS now, current_setting('server_version') AS version, current_setting('fsync') AS fsync,
               current_setting('full_page_writes') AS full_page_writes,
               current_setting('synchronous_commit') AS synchronous_commit, pg_is_in_recovery() AS in_recovery
    """)
    return Server(*(await connection.execute(statement)).one())


async def read_condition(connection: AsyncConnection) -> Condition:
    """Read what waits to be published, what is in doubt or parked, which timers are late, where intake is stopped."""
    statement = text("""
        SELECT (SELECT count(*) FROM outbox) AS unpublished,
               (SELECT coalesce(extract(epoch FROM now() - min(recorded_at)), 0) FROM outbox) AS oldest_unpublished_s,
               (SELECT count(*) FROM outbox WHERE set_aside_reason IS NOT NULL) AS set_aside,
               (SELECT count(*) FROM doubts) AS doubts,
               (SELECT coalesce(extract(epoch FROM now() - min(since_at)), 0) FROM doubts) AS oldest_doubt_s,
               (SELECT count(*) FROM parked) AS parked,
               (SELECT count(*) FROM timers WHERE due_at <= now()) AS timers_overdue,
               (SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0) FROM timers WHERE due_at <= now())
                   AS most_overdue_s,
               (SELECT coalesce(array_agg(format('%s[%s]: %s', topic, partition, stopped_reason)
                                          ORDER BY topic, partition), '{}')
                FROM offsets WHERE stopped_reason IS NOT NULL) AS stopped,
               (SELECT count(*) FROM (
                    SELECT owner FROM relay_shards WHERE lease_until >= now()
                    UNION SELECT owner FROM lanes WHERE state = 'leased' AND lease_until >= now()) AS living) AS workers,
               (SELECT count(*) FROM lanes WHERE state = 'ready') AS lanes_ready
    """)
    row = (await connection.execute(statement)).one()
    return Condition(
        row.unpublished,
        float(row.oldest_unpublished_s),
        row.set_aside,
        row.doubts,
        float(row.oldest_doubt_s),
        row.parked,
        row.timers_overdue,
        float(row.most_overdue_s),
        list(row.stopped),
        row.workers,
        row.lanes_ready,
    )


async def read_audit_condition(connection: AsyncConnection) -> AuditCondition:
    """Read where the chain of the audit ends and what of it waits for the relay."""
    statement = text("""
        SELECT (SELECT audit_seq FROM audit_head) AS head_seq, (SELECT coalesce(max(audit_seq), 0) FROM audit) AS last_seq,
               count(*) AS unpublished, coalesce(extract(epoch FROM now() - min(recorded_at)), 0) AS oldest_s
        FROM outbox WHERE kind = 'audit'
    """)
    row = (await connection.execute(statement)).one()
    return AuditCondition(row.head_seq or 0, row.last_seq, row.unpublished, float(row.oldest_s))


async def read_breaches(connection: AsyncConnection, late_s: float) -> dict[str, int]:
    """Count what must not be, by name; a lane counts as late `late_s` seconds after what it waits for."""
    statement = text("""
        SELECT (SELECT count(*) FROM temp_adjustments a LEFT JOIN timers t USING (command_id)
                WHERE a.ended_at IS NULL AND t.command_id IS NULL) AS "open adjustments without a timer",
               (SELECT count(*) FROM timers t JOIN temp_adjustments a USING (command_id)
                WHERE a.ended_at IS NOT NULL) AS "timers of ended adjustments",
               (SELECT count(*) FROM lanes WHERE state = 'leased' AND lease_until < now() - :late)
                   AS "lanes leased past their lease",
               (SELECT count(*) FROM lanes WHERE state = 'ready' AND ready_at < now() - :late)
                   AS "lanes ready and not taken",
               (SELECT count(*) FROM lanes WHERE state = 'held' AND wake_at < now() - :late)
                   AS "lanes held past their time",
               (SELECT count(*) FROM lanes l WHERE l.state = 'idle' AND EXISTS (
                    SELECT 1 FROM commands c WHERE c.account_no = l.account_no AND c.position >= l.head_position
                      AND c.state IN ('queued', 'in_doubt'))) AS "idle lanes in which a command waits",
               (SELECT count(*) FROM lanes l WHERE l.state <> 'leased' AND EXISTS (
                    SELECT 1 FROM commands c WHERE c.account_no = l.account_no AND c.position >= l.head_position
                      AND c.state = 'sending')) AS "commands sending in lanes that nobody holds",
               (SELECT count(*) FROM parked p JOIN commands c USING (command_id) WHERE c.state <> 'parked')
                   AS "parked rows of commands that are not parked",
               (SELECT count(*) FROM doubts d JOIN commands c USING (command_id)
                WHERE NOT d.is_expiry AND c.state IN ('succeeded', 'rejected')) AS "doubts of finished commands"
    """)
    row = (await connection.execute(statement, {"late": timedelta(seconds=late_s)})).mappings().one()
    return {str(name): int(count) for name, count in row.items()}
