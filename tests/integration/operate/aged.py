"""What lies years back, and what is left of it."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.integration.operate.conftest import Desk
from worker.ledger.retention import Aged
from worker.ledger.verdicts import Confirmed, Numbers

WHY = ("--reason", "agreed with compliance", "--yes")
YEARS = timedelta(days=4000)
EVERYTHING = tuple(part for what in Aged for part in ("--only", what.value))
OLD = ("prune", *EVERYTHING, "--older-than", "400d")
OF_PRUNE_ITSELF = {"prunings", "audit", "audit_head", "outbox"}


async def tables(desk: Desk) -> dict[str, list[str]]:
    """Each table with its columns that are instants."""
    rows = await desk.rows("""
        SELECT table_name, array_agg(column_name::text) FILTER (WHERE data_type = 'timestamp with time zone') AS instants
        FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1
    """)
    return {r["table_name"]: r["instants"] or [] for r in rows if r["table_name"] not in ("alembic_version", "rate")}


async def publish(desk: Desk) -> None:
    """Let Kafka have all that waits."""
    await desk.do("""
        INSERT INTO publications (event_id, published_at, partition, "offset")
        SELECT ref_id, now(), 0, outbox_id FROM outbox WHERE kind = 'outcome'
    """)
    await desk.do("UPDATE dead_letters SET published_at = now(), published_partition = 0, published_offset = 0")
    await desk.do("DELETE FROM outbox")


async def years_pass(desk: Desk) -> None:
    """Let everything that is stored lie years further back."""
    for table, instants in (await tables(desk)).items():
        if instants and table not in OF_PRUNE_ITSELF:
            changes = ", ".join(f"{name} = {name} - CAST(:years AS interval)" for name in instants)
            await desk.do(f"UPDATE {table} SET {changes}", years=YEARS)


async def stored(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but those that a prune itself writes."""
    found = {}
    for table in (await tables(desk)).keys() - OF_PRUNE_ITSELF:
        found[table] = sorted(await desk.rows(f"SELECT * FROM {table}"), key=str)
    return found


async def counts(desk: Desk, *arguments: str) -> dict[str, int]:
    return {row["what"]: row["count"] for row in await desk.cli_json(*arguments)}


async def finished(desk: Desk, count: int = 1) -> list[UUID]:
    """Let commands be done, each with a number of its own."""
    done = []
    for _ in range(count):
        done.append(await desk.send("cash.adjust"))
        await desk.answer(Confirmed(Numbers(serial_num=f"S{done[-1].hex[:12]}"), "inner_success"))
    return done
