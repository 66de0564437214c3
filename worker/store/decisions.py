"""What a person's decision about a doubt reads and changes; the caller holds the lane's lock."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.decide import OWNER_SILENT


async def read_account(connection: AsyncConnection, command_id: UUID) -> tuple[str, str | None] | None:
    """Say whose command it is, and why there is no row of it, if there is none; None for an id that is not known."""
    statement = text("""
        SELECT i.account_no, CASE WHEN c.command_id IS NOT NULL THEN NULL
               WHEN i.pruned_at IS NULL THEN 'was refused when it was read'
               ELSE i.verdict || ' and was pruned on ' || CAST(CAST(i.pruned_at AT TIME ZONE 'UTC' AS date) AS text) END AS gone
        FROM command_ids i LEFT JOIN commands c USING (command_id) WHERE i.command_id = :command_id
    """)
    row = (await connection.execute(statement, {"command_id": command_id})).one_or_none()
    return None if row is None else (row.account_no, row.gone)


async def read_open_call(connection: AsyncConnection, command_id: UUID, kinds: Sequence[str]) -> RowMapping | None:
    """Read the call or look that is under way for a command, if any."""
    statement = text("""
        SELECT number, kind, operation, opened_at, lease_until FROM attempts
        WHERE command_id = :command_id AND kind = ANY(:kinds) AND known = 'open' LIMIT 1
    """)
    given = {"command_id": command_id, "kinds": list(kinds)}
    return (await connection.execute(statement, given)).mappings().one_or_none()


async def read_last_decision(connection: AsyncConnection, command_id: UUID) -> RowMapping | None:
    """Read who decided about a command last, if a person did."""
    statement = text("""
        SELECT actor, reason, recorded_at, detail FROM evidence
        WHERE command_id = :command_id AND kind = 'person' ORDER BY recorded_at DESC LIMIT 1
    """)
    return (await connection.execute(statement, {"command_id": command_id})).mappings().one_or_none()


async def read_number_owner(connection: AsyncConnection, kind: str, number: str) -> tuple[UUID, str] | None:
    """Say which command made a number, and whose it is."""
    statement = text("SELECT command_id, account_no FROM numbers WHERE kind = :kind AND number = :number")
    row = (await connection.execute(statement, {"kind": kind, "number": number})).one_or_none()
    return None if row is None else (row.command_id, row.account_no)


async def clear_attempts(
    connection: AsyncConnection, command_id: UUID, kinds: Sequence[str], numbers: Sequence[int]
) -> None:
    """Note of these calls that a person said they were not applied.

    One whose owner only fell silent still takes its owner's answer, should it come.
    """
    statement = text(f"""
        UPDATE attempts SET known = 'cleared', reported_at = coalesce(reported_at, now()),
            rule = CASE WHEN rule = '{OWNER_SILENT}' THEN rule ELSE coalesce(rule, 'person') END
        WHERE command_id = :command_id AND kind = ANY(:kinds) AND number = ANY(:numbers)
    """)
    await connection.execute(statement, {"command_id": command_id, "kinds": list(kinds), "numbers": list(numbers)})


async def requeue(connection: AsyncConnection, command_id: UUID, position: int) -> None:
    """Give a command another place in its lane."""
    statement = text("UPDATE commands SET state = 'queued', position = :position WHERE command_id = :command_id")
    await connection.execute(statement, {"command_id": command_id, "position": position})


async def read_doubtful(connection: AsyncConnection, command_id: UUID) -> bool:
    """Say whether a call for a command may have been applied, as far as anything stored says so."""
    statement = text("""
        SELECT EXISTS (SELECT FROM parked WHERE command_id = :command_id AND in_doubt)
            OR EXISTS (SELECT FROM doubts WHERE command_id = :command_id AND NOT is_expiry)
            OR EXISTS (SELECT FROM attempts WHERE command_id = :command_id AND kind = 'write'
                       AND known IN ('open', 'in_doubt'))
    """)
    return bool((await connection.execute(statement, {"command_id": command_id})).scalar_one())


async def read_parked_reason(connection: AsyncConnection, command_id: UUID) -> str:
    """Read why a command is parked."""
    statement = text("SELECT reason FROM parked WHERE command_id = :command_id")
    return str((await connection.execute(statement, {"command_id": command_id})).scalar_one())


async def read_gone_on(connection: AsyncConnection, account_no: str, position: int, count_max: int) -> int:
    """Count the commands behind a place that have had their turn; one more than `count_max` means that there are more."""
    statement = text("""
        SELECT count(*) FROM (
            SELECT FROM commands WHERE account_no = :account_no AND position > :position AND state <> 'queued'
            LIMIT :count_max + 1
        ) later
    """)
    given = {"account_no": account_no, "position": position, "count_max": count_max}
    return int((await connection.execute(statement, given)).scalar_one())


async def mark_redriven(connection: AsyncConnection, command_id: UUID, number: int) -> None:
    """Put what was not sent behind a command that gets a new place: its call may be built anew."""
    statement = text("""
        UPDATE attempts SET known = 'redriven'
        WHERE command_id = :command_id AND kind = 'write' AND number = :number AND known = 'not_sent'
    """)
    await connection.execute(statement, {"command_id": command_id, "number": number})
