"""How lanes are locked, and how they rest after a turn."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.lanes import LaneState, rest
from worker.store.arrays import written, written_columns
from worker.store.engine import Part, from_arrays, run, run_together
from worker.store.rows import LaneRow

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
LANE_COLUMNS = ", ".join(f"l.{name}" for name in LANE_CHANGE)
_values = attrgetter(*LANE_CHANGE)


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
    statement = f"""
        SELECT now(), {LANE_COLUMNS} FROM lanes l
        WHERE l.account_no = ANY(:accounts) ORDER BY l.account_no FOR UPDATE
    """
    rows = await run(connection, statement, {"accounts": written("text", sorted(accounts))})
    now: datetime = (rows or await run(connection, "SELECT now()", {}))[0][0]
    return lanes_of(rows), now


def lanes_of(rows: Sequence[tuple[Any, ...]]) -> dict[str, LaneRow]:
    """Make lanes of rows that hold the database's time and `LANE_COLUMNS`."""
    lanes = {row[1]: LaneRow(*row[1:]) for row in rows}
    for row in rows:
        lanes[row[1]].stored = row[1:]
    return lanes


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
    """Store the lanes that are not as they were read; the caller holds their locks."""
    await run_together(connection, written_lanes(lanes))


def written_lanes(lanes: Collection[LaneRow]) -> list[Part]:
    """Write the SQL that stores those of the lanes that are not as they were read, if any."""
    changed = [lane for lane in lanes if _values(lane) != lane.stored]
    if not changed:
        return []
    for lane in changed:
        lane.stored = _values(lane)
    return [Part(_WRITE, written_columns(LANE_CHANGE, [_values(lane) for lane in changed], "lane_"))]


_CHANGED = ", ".join(f"{name} = given.{name}" for name in LANE_CHANGE if name != "account_no")
_GIVEN = from_arrays(LANE_CHANGE, prefix="lane_")
_WRITE = f"UPDATE lanes l SET {_CHANGED} FROM {_GIVEN} WHERE l.account_no = given.account_no"


async def _what_waits(
    connection: AsyncConnection, heads: Mapping[str, int]
) -> dict[str, tuple[int | None, bool | None, bool]]:
    """Per account: place of the next command that waits, from `heads` on, whether it is urgent, whether an expiry is due."""
    columns = {"account_no": "text", "head": "bigint"}
    statement = f"""
        SELECT given.account_no, h.position, h.urgent,
               EXISTS (SELECT 1 FROM timers t WHERE t.account_no = given.account_no AND t.state = 'due') AS expiry_due
        FROM {from_arrays(columns)}
        LEFT JOIN LATERAL (
            SELECT c.position, c.urgent FROM commands c
            WHERE c.account_no = given.account_no AND c.position >= given.head
              AND c.state IN ('queued', 'in_doubt')
            ORDER BY c.position LIMIT 1
        ) h ON true
    """
    given = {"account_no": written("text", list(heads)), "head": written("bigint", list(heads.values()))}
    found = await run(connection, statement, given)
    return {account_no: (position, urgent, expiry_due) for account_no, position, urgent, expiry_due in found}
