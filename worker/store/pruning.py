"""What is old and done, taken away in small database transactions.

Long tables are walked once, page by page, in the sequence in which they lie on the disk: no index over ages is kept on the
path for the sake of this, and a walk begun again passes quickly over what it has cleared. Nothing is taken that is not
finished, or that an answer still to come would be recorded in. A row that somebody has locked is left for the next walk.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.decide import OWNER_SILENT
from worker.ledger.retention import Aged
from worker.store.engine import sql
from worker.store.triage import LOCK as LETTERS_LOCK


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk over one table: `chosen` selects what may go, as `t`, `change` takes it away and returns a row for each."""

    table: str
    chosen: str
    change: str
    lock: str | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """Up to what age something was taken away, when last, and how many rows in all."""

    before_at: datetime
    pruned_at: datetime
    count: int


# A command has ended for good: its state is the verdict that its identity keeps (a corrected one's is not), nothing of it
# waits for anybody, no worker can still report a call of it, its outcomes are with Kafka, its adjustment has ended.
_SETTLED: Final = f"""
    c.finished_at < :before AND c.state = i.verdict
    AND NOT EXISTS (SELECT FROM doubts x WHERE x.command_id = c.command_id)
    AND NOT EXISTS (SELECT FROM parked x WHERE x.command_id = c.command_id)
    AND NOT EXISTS (SELECT FROM watches x WHERE x.command_id = c.command_id)
    AND NOT EXISTS (SELECT FROM timers x WHERE x.command_id = c.command_id)
    AND NOT EXISTS (SELECT FROM attempts x WHERE x.command_id = c.command_id
                    AND (x.known = 'open' OR x.rule = '{OWNER_SILENT}'))
    AND NOT EXISTS (SELECT FROM temp_adjustments x WHERE x.command_id = c.command_id
                    AND (x.ended_at IS NULL OR x.ended_at >= :before))
    AND NOT EXISTS (SELECT FROM outcomes x WHERE x.command_id = c.command_id
                    AND NOT EXISTS (SELECT FROM publications p WHERE p.event_id = x.event_id))
"""
_OF_SETTLED: Final = f"""
    JOIN commands c ON c.command_id = t.command_id JOIN command_ids i ON i.command_id = t.command_id
    WHERE {_SETTLED}
"""
# A dead letter that somebody has looked at or put back, long ago, and that Kafka has.
_SORTED: Final = """
    t.failed_at < :before AND t.published_at IS NOT NULL AND t.state <> 'new'
    AND (t.triaged_at IS NULL OR t.triaged_at < :before)
    AND NOT EXISTS (SELECT FROM redrives x WHERE x.dead_letter_id = t.dead_letter_id AND x.redriven_at >= :before)
"""
_NEW: Final = "t.failed_at < :before AND t.published_at IS NOT NULL AND t.state = 'new'"
_PLACE: Final = 't.topic, t.epoch, t.partition, t."offset"'


def _at(one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in ("topic", "epoch", "partition", '"offset"'))


def _part(name: str) -> str:
    """Write the SQL of one part of a record's digest, as `RawRecord.digest` makes it."""
    return f"coalesce(convert_to(length(r.{name}) || ':', 'UTF8') || r.{name}, '-'::bytea)"


# `digest` first, for what it is made of is gone afterwards; in one UPDATE both are of the row as it was.
_EMPTY_RECORDS: Final = f"""
    UPDATE records r SET digest = sha256({_part("key")} || {_part("value")}), key = NULL, value = NULL, headers = '',
        redacted_at = now()
    FROM chosen WHERE {_at("r", "chosen")} AND r.redacted_at IS NULL
"""
_EMPTY_LETTERS: Final = f"""
    , records_emptied AS ({_EMPTY_RECORDS}),
    edits_emptied AS (
        UPDATE redrives x SET value = '' FROM chosen WHERE x.dead_letter_id = chosen.dead_letter_id AND x.value IS NOT NULL
    )
    UPDATE dead_letters d SET headers = '' FROM chosen WHERE d.dead_letter_id = chosen.dead_letter_id RETURNING 1
"""
_DROP_LETTERS: Final = f"""
    , records_emptied AS ({_EMPTY_RECORDS}),
    redrives_gone AS (DELETE FROM redrives x USING chosen WHERE x.dead_letter_id = chosen.dead_letter_id)
    DELETE FROM dead_letters d USING chosen WHERE d.dead_letter_id = chosen.dead_letter_id RETURNING 1
"""

WALKS: Final[Mapping[Aged, tuple[Walk, ...]]] = {
    Aged.ATTEMPT_BODIES: (
        Walk(
            "attempts",
            f"""SELECT t.command_id, t.attempt_id FROM attempts t {_OF_SETTLED}
                AND t.opened_at < :before AND t.redacted_at IS NULL""",
            """UPDATE attempts a SET body_hash = sha256(a.body), answer_hash = sha256(a.answer), query = NULL, body = NULL,
                   answer = NULL, redacted_at = now()
               FROM chosen WHERE a.command_id = chosen.command_id AND a.attempt_id = chosen.attempt_id RETURNING 1""",
        ),
    ),
    Aged.RECORD_BODIES: (
        Walk(
            "records",
            f"""SELECT {_PLACE} FROM records t JOIN command_ids i ON i.command_id = t.command_id
                WHERE t.read_at < :before AND t.redacted_at IS NULL AND i.verdict IS NOT NULL
                AND NOT EXISTS (SELECT FROM commands x WHERE x.command_id = t.command_id
                                AND (x.finished_at IS NULL OR x.finished_at >= :before))
                AND NOT EXISTS (SELECT FROM temp_adjustments x WHERE x.command_id = t.command_id AND x.ended_at IS NULL)
                AND NOT EXISTS (SELECT FROM dead_letters x WHERE {_at("x", "t")})""",
            f"{_EMPTY_RECORDS} RETURNING 1",
        ),
    ),
    Aged.DEAD_LETTER_BODIES: (
        Walk(
            "dead_letters",
            f"SELECT t.dead_letter_id, {_PLACE} FROM dead_letters t WHERE {_SORTED} AND t.headers <> ''",
            _EMPTY_LETTERS,
            LETTERS_LOCK,
        ),
    ),
    Aged.ATTEMPTS: (
        Walk(
            "attempts",
            f"SELECT t.command_id, t.attempt_id FROM attempts t {_OF_SETTLED} AND t.opened_at < :before",
            """DELETE FROM attempts a USING chosen
               WHERE a.command_id = chosen.command_id AND a.attempt_id = chosen.attempt_id RETURNING 1""",
        ),
        Walk(
            "evidence",
            f"SELECT t.evidence_id FROM evidence t {_OF_SETTLED} AND t.recorded_at < :before",
            "DELETE FROM evidence e USING chosen WHERE e.evidence_id = chosen.evidence_id RETURNING 1",
        ),
    ),
    Aged.COMMANDS: (
        Walk(
            "commands",
            # a temp.adjust that was booked stays: that it has ended already is answered from it
            f"""SELECT t.command_id FROM commands t {_OF_SETTLED}
                AND NOT EXISTS (SELECT FROM temp_adjustments x WHERE x.command_id = t.command_id)""",
            """, marked AS (
                   UPDATE command_ids i SET pruned_at = now() FROM chosen WHERE i.command_id = chosen.command_id
               ), tried AS (DELETE FROM attempts a USING chosen WHERE a.command_id = chosen.command_id),
               said AS (DELETE FROM evidence e USING chosen WHERE e.command_id = chosen.command_id)
               DELETE FROM commands c USING chosen WHERE c.command_id = chosen.command_id RETURNING 1""",
        ),
    ),
    Aged.DEAD_LETTERS: (
        Walk(
            "dead_letters",
            f"SELECT t.dead_letter_id, {_PLACE} FROM dead_letters t WHERE {_SORTED}",
            _DROP_LETTERS,
            LETTERS_LOCK,
        ),
    ),
    Aged.NEW_DEAD_LETTERS: (
        Walk(
            "dead_letters",
            f"SELECT t.dead_letter_id, {_PLACE} FROM dead_letters t WHERE {_NEW}",
            _DROP_LETTERS,
            LETTERS_LOCK,
        ),
    ),
    Aged.REPLAYS: (
        Walk(
            "replay_plans",
            """SELECT t.plan_id FROM replay_plans t WHERE t.planned_at < :before
               AND NOT EXISTS (SELECT FROM replay_runs x WHERE x.plan_id = t.plan_id
                               AND (x.ended_at IS NULL OR x.ended_at >= :before))""",
            """, runs_gone AS (DELETE FROM replay_runs r USING chosen WHERE r.plan_id = chosen.plan_id)
               DELETE FROM replay_plans p USING chosen WHERE p.plan_id = chosen.plan_id RETURNING 1""",
        ),
        Walk(
            "redrive_runs",
            "SELECT t.run_id FROM redrive_runs t WHERE t.ended_at < :before",
            "DELETE FROM redrive_runs r USING chosen WHERE r.run_id = chosen.run_id RETURNING 1",
        ),
    ),
}
_WITHIN: Final = "t.ctid >= CAST(:first AS tid) AND t.ctid < CAST(:end AS tid)"


async def enter(connection: AsyncConnection) -> datetime:
    """Begin a step: keep out of `recover`'s way until its end; returns the database's time.

    Its statements look rows up one by one: a plan that reads a whole table for a few pages of another would be wrong
    however the statistics are.
    """
    await connection.execute(sql("LOCK TABLE offsets IN ROW SHARE MODE"))
    for way in ("enable_hashjoin", "enable_mergejoin"):
        await connection.execute(sql(f"SET LOCAL {way} = off"))
    now: datetime = (await connection.execute(sql("SELECT now()"))).scalar_one()
    return now


async def count_pages(connection: AsyncConnection, table: str) -> int:
    """Count the pages that a table has now."""
    statement = sql("SELECT pg_relation_size(CAST(:table AS regclass)) / current_setting('block_size')::int")
    return int((await connection.execute(statement, {"table": table})).scalar_one())


async def take(connection: AsyncConnection, walk: Walk, before: datetime, pages: tuple[int, int], limit: int) -> int:
    """Take away up to `limit` rows of these pages that are older; fewer than that, and nothing is left there to take."""
    if walk.lock is not None:
        await connection.execute(sql(walk.lock))
    locked = f"{walk.chosen} AND {_WITHIN} LIMIT :limit FOR UPDATE OF t SKIP LOCKED"
    statement = sql(f"WITH chosen AS MATERIALIZED ({locked}) {walk.change}")
    return len((await connection.execute(statement, {**_given(before, pages), "limit": limit})).all())


async def count(connection: AsyncConnection, walk: Walk, before: datetime, pages: tuple[int, int]) -> int:
    """Count the rows of these pages that `take` would take."""
    statement = sql(f"SELECT count(*) FROM ({walk.chosen} AND {_WITHIN}) chosen")
    return int((await connection.execute(statement, _given(before, pages))).scalar_one())


def _given(before: datetime, pages: tuple[int, int]) -> dict[str, object]:
    return {"before": before, "first": f"({pages[0]},0)", "end": f"({pages[1]},0)"}


async def note_pruned(connection: AsyncConnection, what: Aged, before: datetime, count: int) -> None:
    """Note in the database transaction that took them how many rows went, and up to what age."""
    statement = sql("""
        INSERT INTO prunings AS p (what, before_at, pruned_at, count) VALUES (:what, :before, now(), :count)
        ON CONFLICT (what) DO UPDATE SET before_at = greatest(p.before_at, excluded.before_at),
            pruned_at = excluded.pruned_at, count = p.count + excluded.count
    """)
    await connection.execute(statement, {"what": what.value, "before": before, "count": count})


async def read_pruned(connection: AsyncConnection) -> dict[Aged, Pruned]:
    """Read what was pruned and redacted so far."""
    rows = await connection.execute(sql("SELECT what, before_at, pruned_at, count FROM prunings"))
    return {Aged(what): Pruned(*row) for what, *row in rows}


async def read_last_offsets(connection: AsyncConnection) -> dict[int, int]:
    """Read the last offset of each partition that holds an outcome: `recover` goes on behind it, so it stays."""
    await connection.execute(sql("SET LOCAL statement_timeout = '30min'"))
    rows = await connection.execute(sql('SELECT partition, max("offset") FROM publications GROUP BY partition'))
    return {row.partition: row.max for row in rows}


async def shut_out_republishing(connection: AsyncConnection) -> bool:
    """Let no republishing note what it sends until the end of this database transaction; False where one is under way."""
    await connection.execute(sql("LOCK TABLE replay_outcomes IN SHARE MODE"))
    return not (await connection.execute(sql("SELECT EXISTS (SELECT FROM replay_outcomes)"))).scalar_one()


@dataclass(frozen=True, slots=True)
class Told:
    """One outcome of an account, by its place in the account's sequence; whether it must stay."""

    account_no: str
    account_seq: int
    event_id: object
    stays: bool


async def read_oldest(
    connection: AsyncConnection, after: Mapping[str, int], before: datetime, lasts: Mapping[int, int], each: int
) -> list[Told]:
    """Read the oldest outcomes of these accounts, so many of each, from behind a number on.

    The last of an account is left out: it shows that nothing is missing behind it.
    """
    statement = sql("""
        SELECT o.account_no, o.account_seq, o.event_id, NOT coalesce(
            o.recorded_at < :before AND p.published_at < :before AND p."offset" < last."offset" AND i.verdict IS NOT NULL
            AND NOT EXISTS (SELECT FROM temp_adjustments x WHERE x.command_id = o.command_id
                            AND (x.ended_at IS NULL OR x.ended_at >= :before))
            AND NOT EXISTS (SELECT FROM watches x WHERE x.command_id = o.command_id), false) AS stays
        FROM unnest(CAST(:accounts AS text[]), CAST(:seqs AS bigint[])) AS given(account_no, seq)
        JOIN lanes l ON l.account_no = given.account_no
        CROSS JOIN LATERAL (
            SELECT * FROM outcomes o WHERE o.account_no = l.account_no AND o.account_seq > given.seq
              AND o.account_seq < l.account_seq ORDER BY o.account_seq LIMIT :each
        ) o
        LEFT JOIN publications p ON p.event_id = o.event_id
        LEFT JOIN unnest(CAST(:partitions AS int[]), CAST(:offsets AS bigint[])) AS last(partition, "offset")
            ON last.partition = p.partition
        LEFT JOIN command_ids i ON i.command_id = o.command_id
        ORDER BY o.account_no, o.account_seq
    """)
    given = {
        "accounts": list(after),
        "seqs": list(after.values()),
        "before": before,
        "partitions": list(lasts),
        "offsets": list(lasts.values()),
        "each": each,
    }
    return [Told(*row) for row in await connection.execute(statement, given)]


async def drop_outcomes(connection: AsyncConnection, event_ids: Collection[object]) -> int:
    """Delete these outcomes, and where Kafka has them."""
    statement = sql("""
        WITH places AS (DELETE FROM publications WHERE event_id = ANY(:ids))
        DELETE FROM outcomes WHERE event_id = ANY(:ids) RETURNING 1
    """)
    return len((await connection.execute(statement, {"ids": list(event_ids)})).all())


LOCK_NAME: Final = "prune"
STILL_READ_FOR: Final = timedelta(days=1)
"""`reconcile` reads what is around a range, too."""


async def try_alone(connection: AsyncConnection) -> bool:
    """Take the lock of pruning for as long as this connection lives; False where somebody else has it."""
    statement = sql("SELECT pg_try_advisory_lock(hashtext(:name))")
    return bool((await connection.execute(statement, {"name": LOCK_NAME})).scalar_one())
