"""Pauses and holds, as the path reads them and as people set them. The table is empty when nothing is stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.brakes import ACCOUNT, ALL, DOUBTS, EXPIRE, OPERATION, Brake, Brakes
from worker.store.arrays import written
from worker.store.engine import run

BY_WORKER = "ledger-worker"
_NAMED = "hashtext('brakes'), hashtext(kind || ' ' || subject)"


async def read_brakes(connection: AsyncConnection, accounts: Sequence[str]) -> Brakes:
    """Read what stops calls now, for a round of claims that has these lanes.

    Each is locked by name and shared, so that whoever releases one waits for the lanes which this round puts to rest
    behind it, and finds them. One for which a release waits already is passed over, and nobody waits for it: a row's
    own lock would be shared anew by every claim, past the one that waits.
    """
    statement = f"""
        WITH listed AS MATERIALIZED (
            SELECT kind, subject, reason FROM brakes WHERE kind <> 'account' OR subject = ANY(:accounts)
        )
        SELECT kind, subject, reason FROM listed WHERE pg_try_advisory_xact_lock_shared({_NAMED})
    """
    rows = await run(connection, statement, {"accounts": written("text", accounts)})
    return Brakes.of(Brake(*row) for row in rows)


async def expiries_stopped(connection: AsyncConnection) -> bool:
    """Say whether timers must wait."""
    statement = f"""
        SELECT 1 FROM brakes
        WHERE kind = '{ALL}' OR (kind = '{OPERATION}' AND subject = '{EXPIRE}') LIMIT 1
    """
    return bool(await run(connection, statement, {}))


async def pause_doubtful(connection: AsyncConnection, operations: Sequence[str], doubts_max: int) -> list[Brake]:
    """Pause the operations of which more than `doubts_max` commands are in doubt; returns what was paused now.

    What was in doubt when a person let the operation go on counts no more. The newest are counted by index, and no more of
    them than the limit.
    """
    statement = f"""
        WITH over AS (
            SELECT o.operation FROM unnest(CAST(:operations AS text[])) AS o(operation)
            LEFT JOIN doubts_seen s USING (operation)
            CROSS JOIN LATERAL (
                SELECT count(*) AS doubts FROM (
                    SELECT 1 FROM doubts d WHERE d.operation = o.operation AND NOT d.is_expiry
                        AND d.since_at > coalesce(s.seen_at, '-infinity')
                    ORDER BY d.since_at DESC LIMIT CAST(:doubts_max AS bigint) + 1
                ) still_open
            ) counted
            WHERE counted.doubts > :doubts_max
                AND NOT EXISTS (SELECT 1 FROM brakes b WHERE b.kind = '{DOUBTS}' AND b.subject = o.operation)
        )
        INSERT INTO brakes (kind, subject, set_by, reason)
        SELECT '{DOUBTS}', operation, '{BY_WORKER}',
               format('more than %s of its commands are in doubt (LEDGER_OPEN_DOUBTS_MAX)', CAST(:doubts_max AS bigint))
        FROM over ORDER BY operation ON CONFLICT DO NOTHING RETURNING kind, subject, reason
    """
    given = {"operations": written("text", sorted(operations)), "doubts_max": doubts_max}
    return [Brake(*row) for row in await run(connection, statement, given)]


async def pause_burdened(connection: AsyncConnection, limits: Sequence[tuple[str, str, Decimal]]) -> list[Brake]:
    """Pause the operations of which more than a limit is in doubt, counted as `pause_doubtful` counts; returns these.

    A limit is of an operation and a currency, of `*` (each currency that is not named), or of `quantity`. One statement:
    a person who resumes meanwhile is not undone by what was added up before.
    """
    statement = f"""
        WITH given AS (
            SELECT operation, unit, CAST(size AS numeric) AS size
            FROM unnest(CAST(:operations AS text[]), CAST(:units AS text[]), CAST(:sizes AS text[]))
                AS given(operation, unit, size)
        ), doubted AS (
            SELECT d.operation, w.unit, sum(CAST(w.size AS numeric)) AS total
            FROM (SELECT DISTINCT operation FROM given) o LEFT JOIN doubts_seen s USING (operation)
            JOIN doubts d ON d.operation = o.operation AND NOT d.is_expiry
                AND d.since_at > coalesce(s.seen_at, '-infinity')
            JOIN commands c USING (command_id)
            CROSS JOIN LATERAL (
                VALUES (c.payload ->> 'currency', c.payload ->> 'amount'), ('quantity', c.payload ->> 'quantity')
            ) AS w(unit, size)
            WHERE w.size IS NOT NULL GROUP BY d.operation, w.unit
        )
        INSERT INTO brakes (kind, subject, set_by, reason)
        SELECT DISTINCT ON (d.operation) '{DOUBTS}', d.operation, '{BY_WORKER}',
            format('%s %s of it is in doubt, more than %s (LEDGER_LIMITS, open_doubts)', d.total, d.unit, g.size)
        FROM doubted d JOIN given g ON g.operation = d.operation AND (g.unit = d.unit OR (
            g.unit = '*' AND d.unit <> 'quantity'
            AND NOT EXISTS (SELECT 1 FROM given n WHERE n.operation = d.operation AND n.unit = d.unit)))
        WHERE d.total > g.size
            AND NOT EXISTS (SELECT 1 FROM brakes b WHERE b.kind = '{DOUBTS}' AND b.subject = d.operation)
        ORDER BY d.operation, d.unit ON CONFLICT DO NOTHING RETURNING kind, subject, reason
    """
    given = {
        "operations": written("text", [operation for operation, _, _ in limits]),
        "units": written("text", [unit for _, unit, _ in limits]),
        "sizes": written("text", [str(size) for _, _, size in limits]),
    }
    return [Brake(*row) for row in await run(connection, statement, given)]


@dataclass(frozen=True, slots=True)
class Kept:
    """A brake as it is stored: who set it, when."""

    kind: str
    subject: str
    reason: str
    set_at: datetime
    set_by: str

    def brake(self) -> Brake:
        """Return what of it concerns the path."""
        return Brake(self.kind, self.subject, self.reason)


_KEPT = "kind, subject, reason, set_at, set_by"


async def read_pauses(connection: AsyncConnection) -> list[Kept]:
    """Read every pause of everything or of an operation, the oldest first; there are a handful at most."""
    statement = text(f"SELECT {_KEPT} FROM brakes WHERE kind <> '{ACCOUNT}' ORDER BY set_at, subject")
    return [Kept(*row) for row in await connection.execute(statement)]


async def read_brake(connection: AsyncConnection, kind: str, subject: str) -> Kept | None:
    """Read one brake."""
    statement = text(f"SELECT {_KEPT} FROM brakes WHERE kind = :kind AND subject = :subject")
    row = (await connection.execute(statement, {"kind": kind, "subject": subject})).one_or_none()
    return None if row is None else Kept(*row)


async def count_holds(connection: AsyncConnection) -> int:
    """Count the accounts that are held."""
    found = await connection.execute(text(f"SELECT count(*) FROM brakes WHERE kind = '{ACCOUNT}'"))
    return int(found.scalar_one())


async def set_brake(connection: AsyncConnection, kind: str, subject: str, actor: str, reason: str) -> bool:
    """Set a brake; False where there is one already, which stays as it is."""
    statement = text("""
        INSERT INTO brakes (kind, subject, set_by, reason) VALUES (:kind, :subject, :actor, :reason)
        ON CONFLICT DO NOTHING RETURNING 1
    """)
    given = {"kind": kind, "subject": subject, "actor": actor, "reason": reason}
    return (await connection.execute(statement, given)).scalar() is not None


async def take_brake(connection: AsyncConnection, kind: str, subject: str) -> Kept | None:
    """Take a brake away, once the claims that have seen it are committed; None where there is none."""
    named = text(
        f"SELECT pg_advisory_xact_lock({_NAMED}) FROM (SELECT CAST(:kind AS text) AS kind, CAST(:subject AS text)) AS b(kind, subject)"
    )
    await connection.execute(named, {"kind": kind, "subject": subject})
    statement = text(f"DELETE FROM brakes WHERE kind = :kind AND subject = :subject RETURNING {_KEPT}")
    row = (await connection.execute(statement, {"kind": kind, "subject": subject})).one_or_none()
    return None if row is None else Kept(*row)


async def note_doubts_seen(connection: AsyncConnection, operation: str) -> None:
    """Note that a person let an operation go on: what is in doubt by now does not pause it again."""
    statement = text("""
        INSERT INTO doubts_seen (operation, seen_at) VALUES (:operation, now())
        ON CONFLICT (operation) DO UPDATE SET seen_at = excluded.seen_at
    """)
    await connection.execute(statement, {"operation": operation})


async def wake_held(connection: AsyncConnection, mark: str, account_no: str | None = None) -> int:
    """Make the lanes ready that rest behind a brake, by the begin of their hold reason; returns how many.

    A lane that is leased or ready for an expiry meanwhile is not held afterwards. Locked in the sequence of all.
    """
    statement = text("""
        WITH resting AS (
            SELECT account_no FROM lanes
            WHERE starts_with(hold_reason, :mark) AND (CAST(:account_no AS text) IS NULL OR account_no = :account_no)
            ORDER BY account_no FOR UPDATE
        )
        UPDATE lanes l SET state = CASE l.state WHEN 'held' THEN 'ready' ELSE l.state END,
            ready_at = CASE l.state WHEN 'held' THEN now() ELSE l.ready_at END, wake_at = NULL, hold_reason = NULL
        FROM resting WHERE l.account_no = resting.account_no RETURNING 1
    """)
    return len((await connection.execute(statement, {"mark": mark, "account_no": account_no})).all())


async def count_held(connection: AsyncConnection, mark: str) -> int:
    """Count the lanes that rest behind a brake."""
    statement = text("SELECT count(*) FROM lanes WHERE starts_with(hold_reason, :mark)")
    return int((await connection.execute(statement, {"mark": mark})).scalar_one())


async def count_due_expiries(connection: AsyncConnection) -> Mapping[str, Any]:
    """Count the expiries that are due now, and within the next hour."""
    statement = text("""
        SELECT count(*) FILTER (WHERE wake_at <= now() OR state = 'due') AS now,
               count(*) AS within_the_hour
        FROM timers WHERE kind = 'expire' AND (wake_at <= now() + interval '1 hour' OR state = 'due')
    """)
    return dict((await connection.execute(statement)).mappings().one())
