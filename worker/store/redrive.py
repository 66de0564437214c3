"""Puts dead letters back into intake, in the sequence of their places; no offset is read or moved.

Locks: one advisory lock before all, so that of two redrives the second waits; then lanes, the dead letters with their
records, ids. A dead letter that the relay has locked is not waited for: two that wait for each other would both stop.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from schemas.dead_letters import ORIGINAL_TIMESTAMP
from worker.ledger.commands import Malformed
from worker.ledger.records import RawRecord
from worker.ledger.redrive import BACK, TAKEN, Foreseen, IdUse, Judged, Would, foresee
from worker.store.arrays import arrays
from worker.store.blobs import unpack_headers
from worker.store.engine import Part, from_arrays, insert, run, sql
from worker.store.facts import INSERTS
from worker.store.feed import place_of
from worker.store.forgotten import read_forgotten_redrives
from worker.store.inbox import Inbox, Options, lock_accounts
from worker.store.triage import LOCK

Place = tuple[str, int, int, int]
"""Topic, epoch, partition and offset of a record; dead letters are put back in this sequence."""
USED_AN_ID = ("refused", "conflict")
FIRST: Place = ("", 0, -1, -1)
RECORD_CHANGE = {
    "topic": "text",
    "epoch": "int",
    "partition": "int",
    "offset": "bigint",
    "disposition": "text",
    "command_id": "uuid",
}
REDRIVE_COLUMNS = {
    "dead_letter_id": "uuid",
    "number": "int",
    "run_id": "uuid",
    "redriven_at": "timestamptz",
    "actor": "text",
    "reason": "text",
    "disposition": "text",
    "message": "text",
    "command_id": "uuid",
    "value": "bytea",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: by id, of one fingerprint, or from a partition's offset to another, both included.

    A group or range leaves out those that were put back or are ignored; an id is an id.
    """

    ids: tuple[UUID, ...] = ()
    fingerprint: str | None = None
    topic: str | None = None
    partition: int = 0
    from_offset: int = 0
    to_offset: int = 0

    @property
    def condition(self) -> str:
        """Write the SQL that chooses them."""
        open_ = "d.state IN ('new', 'seen') AND d.failed_at <= :until"
        if self.fingerprint is not None:
            return f"d.fingerprint = :fingerprint AND {open_}"
        if self.topic is not None:
            within = 'd."offset" BETWEEN :from_offset AND :to_offset'
            return f"d.topic = :topic AND d.partition = :partition AND {within} AND {open_}"
        return "d.dead_letter_id = ANY(:ids) AND CAST(:until AS timestamptz) IS NOT NULL"

    @property
    def given(self) -> dict[str, Any]:
        """Return the parameters of `condition`, save `until`."""
        if self.fingerprint is not None:
            return {"fingerprint": self.fingerprint}
        if self.topic is not None:
            names = ("topic", "partition", "from_offset", "to_offset")
            return {name: getattr(self, name) for name in names}
        return {"ids": list(self.ids)}


@dataclass(frozen=True, slots=True)
class Run:
    """A redrive that a person began, or goes on with."""

    run_id: UUID
    actor: str
    reason: str
    begun_at: datetime


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter with its record as it was read."""

    dead_letter_id: UUID
    epoch: int
    record: RawRecord
    reason: str
    state: str
    disposition: str
    redrive_count: int
    is_done: bool
    redacted_at: datetime | None

    @property
    def place(self) -> Place:
        """Say where its record lies."""
        return self.record.topic, self.epoch, self.record.partition, self.record.offset


@dataclass(frozen=True, slots=True)
class Candidate:
    """A dead letter to put back: its record, or that with the bytes that a person gave it, and its judgement.

    `edited_from` is the judgement of what was read, where it was edited.
    """

    letter: Letter
    record: RawRecord
    judged: Judged
    edited_from: Judged | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one; its letter is as it was before. `is_changed` is false where it was left as it is."""

    candidate: Candidate
    became: Foreseen
    is_changed: bool


@dataclass(slots=True)
class PutBack(Inbox):
    """An inbox for records that were not taken: their bytes stay, what they are now is written anew."""

    counts: Mapping[tuple[str, int, int], int] = field(default_factory=dict)
    keeping: Collection[tuple[str, int, int]] = ()
    letters: list[dict[str, Any]] = field(default_factory=list)

    @override
    def _redrive_count(self, record: RawRecord) -> int:
        return self.counts[record.topic, record.partition, record.offset]

    @override
    async def _write_records(self, connection: AsyncConnection) -> list[Part]:
        """Write what they are now, save of those that are `keeping` the id which they used before they were edited."""
        self.letters = self.facts.new.pop("dead_letters", [])
        changed = [r for r in self.records if (r["topic"], r["partition"], r["offset"]) not in self.keeping]
        if changed:
            statement = f"""
                UPDATE records r SET disposition = given.disposition, command_id = given.command_id
                FROM {from_arrays(RECORD_CHANGE)} WHERE r.topic = given.topic AND r.epoch = given.epoch
                    AND r.partition = given.partition AND r."offset" = given."offset"
            """
            await run(connection, statement, arrays(RECORD_CHANGE, changed))
        return []


async def read_letters(
    connection: AsyncConnection, selection: Selection, *, until: datetime, run_id: UUID | None, after: Place, limit: int
) -> list[Letter]:
    """Read the next dead letters of a selection in the sequence of their places; `until` bounds groups and ranges."""
    statement = sql(f"""
        SELECT d.dead_letter_id, d.topic, d.epoch, d.partition, d."offset", d.reason, d.state, d.redrive_count,
               d.headers AS told, r.key, r.value, r.headers, r.disposition, r.redacted_at,
               EXISTS (SELECT 1 FROM redrives x WHERE x.run_id = :run_id AND x.dead_letter_id = d.dead_letter_id) AS is_done
        FROM dead_letters d JOIN records r ON r.topic = d.topic AND r.epoch = d.epoch AND r.partition = d.partition
            AND r."offset" = d."offset"
        WHERE {selection.condition}
          AND (d.topic, d.epoch, d.partition, d."offset") > (:topic_after, :epoch_after, :partition_after, :offset_after)
        ORDER BY d.topic, d.epoch, d.partition, d."offset" LIMIT :limit
    """)
    names = ("topic_after", "epoch_after", "partition_after", "offset_after")
    given = {
        **selection.given,
        "until": until,
        "run_id": run_id,
        "limit": limit,
        **dict(zip(names, after, strict=True)),
    }
    return [_letter(row) for row in (await connection.execute(statement, given)).mappings()]


def _letter(row: RowMapping) -> Letter:
    told = dict(unpack_headers(bytes(row["told"])))  # ours come last; of a redacted one there are none
    record = RawRecord(
        row["topic"],
        row["partition"],
        row["offset"],
        int((told[ORIGINAL_TIMESTAMP.encode()] if row["redacted_at"] is None else None) or b"0"),
        None if row["key"] is None else bytes(row["key"]),
        None if row["value"] is None else bytes(row["value"]),
        unpack_headers(bytes(row["headers"])),
    )
    names = ("dead_letter_id", "epoch", "reason", "state", "disposition", "redrive_count", "is_done", "redacted_at")
    return Letter(record=record, **{name: row[name] for name in names})


async def read_uses(connection: AsyncConnection, batch: Sequence[Candidate]) -> dict[UUID, IdUse]:
    """Read what the ids of these stand for already."""
    judged = [one for candidate in batch for one in (candidate.judged, candidate.edited_from)]
    ids = sorted({one.command_id for one in judged if one is not None and not isinstance(one, Malformed)})
    if not ids:
        return {}
    statement = sql(
        "SELECT command_id, account_no, content_hash, verdict FROM command_ids WHERE command_id = ANY(:ids)"
    )
    rows = await connection.execute(statement, {"ids": ids})
    return {row.command_id: IdUse(row.account_no, bytes(row.content_hash), row.verdict) for row in rows}


def foresee_one(candidate: Candidate, uses: Mapping[UUID, IdUse], forgotten: Mapping[UUID, str]) -> Foreseen:
    """Say what would become of a candidate now; `forgotten` are the dead letters put back before a restore, with by whom."""
    letter = candidate.letter
    if letter.is_done:
        return Foreseen(Would.DONE, "this redrive has done it")
    if letter.redacted_at is not None:
        return Foreseen(
            Would.REDACTED, f"its bytes were redacted on {letter.redacted_at:%Y-%m-%d}; only a hash is kept"
        )
    taken = letter.state == "redriven" or letter.disposition in TAKEN
    return foresee(
        taken=taken,
        judged=candidate.judged,
        uses=uses,
        edited_from=candidate.edited_from,
        forgotten=forgotten.get(letter.dead_letter_id),
    )


async def put_back(
    connection: AsyncConnection, batch: Sequence[Candidate], options: Options, going_on: Run
) -> tuple[list[Fate], datetime] | None:
    """Put dead letters back as intake would take their records, all of one epoch per partition.

    Returns what became of each; None, and nothing was changed, where the relay has one of them: try again in a moment.
    What the guard refuses, and what this run has done already, is left as it is.
    """
    await connection.execute(sql(LOCK))
    lanes, now = await lock_accounts(connection, [(one.record, one.judged) for one in batch])
    locked = await _lock_letters(connection, batch, going_on.run_id)
    if len(locked) < len(batch):
        return None
    batch = [replace(one, letter=replace(one.letter, **locked[one.letter.dead_letter_id])) for one in batch]
    uses = await read_uses(connection, batch)
    forgotten = await read_forgotten_redrives(connection, locked)
    foreseen = [foresee_one(one, uses, forgotten) for one in batch]
    fed = [one for one, found in zip(batch, foreseen, strict=True) if _is_fed(one, found.would)]
    inbox = PutBack(
        options,
        now,
        lanes,
        {(one.record.topic, one.record.partition): one.letter.epoch for one in batch},
        counts={place_of(one.record): one.letter.redrive_count + 1 for one in fed},
        keeping={place_of(one.record) for one in fed if one.edited_from and one.letter.disposition in USED_AN_ID},
    )
    await inbox.store(connection, [(one.record, one.judged) for one in fed])
    told = {row["dead_letter_id"]: row for row in inbox.letters}
    became = {
        one.letter.dead_letter_id: _became(row["disposition"], told.get(one.letter.dead_letter_id), one)
        for one, row in zip(fed, inbox.records, strict=True)
    }
    await _write_letters(connection, inbox.letters, [one for one in fed if one.letter.dead_letter_id not in told])
    await insert(connection, "redrives", REDRIVE_COLUMNS, _history(fed, became, going_on, now))
    fates = []
    for one, found in zip(batch, foreseen, strict=True):
        name = one.letter.dead_letter_id
        fates.append(Fate(one, became.get(name, found), name in became))
    return fates, now


def _is_fed(candidate: Candidate, would: Would) -> bool:
    """Whether anything is done to it; an edit that is not right is refused before."""
    return would in (Would.ACCEPTED, Would.DUPLICATE) or (would in BACK and candidate.edited_from is None)


async def _lock_letters(
    connection: AsyncConnection, batch: Sequence[Candidate], run_id: UUID
) -> dict[UUID, dict[str, Any]]:
    """Lock the dead letters and their records and read what they are now; those that the relay has are missing."""
    statement = sql("""
        SELECT d.dead_letter_id, d.state, d.redrive_count, r.disposition, r.redacted_at,
               EXISTS (SELECT 1 FROM redrives x WHERE x.run_id = :run_id AND x.dead_letter_id = d.dead_letter_id) AS is_done
        FROM dead_letters d JOIN records r ON r.topic = d.topic AND r.epoch = d.epoch AND r.partition = d.partition
            AND r."offset" = d."offset"
        WHERE d.dead_letter_id = ANY(:ids)
        ORDER BY d.topic, d.epoch, d.partition, d."offset" FOR UPDATE SKIP LOCKED
    """)
    given = {"ids": [one.letter.dead_letter_id for one in batch], "run_id": run_id}
    rows = [dict(row) for row in (await connection.execute(statement, given)).mappings()]
    return {row.pop("dead_letter_id"): row for row in rows}


def _became(disposition: str, told: Mapping[str, Any] | None, candidate: Candidate) -> Foreseen:
    judged = candidate.judged
    why = told["message"] if told else ("" if isinstance(judged, Malformed) else f"command_id {judged.command_id}")
    return Foreseen(Would(disposition), why)


async def _write_letters(
    connection: AsyncConnection, again: Sequence[Mapping[str, Any]], taken: Sequence[Candidate]
) -> None:
    """Write what is a dead letter again as new, to be published again, and what was taken as redriven."""
    if again:
        columns, _ = INSERTS["dead_letters"]
        changed = [
            "reason",
            "code",
            "field",
            "message",
            "fingerprint",
            "command_id",
            "account_no",
            "failed_at",
            "headers",
        ]
        statement = f"""
            UPDATE dead_letters d SET {", ".join(f"{name} = given.{name}" for name in changed)}, state = 'new',
                redrive_count = d.redrive_count + 1, triaged_at = NULL, triaged_by = NULL, triage_reason = NULL,
                published_at = NULL, published_partition = NULL, published_offset = NULL
            FROM {from_arrays(columns)} WHERE d.dead_letter_id = given.dead_letter_id
        """
        await run(connection, statement, arrays(columns, again))
    if taken:
        statement = """
            UPDATE dead_letters SET state = 'redriven', redrive_count = redrive_count + 1
            WHERE dead_letter_id = ANY(:ids)
        """
        await connection.execute(sql(statement), {"ids": [one.letter.dead_letter_id for one in taken]})


def _history(
    fed: Sequence[Candidate], became: Mapping[UUID, Foreseen], going_on: Run, now: datetime
) -> list[dict[str, Any]]:
    return [
        {
            "dead_letter_id": one.letter.dead_letter_id,
            "number": one.letter.redrive_count + 1,
            "run_id": going_on.run_id,
            "redriven_at": now,
            "actor": going_on.actor,
            "reason": going_on.reason,
            "disposition": became[one.letter.dead_letter_id].would.value,
            "message": became[one.letter.dead_letter_id].why,
            "command_id": None if isinstance(one.judged, Malformed) else one.judged.command_id,
            "value": one.record.value if one.edited_from else None,
        }
        for one in fed
    ]
