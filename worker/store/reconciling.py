"""What `reconcile` reads of one account: commands with their outcomes, numbers and doubts, and the outcomes' sequence. Reads only."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.books import Ours
from worker.store.engine import sql

COMMANDS_AT_ONCE: Final = 2_000
FAULTS_MAX: Final = 1_000
_OURS: Final = """
    c.command_id, c.command_type, c.position, c.state, c.payload, coalesce(c.first_sent_at, c.accepted_at) AS at,
    c.finished_at,
    coalesce((SELECT n.number FROM numbers n WHERE n.command_id = c.command_id
              ORDER BY n.number LIMIT 1),
             i.result->>'serial_num', i.result->>'order_id', i.result->>'adjust_no') AS number,
    d.reason AS doubt, coalesce(d.is_expiry, false) AS expiry,
    ARRAY(SELECT o.type FROM outcomes o WHERE o.command_id = c.command_id
          AND o.type IN ('command.succeeded', 'command.rejected', 'command.corrected') ORDER BY o.account_seq) AS told
"""
_FROM: Final = """
    FROM commands c LEFT JOIN command_ids i USING (command_id)
    LEFT JOIN LATERAL (
        SELECT d.reason, d.is_expiry FROM doubts d WHERE d.command_id = c.command_id ORDER BY d.is_expiry LIMIT 1
    ) d ON true
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One outcome that is not as it should be: not published, after a gap, or of a command that is not there."""

    account_seq: int
    command_id: UUID
    type: str
    recorded_at: datetime
    unpublished: bool
    set_aside: str | None
    after: int | None  # the account_seq before it, where that is not the one before
    unknown: bool


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a number of the brokerage is."""

    account_no: str
    command_id: UUID
    command_type: str | None
    state: str | None
    number: str | None


async def read_now(connection: AsyncConnection) -> datetime:
    """Read the database's clock."""
    found: datetime = (await connection.execute(sql("SELECT now()"))).scalar_one()
    return found


async def list_accounts(connection: AsyncConnection, *, after: str, limit: int) -> list[str]:
    """List accounts that ever had a command, in sequence."""
    statement = sql("SELECT account_no FROM lanes WHERE account_no > :after ORDER BY account_no LIMIT :limit")
    return list((await connection.execute(statement, {"after": after, "limit": limit})).scalars())


async def count_accounts(connection: AsyncConnection) -> int:
    """Count them."""
    return int((await connection.execute(sql("SELECT count(*) FROM lanes"))).scalar_one())


async def read_between(
    connection: AsyncConnection, account_no: str, start: datetime, end: datetime, *, after: int
) -> list[Ours]:
    """Read the account's commands that were first sent, or if never sent accepted, in [start, end); a page by position."""
    statement = sql(f"""
        SELECT {_OURS} {_FROM}
        WHERE c.account_no = :account_no AND c.position > :after
          AND coalesce(c.first_sent_at, c.accepted_at) >= :start AND coalesce(c.first_sent_at, c.accepted_at) < :end
        ORDER BY c.position LIMIT :limit
    """)
    given = {"account_no": account_no, "after": after, "start": start, "end": end, "limit": COMMANDS_AT_ONCE}
    return [_ours(row) for row in (await connection.execute(statement, given)).mappings()]


async def read_made(
    connection: AsyncConnection, account_no: str, command_ids: Collection[UUID], kind: str, numbers: Collection[str]
) -> list[Ours]:
    """Read the account's commands with these ids, and those that made these numbers."""
    if not command_ids and not numbers:
        return []
    statement = sql(f"""
        SELECT {_OURS} {_FROM}
        WHERE c.account_no = :account_no AND c.command_id IN (
            SELECT unnest(CAST(:ids AS uuid[]))
            UNION SELECT n.command_id FROM numbers n WHERE n.kind = :kind AND n.number = ANY(:numbers)
        ) ORDER BY c.position
    """)
    given = {"account_no": account_no, "ids": list(command_ids), "kind": kind, "numbers": list(numbers)}
    return [_ours(row) for row in (await connection.execute(statement, given)).mappings()]


async def read_referring(
    connection: AsyncConnection,
    account_no: str,
    command_types: Sequence[str],
    reference: tuple[str, str],
    command_ids: Collection[UUID],
    numbers: Collection[str],
) -> list[Ours]:
    """Read the account's commands of these types that refer to these; `reference` is (member, name of the number)."""
    if not command_ids and not numbers:
        return []
    statement = sql(f"""
        SELECT {_OURS} {_FROM}
        WHERE c.account_no = :account_no AND c.command_type = ANY(:types)
          AND (c.payload->CAST(:member AS text)->>'command_id' = ANY(:ids)
               OR c.payload->CAST(:member AS text)->>CAST(:number AS text) = ANY(:numbers))
        ORDER BY c.position
    """)
    given = {
        "account_no": account_no,
        "types": list(command_types),
        "member": reference[0],
        "number": reference[1],
        "ids": [str(one) for one in command_ids],
        "numbers": list(numbers),
    }
    return [_ours(row) for row in (await connection.execute(statement, given)).mappings()]


async def read_owners(connection: AsyncConnection, kind: str, numbers: Collection[str]) -> dict[str, Owner]:
    """Read whose these numbers are, whatever the account."""
    statement = sql("""
        SELECT n.number, n.account_no, n.command_id, coalesce(c.command_type, i.command_type) AS command_type,
               coalesce(c.state, i.verdict) AS state
        FROM numbers n LEFT JOIN command_ids i USING (command_id) LEFT JOIN commands c USING (command_id)
        WHERE n.kind = :kind AND n.number = ANY(:numbers)
    """)
    rows = (await connection.execute(statement, {"kind": kind, "numbers": list(numbers)})).mappings()
    return {row["number"]: _owner(row) for row in rows}


async def read_tagged(connection: AsyncConnection, command_ids: Collection[UUID]) -> dict[UUID, Owner]:
    """Read what the commands with these ids are, whatever the account."""
    statement = sql("""
        SELECT i.command_id, i.account_no, coalesce(c.command_type, i.command_type) AS command_type,
               coalesce(c.state, i.verdict) AS state,
               (SELECT min(n.number) FROM numbers n WHERE n.command_id = i.command_id) AS number
        FROM command_ids i LEFT JOIN commands c USING (command_id) WHERE i.command_id = ANY(:ids)
    """)
    rows = (await connection.execute(statement, {"ids": list(command_ids)})).mappings()
    return {row["command_id"]: _owner(row) for row in rows}


async def count_outcomes(connection: AsyncConnection, account_no: str, start: datetime, end: datetime) -> int:
    """Count the account's outcomes recorded in [start, end)."""
    statement = sql("""
        SELECT count(*) FROM outcomes
        WHERE account_no = :account_no AND recorded_at >= :start AND recorded_at < :end
    """)
    given = {"account_no": account_no, "start": start, "end": end}
    return int((await connection.execute(statement, given)).scalar_one())


async def read_faults(connection: AsyncConnection, account_no: str, start: datetime, end: datetime) -> list[Fault]:
    """Read the outcomes recorded in [start, end) that are not as they should be, the first so many.

    A refusal by validation has an id and no command; a duplicate, a conflict and an end have those of the first.
    """
    statement = sql("""
        SELECT * FROM (
            SELECT o.account_seq, o.command_id, o.type, o.recorded_at, s.event_id IS NULL AS unpublished,
                   b.set_aside_reason AS set_aside,
                   CASE WHEN p.account_seq IS DISTINCT FROM o.account_seq - 1 AND o.account_seq > 1
                             -- an account's oldest were pruned without a gap: none is before the first that is left
                             AND (p.account_seq IS NOT NULL OR NOT EXISTS (SELECT FROM prunings WHERE what = 'outcomes'))
                        THEN coalesce(p.account_seq, 0) END AS after,
                   i.command_id IS NULL OR (c.command_id IS NULL AND i.pruned_at IS NULL AND o.type NOT IN (
                       'command.rejected', 'command.duplicate', 'command.conflicted')) AS unknown
            FROM outcomes o
            LEFT JOIN LATERAL (
                SELECT p.account_seq FROM outcomes p WHERE p.account_no = o.account_no AND p.account_seq < o.account_seq
                ORDER BY p.account_seq DESC LIMIT 1
            ) p ON true
            LEFT JOIN command_ids i ON i.command_id = o.command_id
            LEFT JOIN commands c ON c.command_id = o.command_id
            LEFT JOIN publications s ON s.event_id = o.event_id
            LEFT JOIN outbox b ON b.kind = 'outcome' AND b.ref_id = o.event_id AND s.event_id IS NULL
            WHERE o.account_no = :account_no AND o.recorded_at >= :start AND o.recorded_at < :end
        ) looked WHERE unpublished OR after IS NOT NULL OR unknown ORDER BY account_seq LIMIT :limit
    """)
    given = {"account_no": account_no, "start": start, "end": end, "limit": FAULTS_MAX}
    return [Fault(**row) for row in (await connection.execute(statement, given)).mappings()]


async def read_last_seq(connection: AsyncConnection, account_no: str) -> tuple[int, int]:
    """Read the account_seq that the lane gave last, and the highest that an outcome has."""
    statement = sql("""
        SELECT l.account_seq, coalesce((SELECT max(o.account_seq) FROM outcomes o WHERE o.account_no = l.account_no), 0)
        FROM lanes l WHERE l.account_no = :account_no
    """)
    row = (await connection.execute(statement, {"account_no": account_no})).one_or_none()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


async def read_audit_value(connection: AsyncConnection, audit_id: UUID) -> bytes | None:
    """Read what the audit has under that id, as it was published."""
    statement = sql("SELECT value FROM audit WHERE audit_id = :id")
    found: Any = (await connection.execute(statement, {"id": audit_id})).scalar_one_or_none()
    return None if found is None else bytes(found)


def _ours(row: RowMapping) -> Ours:
    given: dict[str, Any] = {**row, "told": tuple(row["told"])}
    return Ours(**given)


def _owner(row: RowMapping) -> Owner:
    return Owner(row["account_no"], row["command_id"], row["command_type"], row["state"], row["number"])
