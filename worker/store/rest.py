"""How lanes are locked, and how they rest after a turn."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.lanes import LaneState, rest
from worker.store.arrays import arrays
from worker.store.engine import from_arrays, sql
from worker.store.rows import LaneRow

LANE_COLUMNS = ", ".join(f"l.{name}" for name in LaneRow.__dataclass_fields__)
LANE_CHANGE = {
    "account_no": "text",
    "state": "text",
    "fence": "bigint",
    "account_seq": "bigint",
    "head_position": "bigint",
    "next_position": "bigint",
    "urgent": "boolean",
    "ready_at": "timestamptz",
    "wake_at": "timestamptz",
    "hold_reason": "text",
    "owner": "uuid",
    "lease_until": "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Hold:
    """What a lane waits for after its turn; without `until`, nothing."""

    until: datetime | None
    urgent: bool
    reason: str


async def lock_lanes(connection: AsyncConnection, accounts: Collection[str]) -> tuple[dict[str, LaneRow], datetime]:
    """Lock the lanes of these accounts, in byte order, and say what time the database has.

    Whoever locks more than one lane does it here; two that locked in opposite orders would wait for each other.
    """
    statement = sql(f"""
        SELECT {LANE_COLUMNS}, now() AS db_now FROM lanes l
        WHERE l.account_no = ANY(:accounts) ORDER BY l.account_no FOR UPDATE
    """)
    rows = (await connection.execute(statement, {"accounts": sorted(accounts)})).all()
    now: datetime = rows[-1].db_now if rows else (await connection.execute(sql("SELECT now()"))).scalar_one()
    return {row.account_no: LaneRow(*row[:-1]) for row in rows}, now


async def rest_lanes(
    connection: AsyncConnection, lanes: Mapping[str, LaneRow], resting: Mapping[str, Hold], now: datetime
) -> None:
    """Store the lanes' numbers; those in `resting` give up their lease and wait for their next turn.

    Call it after the commands' and timers' own changes: it looks at what waits in each lane now.
    """
    if resting:
        waiting = await _what_waits(connection, {a: lanes[a].head_position for a in resting})
        for account_no, hold in resting.items():
            lane, (position, head_urgent, expiry_due) = lanes[account_no], waiting[account_no]
            if position is not None:
                lane.head_position = position
            way = rest(
                expiry_due=expiry_due,
                hold_until=hold.until,
                hold_urgent=hold.urgent,
                has_head=position is not None,
                head_urgent=bool(head_urgent),
                now=now,
            )
            lane.state, lane.urgent, lane.wake_at = way.state.value, way.urgent, way.wake_at
            lane.ready_at = now if way.state is LaneState.READY else None
            lane.hold_reason = hold.reason if way.wake_at is not None else None
            lane.owner = lane.lease_until = None
    await write_lanes(connection, lanes.values())


async def write_lanes(connection: AsyncConnection, lanes: Collection[LaneRow]) -> None:
    """Store lanes as they are; the caller holds their locks."""
    if not lanes:
        return
    changed = ", ".join(f"{name} = given.{name}" for name in LANE_CHANGE if name != "account_no")
    rows = [{name: getattr(lane, name) for name in LANE_CHANGE} for lane in lanes]
    await connection.execute(
        sql(f"UPDATE lanes l SET {changed} FROM {from_arrays(LANE_CHANGE)} WHERE l.account_no = given.account_no"),
        arrays(LANE_CHANGE, rows),
    )


async def _what_waits(
    connection: AsyncConnection, heads: Mapping[str, int]
) -> dict[str, tuple[int | None, bool | None, bool]]:
    """Per account: place of the next command that waits, from `heads` on, whether it is urgent, whether an expiry is due."""
    columns = {"account_no": "text", "head": "bigint"}
    statement = sql(f"""
        SELECT given.account_no, h.position, h.urgent,
               EXISTS (SELECT 1 FROM timers t WHERE t.account_no = given.account_no AND t.state = 'due') AS expiry_due
        FROM {from_arrays(columns)}
        LEFT JOIN LATERAL (
            SELECT c.position, c.urgent FROM commands c
            WHERE c.account_no = given.account_no AND c.position >= given.head
              AND c.state IN ('queued', 'in_doubt')
            ORDER BY c.position LIMIT 1
        ) h ON true
    """)
    rows = [{"account_no": account_no, "head": head} for account_no, head in heads.items()]
    found = (await connection.execute(statement, arrays(columns, rows))).mappings()
    return {row["account_no"]: (row["position"], row["urgent"], row["expiry_due"]) for row in found}
