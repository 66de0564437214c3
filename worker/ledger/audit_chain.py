"""The audit as a chain: what a row says, how it names the row before it, and where two copies of it differ; pure.

The table and the topic hold the same bytes. Each row has a number and the hash of the row before it in those bytes, so
that a row that was altered, removed or inserted no longer fits its neighbours, and the other copy says what it was.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

from schemas.times import instant
from worker.ledger.strict_json import read_object

TEXTS = ("audit_id", "actor", "action", "reason", "recorded_at")
DEPTH_MAX = 64
JOINS = "audit_joins"
"""In the `after` of a recovery: the ends of chains on which no later row builds, because a database had forgotten them."""


class Side(StrEnum):
    """Which copy."""

    TABLE = "table"
    TOPIC = "topic"


class Fault(StrEnum):
    """What became of a row."""

    ALTERED = "altered"
    REMOVED = "removed"
    INSERTED = "inserted"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Said:
    """What the bytes of a row say; `audit_seq` is 0 for a row from before the chain."""

    audit_id: str
    audit_seq: int
    previous_hash: str
    recorded_at: datetime
    actor: str
    database_role: str
    action: str
    reason: str
    subject: str | None
    joins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A row as one copy has it. `hash` is over its bytes; `at` is the offset at which the topic has it, where known.

    `fault` says what is wrong with the row in itself. Of the table: `waits` in the outbox.
    """

    audit_id: str
    seq: int
    previous: str
    hash: str
    partition: int | None = None
    at: int | None = None
    joins: tuple[str, ...] = ()
    fault: str = ""
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The last row by the table's own account."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not as it was written; `seq` is its number, 0 where it has none."""

    seq: int
    side: Side
    fault: Fault
    audit_id: str | None
    sentence: str


def hashed(value: bytes) -> str:
    """Return the hash of a row's bytes, in hex."""
    return sha256(value).hexdigest()


def read_row(value: bytes | None) -> Said | None:
    """Read the bytes of a row; None where they are not those of one."""
    try:
        said = read_object(value or b"", depth_max=DEPTH_MAX)
        texts = [said[name] for name in TEXTS]
        seq, previous, role = said.get("audit_seq", 0), said.get("previous_hash", ""), said.get("database_role", "")
        subject, after = said.get("subject"), said.get("after")
        if not all(isinstance(text, str) for text in (*texts, previous, role, subject or "")) or type(seq) is not int:
            return None
        audit_id, actor, action, reason, recorded_at = texts
        at = instant(recorded_at)
    except (ValueError, KeyError):
        return None
    joins = after.get(JOINS, ()) if isinstance(after, dict) and action == "recover" else ()
    return Said(audit_id, seq, previous, at, actor, role, action, reason, subject, tuple(map(str, joins)))


def judge(
    table: Sequence[Link],
    topic: Sequence[Link],
    head: Head,
    beginning: str,
    span: Mapping[int, tuple[int, int]],
) -> list[Difference]:
    """Return every row that was altered, removed or inserted, by number; empty where both copies are as written.

    The table was read before the topic, and what was added to it meanwhile afterwards. `span` is what the topic keeps of
    each partition, (start, end); `beginning` the digest of the table's rows from before the chain. Repeats on the topic
    are none.
    """
    return _Judge(table, topic, head, beginning, span).differences()


class _Judge:
    """One comparison."""

    def __init__(
        self,
        table: Sequence[Link],
        topic: Sequence[Link],
        head: Head,
        beginning: str,
        span: Mapping[int, tuple[int, int]],
    ) -> None:
        self._head, self._span = head, span
        self._table, self._topic = {one.hash: one for one in table}, {one.hash: one for one in topic}
        self._rows = [*self._table.values(), *self._topic.values()]
        self._of_seq: dict[int, set[str]] = {}
        for one in self._rows:
            self._of_seq.setdefault(one.seq, set()).add(one.hash)
        firsts = {one.previous for one in self._rows if one.seq == 1} or {head.hash}
        self._begins_well = beginning in firsts
        self._beginning = beginning
        # what a later row, the head, or the digest of the beginning vouches for
        self._vouched_here = _named(self._table.values()) | {head.hash}
        self._vouched_there = _named(self._topic.values())
        self._vouched = self._vouched_there | self._vouched_here
        if self._begins_well:
            self._vouched |= {one.hash for one in self._table.values() if one.seq == 0}
        self._there = {one.audit_id: one for one in self._topic.values()}
        self._here = {one.audit_id for one in self._table.values()}
        self._seqs_here = {one.seq for one in self._table.values()}

    def differences(self) -> list[Difference]:
        found = [told for one in self._table.values() if (told := self._of_table(one)) is not None]
        found += [told for one in self._topic.values() if (told := self._of_topic(one)) is not None]
        found += self._gaps()
        found += self._breaks({one.seq for one in found})
        return sorted(found, key=lambda one: (one.seq, one.side))

    def _of_table(self, row: Link) -> Difference | None:
        there = self._there.get(row.audit_id)
        if row.fault:
            return _told(row, Side.TABLE, Fault.ALTERED, row.fault)
        if row.hash in self._topic:
            return None
        if there is not None:
            if self._is_altered_there(row, there):
                return _told(
                    row, Side.TOPIC, Fault.ALTERED, f"{_place(there)} has other bytes than the row after it names"
                )
            return _told(row, Side.TABLE, Fault.ALTERED, f"{_place(there)} of the topic holds other bytes")
        can_be_vouched = row.seq >= self._head.seq or row.seq + 1 in self._of_seq
        if row.hash not in self._vouched and can_be_vouched:
            if row.seq <= self._head.seq and not self._of_seq[row.seq] & self._vouched:
                return _told(row, Side.TABLE, Fault.ALTERED, "the row after it names other bytes")
            return _told(
                row, Side.TABLE, Fault.INSERTED, "no row after it builds on it, and the topic does not have it"
            )
        return self._missing_there(row)

    def _is_altered_there(self, ours: Link, there: Link) -> bool:
        """Say which of two versions is the false one: a later row names the true one, best of all one on the topic.

        Whoever rewrites the table to its end with its head leaves rows that vouch for each other, but not on the topic.
        """
        if ours.hash in self._vouched_there:
            return True
        alone = ours.hash in self._vouched and there.hash not in self._vouched
        return alone and ours.previous == there.previous

    def _missing_there(self, row: Link) -> Difference | None:
        if row.waits:
            return None
        if row.at is None or row.partition is None:
            why = "it is neither on the topic nor waiting in the outbox"
            return _told(row, Side.TABLE, Fault.INSERTED, why)
        start, end = self._span.get(row.partition, (0, 0))
        if row.at < start:
            return None
        why = f"it was published at {_place(row)}, and the topic {'ends before' if row.at >= end else 'has it no more'}"
        return _told(row, Side.TOPIC, Fault.REMOVED, why)

    def _of_topic(self, row: Link) -> Difference | None:
        if row.hash in self._table or row.audit_id in self._here:
            return None
        if row.seq > self._head.seq:
            if not self._follows(row):
                return _told(row, Side.TOPIC, Fault.INSERTED, f"{_place(row)} follows no row that is known")
            why = f"{_place(row)} has it and the database, which ends with row {self._head.seq}, does not"
            return _told(row, Side.TOPIC, Fault.FORGOTTEN, f"{why}: was it restored? then `ledger-worker recover`")
        if row.seq == 0:
            fault, side = (Fault.INSERTED, Side.TOPIC) if self._begins_well else (Fault.REMOVED, Side.TABLE)
            return _told(row, side, fault, f"{_place(row)} has it, from before the chain, and the table does not")
        if row.hash not in self._vouched:
            why = f"{_place(row)} has a row that the table does not have and on which no row builds"
            return _told(row, Side.TOPIC, Fault.INSERTED, why)
        if row.seq in self._seqs_here and row.hash not in self._vouched_here:
            why = (
                f"{_place(row)} has it, the database went on without it: was it restored? then `ledger-worker recover`"
            )
            return _told(row, Side.TOPIC, Fault.FORGOTTEN, why)
        return _told(row, Side.TABLE, Fault.REMOVED, f"{_place(row)} of the topic has it")

    def _gaps(self) -> list[Difference]:
        """Find numbers that neither copy has; what nothing vouches for on the topic counts for nothing here."""
        numbers = self._seqs_here | {one.seq for one in self._topic.values() if one.hash in self._vouched}
        found, before = [], 0
        for seq in sorted({*numbers, self._head.seq} - {0}):
            if seq > before + 1:
                rows = f"row {before + 1} was" if seq == before + 2 else f"rows {before + 1} to {seq - 1} were"
                why = f"{rows} removed: neither the table nor the topic has it"
                found.append(Difference(before + 1, Side.TABLE, Fault.REMOVED, None, why))
            before = seq
        if self._head.seq and self._head.seq not in numbers:
            why = f"row {self._head.seq} was removed: neither the table nor the topic has it"
            found.append(Difference(self._head.seq, Side.TABLE, Fault.REMOVED, None, why))
        return found

    def _breaks(self, told: Collection[int]) -> list[Difference]:
        """Find what hangs together no more although both copies have the same rows."""
        found = []
        for seq in {one.seq for one in self._rows if one.seq > 0 and not self._follows(one)}:
            is_gap = seq > 1 and seq - 1 not in self._of_seq
            if not is_gap and not {seq, seq - 1} & set(told):
                what = f"row {seq - 1}" if seq > 1 else "what lies before row 1"
                why = f"{what} was altered, removed or replaced: row {seq} names other bytes"
                found.append(Difference(seq - 1, Side.TABLE, Fault.ALTERED, None, why))
        ends = self._of_seq.get(self._head.seq, set()) if self._head.seq else {self._beginning}
        if not found and not told and self._head.hash not in ends:
            why = f"the head of the chain was altered: it names other bytes than row {self._head.seq} has"
            found.append(Difference(self._head.seq, Side.TABLE, Fault.ALTERED, None, why))
        return found

    def _follows(self, row: Link) -> bool:
        """Say whether the row before it, on either side, is the one that it names."""
        return row.previous == self._beginning if row.seq == 1 else row.previous in self._of_seq.get(row.seq - 1, ())


def _named(rows: Iterable[Link]) -> set[str]:
    """Return the hashes that these rows name as those of rows before them."""
    return {named for one in rows if one.seq > 0 for named in (one.previous, *one.joins)}


def _told(row: Link, side: Side, fault: Fault, why: str) -> Difference:
    where = "in" if side is Side.TABLE else "on"
    did = {
        Fault.ALTERED: f"was altered {where} the {side}",
        Fault.REMOVED: f"was removed from the {side}",
        Fault.INSERTED: f"was inserted {'into' if side is Side.TABLE else 'on'} the {side}",
        Fault.FORGOTTEN: "is forgotten by the database",
    }[fault]
    return Difference(row.seq, side, fault, row.audit_id, f"row {row.seq} ({row.audit_id}) {did}: {why}")


def _place(row: Link) -> str:
    return f"offset {row.at}" if not row.partition else f"offset {row.at} of partition {row.partition}"


def as_fields(said: Said) -> dict[str, Any]:
    """Return what a row says under the names of the table's columns."""
    return {
        "audit_id": said.audit_id,
        "audit_seq": said.audit_seq,
        "recorded_at": said.recorded_at,
        "actor": said.actor,
        "action": said.action,
        "reason": said.reason,
        "subject": said.subject,
        "database_role": said.database_role,
    }
