"""What is kept of one command: calls and looks, evidence, outcomes. Of each sort only the first few and the last are read.

However often a command was tried, looked for or sent again: `nth` says which of its sort a row is, from 1, so that what
lies between can be counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.outcomes import OutcomeType
from worker.store.shown import Shown, all_shown, text_of

FIRST: Final = 5
LAST: Final = 20
_OUTCOME = """
    SELECT o.event_id, o.account_no, o.account_seq, o.type, o.command_id, o.recorded_at, p.published_at,
           p.partition AS published_partition, p."offset" AS published_offset, b.set_aside_reason, o.value
    {more}
        LEFT JOIN publications p USING (event_id)
        LEFT JOIN outbox b ON b.kind = 'outcome' AND b.ref_id = o.event_id AND p.event_id IS NULL
            AND b.set_aside_reason IS NOT NULL
"""


def left_out(read: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Count by sort what lies between what was read, given each row's sort and `nth`; a sort without any is not named."""
    found: dict[str, set[int]] = defaultdict(set)
    for sort, nth in read:
        found[sort].add(nth)
    return {sort: max(nths) - len(nths) for sort, nths in found.items() if max(nths) > len(nths)}


def left_out_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count by kind how many attempts, or how much evidence, lies between these."""
    return left_out((row["kind"], row["nth"]) for row in rows)


async def list_attempts(connection: AsyncConnection, command_id: UUID, *, expiry: bool | None = None) -> list[Shown]:
    """List calls and looks for a command, in the sequence in which they began; `expiry` picks one sort of calls.

    Of each kind the first and the last; how many lie between, `left_out_of` tells.
    """
    statement = text("""
        WITH numbered AS (
            SELECT attempt_id, row_number() OVER by_kind AS nth, count(*) OVER (PARTITION BY kind) AS count
            FROM attempts
            WHERE command_id = :command_id AND (CAST(:expiry AS boolean) IS NULL OR (kind = 'expiry') = :expiry)
            WINDOW by_kind AS (PARTITION BY kind ORDER BY opened_at, number, attempt_id)
        ), ends AS MATERIALIZED (SELECT attempt_id, nth FROM numbered WHERE nth <= :first OR nth > count - :last)
        SELECT a.kind, e.nth, a.number, a.operation, a.opened_at, a.send_before_at, a.horizon_at, a.method, a.path, a.query,
               a.body, a.known AS verdict, a.reported_at, a.retry_at, a.duration_ms, a.rule, a.code, a.message, a.numbers,
               a.http_status, a.answer, a.trace_id, a.redacted_at, encode(a.body_hash, 'hex') AS body_hash,
               encode(a.answer_hash, 'hex') AS answer_hash
        FROM ends e JOIN attempts a ON a.command_id = :command_id AND a.attempt_id = e.attempt_id
        ORDER BY a.opened_at, a.kind DESC, a.number
    """)
    rows = all_shown((await connection.execute(statement, _given(command_id, expiry=expiry))).mappings())
    return [row | {"body": text_of(row["body"]), "answer": text_of(row["answer"])} for row in rows]


async def list_evidence(connection: AsyncConnection, command_id: UUID) -> list[Shown]:
    """List what looks and persons said about a command: of each kind the first and the last, as `left_out_of` tells."""
    statement = text("""
        WITH numbered AS (
            SELECT evidence_id, row_number() OVER by_kind AS nth, count(*) OVER (PARTITION BY kind) AS count
            FROM evidence WHERE command_id = :command_id
            WINDOW by_kind AS (PARTITION BY kind ORDER BY recorded_at, evidence_id)
        ), ends AS MATERIALIZED (SELECT evidence_id, nth FROM numbered WHERE nth <= :first OR nth > count - :last)
        SELECT e.kind, n.nth, e.recorded_at, e.actor, e.reason, e.detail
        FROM ends n JOIN evidence e USING (evidence_id) ORDER BY e.recorded_at
    """)
    return all_shown((await connection.execute(statement, _given(command_id))).mappings())


async def list_outcomes(connection: AsyncConnection, command_id: UUID) -> list[Shown]:
    """List a command's outcomes, with where Kafka has them: of each type the first and the last, as `left_out` tells.

    Read by an index that has them by type and time: a command may have been sent again any number of times.
    """
    of_type = "SELECT event_id, recorded_at, account_seq FROM outcomes WHERE command_id = :command_id AND type = k.type"
    more = f"""
        , ends.nth
        FROM unnest(CAST(:types AS text[])) AS k(type)
        CROSS JOIN LATERAL (SELECT count(*) AS count FROM outcomes WHERE command_id = :command_id AND type = k.type) n
        CROSS JOIN LATERAL (
            SELECT event_id, row_number() OVER (ORDER BY recorded_at, account_seq) AS nth
            FROM ({of_type} ORDER BY recorded_at, account_seq LIMIT :first) f
            UNION
            SELECT event_id, n.count + 1 - row_number() OVER (ORDER BY recorded_at DESC, account_seq DESC) AS nth
            FROM ({of_type} ORDER BY recorded_at DESC, account_seq DESC LIMIT :last) l
        ) ends
        JOIN outcomes o USING (event_id)
    """
    statement = text(f"{_OUTCOME.format(more=more)} ORDER BY o.recorded_at, o.account_seq")
    return await _outcomes(connection, statement, _given(command_id, types=list(OutcomeType)))


async def list_last_outcomes(connection: AsyncConnection, account_no: str, limit: int) -> list[Shown]:
    """List an account's last outcomes, the latest first."""
    chosen = "WHERE o.account_no = :account_no ORDER BY o.account_seq DESC LIMIT :limit"
    statement = text(f"{_OUTCOME.format(more='FROM outcomes o')} {chosen}")
    return await _outcomes(connection, statement, {"account_no": account_no, "limit": limit})


async def _outcomes(connection: AsyncConnection, statement: TextClause, given: Mapping[str, Any]) -> list[Shown]:
    rows = all_shown((await connection.execute(statement, given)).mappings())
    return [row | {"value": text_of(row["value"])} for row in rows]


def _given(command_id: UUID, **more: object) -> dict[str, object]:
    return {"command_id": command_id, "first": FIRST, "last": LAST, **more}
