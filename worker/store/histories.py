"""Reads commands with all that was tried for them."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.decide import Attempt, Known, Look, Sight
from worker.ledger.verdicts import Numbers, Request
from worker.store.engine import sql
from worker.store.rows import AdjustmentRow, CommandRow, History

ADJUSTMENT_COLUMNS = """
    a.adjust_no, a.op_user, a.ended_by, a.fired_by,
    (SELECT f.fired_at FROM timers f WHERE f.command_id = a.command_id) AS fired_at,
    EXISTS (
        SELECT FROM doubts d JOIN commands e ON e.command_id = d.command_id
        WHERE d.operation = 'temp.expire' AND NOT d.is_expiry AND d.account_no = a.account_no
            AND (e.payload -> 'adjust' ->> 'command_id' = a.command_id::text
                OR e.payload -> 'adjust' ->> 'adjust_no' = a.adjust_no)
    ) AS command_doubted
"""
COMMAND_COLUMNS = ", ".join(f'c."{name}"' for name in CommandRow._fields)


def command_row(row: RowMapping) -> CommandRow:
    """Make a `CommandRow` of a row with `COMMAND_COLUMNS`, whatever else it has."""
    return CommandRow(**{name: row[name] for name in CommandRow._fields})


def adjustment_row(row: RowMapping) -> AdjustmentRow:
    """Make an `AdjustmentRow` of a row with `ADJUSTMENT_COLUMNS` that joins the adjustment `a` to its temp.adjust."""
    return AdjustmentRow(**{name: row[name] for name in AdjustmentRow.__dataclass_fields__})


async def read_commands(connection: AsyncConnection, command_ids: Collection[UUID]) -> dict[UUID, CommandRow]:
    """Read commands by id; unknown ids are left out."""
    if not command_ids:
        return {}
    statement = sql(f"SELECT {COMMAND_COLUMNS} FROM commands c WHERE c.command_id = ANY(:ids)")
    rows = (await connection.execute(statement, {"ids": list(command_ids)})).mappings()
    return {row["command_id"]: command_row(row) for row in rows}


async def read_histories(
    connection: AsyncConnection, command_ids: Collection[UUID], *, expiry: bool = False
) -> dict[UUID, History]:
    """Read what was tried for the commands, or for the expiries of those temp.adjusts; every id has an entry."""
    found: dict[UUID, History] = dict.fromkeys(command_ids, History())
    if not command_ids:
        return found
    statement = sql("""
        SELECT command_id, kind, number, known, opened_at, reported_at, horizon_at, retry_at, rule, code, message,
               numbers, method, path, query, body
        FROM attempts
        WHERE command_id = ANY(:ids) AND kind = ANY(:kinds)
        ORDER BY command_id, number
    """)
    kinds = ["expiry"] if expiry else ["write", "look"]
    for row in (await connection.execute(statement, {"ids": list(command_ids), "kinds": kinds})).mappings():
        history = found[row["command_id"]]
        if row["kind"] == "look":
            looks = history.looks if row["known"] == Known.OPEN else (*history.looks, _look(row))
            found[row["command_id"]] = History(history.attempts, looks, history.request)
        else:
            request = history.request or _doubtful_request(row)
            found[row["command_id"]] = History((*history.attempts, _attempt(row)), history.looks, request)
    return found


def _doubtful_request(row: RowMapping) -> Request | None:
    """Return what must go out again to the byte, a person's resend too; a call that was not sent may be built anew.

    So must one that `recover` put in the place of forgotten calls: what they sent is not known, and its method is empty.
    """
    if row["known"] not in (Known.OPEN, Known.IN_DOUBT, Known.CLEARED) or not row["method"]:
        return None
    return Request(row["method"], row["path"], row["query"], bytes(row["body"]))


def _attempt(row: RowMapping) -> Attempt:
    return Attempt(
        number=row["number"],
        known=Known(row["known"]),
        opened_at=row["opened_at"],
        reported_at=row["reported_at"],
        horizon_at=row["horizon_at"],
        rule=row["rule"] or "",
        code=row["code"] or "",
        message=row["message"] or "",
        numbers=Numbers(**(row["numbers"] or {})),
        retry_at=row["retry_at"],
    )


def _look(row: RowMapping) -> Look:
    return Look(
        sight=Sight(row["known"]),
        started_at=row["opened_at"],
        ended_at=row["reported_at"] or row["horizon_at"],
        note=row["message"] or "",
        numbers=Numbers(**(row["numbers"] or {})),
    )
