"""The facts of one database transaction, gathered while it decides and written with one statement per kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.decide import OWNER_SILENT
from worker.store.arrays import arrays
from worker.store.chain import append
from worker.store.engine import Part, from_arrays, insertion, run, run_together, sql
from worker.store.outbox import OUTBOX_COLUMNS, outbox_row

Row = dict[str, Any]

INSERTS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "outcomes": (
        {
            "event_id": "uuid",
            "account_no": "text",
            "account_seq": "bigint",
            "type": "text",
            "command_id": "uuid",
            "recorded_at": "timestamptz",
            "value": "bytea",
            "headers": "bytea",
        },
        "",
    ),
    "dead_letters": (
        {
            "dead_letter_id": "uuid",
            "topic": "text",
            "epoch": "int",
            "partition": "int",
            "offset": "bigint",
            "reason": "text",
            "code": "text",
            "field": "text",
            "message": "text",
            "fingerprint": "text",
            "command_id": "uuid",
            "account_no": "text",
            "failed_at": "timestamptz",
            "headers": "bytea",
        },
        "",
    ),
    "outbox": (OUTBOX_COLUMNS, ""),
    "numbers": (
        {"kind": "text", "number": "text", "account_no": "text", "command_id": "uuid"},
        "ON CONFLICT DO NOTHING",
    ),
    "temp_adjustments": (
        {
            "command_id": "uuid",
            "account_no": "text",
            "adjust_no": "text",
            "op_user": "text",
            "expires_at": "timestamptz",
            "booked_at": "timestamptz",
        },
        "ON CONFLICT DO NOTHING",
    ),
    "timers": (
        {"command_id": "uuid", "account_no": "text", "kind": "text", "due_at": "timestamptz", "wake_at": "timestamptz"},
        "ON CONFLICT DO NOTHING",
    ),
    "doubts": (
        {
            "command_id": "uuid",
            "is_expiry": "boolean",
            "account_no": "text",
            "operation": "text",
            "attempt_number": "int",
            "since_at": "timestamptz",
            "notice_at": "timestamptz",
            "reason": "text",
        },
        # the doubt is as old as its first attempt, and is told of once
        "ON CONFLICT (command_id, is_expiry) DO UPDATE SET reason = excluded.reason",
    ),
    "parked": (
        {
            "command_id": "uuid",
            "account_no": "text",
            "parked_at": "timestamptz",
            "reason": "text",
            "in_doubt": "boolean",
        },
        "ON CONFLICT (command_id) DO UPDATE SET reason = excluded.reason, in_doubt = excluded.in_doubt",
    ),
    "watches": (
        {"command_id": "uuid", "account_no": "text", "look_at": "timestamptz", "until_at": "timestamptz"},
        "ON CONFLICT (command_id) DO UPDATE SET look_at = excluded.look_at, until_at = excluded.until_at",
    ),
    "evidence": (
        {
            "evidence_id": "uuid",
            "command_id": "uuid",
            "kind": "text",
            "recorded_at": "timestamptz",
            "actor": "text",
            "reason": "text",
            "detail": "jsonb",
        },
        "",
    ),
}

COMMAND_CHANGE = {
    "command_id": "uuid",
    "state": "text",
    "first_sent_at": "timestamptz",
    "finished_at": "timestamptz",
}
VERDICT_CHANGE = {
    "command_id": "uuid",
    "verdict": "text",
    "result": "jsonb",
    "error": "jsonb",
    "terminal_event_id": "uuid",
}
ADJUSTMENT_END = {"command_id": "uuid", "ended_at": "timestamptz", "ended_by": "text", "basis": "text"}


_INSERTIONS = {
    table: insertion(table, columns, on_conflict=on_conflict, prefix=f"{table}_")
    for table, (columns, on_conflict) in INSERTS.items()
}
_DECIDE_COMMANDS = f"""
    UPDATE commands c SET state = given.state, finished_at = given.finished_at,
        first_sent_at = coalesce(c.first_sent_at, given.first_sent_at)
    FROM {from_arrays(COMMAND_CHANGE, prefix="c_")} WHERE c.command_id = given.command_id
"""
_DECIDE_IDS = f"""
    UPDATE command_ids i SET verdict = given.verdict, result = given.result, error = given.error,
        terminal_event_id = given.terminal_event_id
    FROM {from_arrays(VERDICT_CHANGE, prefix="i_")} WHERE i.command_id = given.command_id
"""


@dataclass(slots=True)
class Facts:
    """Rows to write; `add` for new rows, the named lists for changes to rows that exist."""

    new: dict[str, list[Row]] = field(default_factory=dict)
    commands: list[Row] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    adjustments_ended: list[Row] = field(default_factory=list)
    timers_rearmed: list[Row] = field(default_factory=list)
    doubts_cleared: list[UUID] = field(default_factory=list)
    doubts_parked: list[Row] = field(default_factory=list)
    expiry_doubts_cleared: list[UUID] = field(default_factory=list)
    reparked: list[Row] = field(default_factory=list)
    looks_left: list[Row] = field(default_factory=list)
    audited: list[Row] = field(default_factory=list)

    def add(self, table: str, row: Row) -> None:
        """Gather one new row."""
        self.new.setdefault(table, []).append(row)

    def to_publish(self, kind: str, ref_id: UUID, ordered_by: str | None, recorded_at: object) -> None:
        """Gather one row of the outbox; rows with one `ordered_by` are published one after the other."""
        self.add("outbox", outbox_row(kind, ref_id, ordered_by, recorded_at))

    async def write(self, connection: AsyncConnection, beside: Sequence[Part] = ()) -> None:
        """Write everything gathered, and what goes `beside` it; the caller holds the locks of the lanes concerned.

        What is cleared goes first: a verdict by absence ends a doubt and begins a watch. The audit goes last, for its
        lock is the last of all.
        """
        still_parked = {row["command_id"] for row in self.reparked}
        await _clear(connection, self.doubts_cleared, self.expiry_doubts_cleared, still_parked)
        await run_together(connection, [*beside, *self._new_and_decided()])
        for statement, columns, rows in self._changes():
            if rows:
                await run(connection, statement, arrays(columns, rows))
        if self.audited:
            await append(connection, self.audited)

    def _new_and_decided(self) -> list[Part]:
        """Write the SQL of what nearly every turn records."""
        parts = [
            Part(_INSERTIONS[table], arrays(INSERTS[table][0], rows, f"{table}_")) for table, rows in self.new.items()
        ]
        for statement, columns, rows, prefix in (
            (_DECIDE_COMMANDS, COMMAND_CHANGE, self.commands, "c_"),
            (_DECIDE_IDS, VERDICT_CHANGE, self.verdicts, "i_"),
        ):
            if rows:
                parts.append(Part(statement, arrays(columns, rows, prefix)))
        return parts

    def _changes(self) -> Sequence[tuple[str, Mapping[str, str], list[Row]]]:
        return (
            (
                # ending disarms: the timer of an ended adjustment must not live on. Nobody finds a call without it should
                # the worker that has it out fall silent, so it is closed here; that worker's own answer still counts
                f"""WITH ended AS (
                        UPDATE temp_adjustments a
                        SET ended_at = given.ended_at, ended_by = given.ended_by, basis = given.basis
                        FROM {from_arrays(ADJUSTMENT_END)} WHERE a.command_id = given.command_id
                        RETURNING a.command_id, a.ended_at
                    ), left_open AS (
                        UPDATE attempts c SET known = 'in_doubt', rule = '{OWNER_SILENT}', reported_at = ended.ended_at,
                            message = 'the adjustment was ended by another call meanwhile'
                        FROM ended WHERE c.command_id = ended.command_id AND c.kind = 'expiry' AND c.known = 'open'
                    ) DELETE FROM timers t USING ended WHERE t.command_id = ended.command_id""",
                ADJUSTMENT_END,
                self.adjustments_ended,
            ),
            (
                # only one that a person has fired may go before its hour, until it is sent back to it
                f"""UPDATE timers t SET state = 'armed',
                        fired_at = CASE WHEN given.wake_at < t.due_at THEN t.fired_at END,
                        wake_at = CASE WHEN t.fired_at IS NULL THEN greatest(given.wake_at, t.due_at)
                                  ELSE given.wake_at END
                    FROM {from_arrays({"command_id": "uuid", "wake_at": "timestamptz"})}
                    WHERE t.command_id = given.command_id""",
                {"command_id": "uuid", "wake_at": "timestamptz"},
                self.timers_rearmed,
            ),
            (
                f"""UPDATE doubts d SET parked_at = given.parked_at, notice_at = NULL
                    FROM {from_arrays({"command_id": "uuid", "parked_at": "timestamptz"})}
                    WHERE d.command_id = given.command_id AND NOT d.is_expiry""",
                {"command_id": "uuid", "parked_at": "timestamptz"},
                self.doubts_parked,
            ),
            (
                f"""UPDATE parked p SET in_doubt = false, reason = given.reason
                    FROM {from_arrays({"command_id": "uuid", "reason": "text"})}
                    WHERE p.command_id = given.command_id""",
                {"command_id": "uuid", "reason": "text"},
                self.reparked,
            ),
            (
                # as above: a command that is decided no longer leads to the look that another worker takes for it
                f"""UPDATE attempts c SET known = 'unreadable', rule = '{OWNER_SILENT}', reported_at = given.decided_at,
                        message = 'the command was decided by another answer meanwhile'
                    FROM {from_arrays({"command_id": "uuid", "decided_at": "timestamptz"})}
                    WHERE c.command_id = given.command_id AND c.kind = 'look' AND c.known = 'open'""",
                {"command_id": "uuid", "decided_at": "timestamptz"},
                self.looks_left,
            ),
        )


async def _clear(
    connection: AsyncConnection, commands: list[UUID], expiries: list[UUID], still_parked: set[UUID]
) -> None:
    given = {
        "ids": commands,
        "unparked": [command_id for command_id in commands if command_id not in still_parked],
        "expiries": expiries,
    }
    if commands:
        await connection.execute(sql("DELETE FROM doubts WHERE command_id = ANY(:ids) AND NOT is_expiry"), given)
        await connection.execute(sql("DELETE FROM watches WHERE command_id = ANY(:ids)"), given)
        await connection.execute(sql("DELETE FROM parked WHERE command_id = ANY(:unparked)"), given)
    if expiries:
        await connection.execute(sql("DELETE FROM doubts WHERE command_id = ANY(:expiries) AND is_expiry"), given)
