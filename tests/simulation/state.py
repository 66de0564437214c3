"""What of a world decides what can happen in it: two worlds with one state have the same future.

Instants count from now; a fence says only whether it is the lane's; a command that has ended leaves its attempts behind
unless somebody still holds a turn of it.
"""

from collections.abc import Hashable
from datetime import datetime, timedelta

from tests.simulation.database import Tried
from tests.simulation.world import Worker, World
from worker.ledger.decide import Known
from worker.pipeline.turn import Turn
from worker.store.attempts import OWNER_SILENT

TENTH = timedelta(seconds=0.1)


def state_of(world: World, bounds: Hashable) -> tuple[Hashable, ...]:
    """Return the state as one value that can be hashed and compared."""
    db, now = world.db, world.db.now
    held = {turn.command.command_id for worker in world.workers for turn in _held(worker)}
    ready = sorted((lane.ready_at, lane.account_no) for lane in db.lanes.values() if lane.ready_at is not None)
    lanes = tuple(
        (
            lane.account_no,
            lane.state,
            lane.urgent,
            lane.head_position,
            _ahead(lane.wake_at, now),
            _ahead(lane.lease_until, now),
        )
        for lane in db.lanes.values()
    )
    live = {c.command_id for c in db.commands.values() if c.state not in ("succeeded", "rejected")}
    live |= held | db.timers.keys()
    attempts = tuple(
        (command_id, tuple(_tried(world, tried, now) for tried in tries))
        for command_id, tries in sorted(db.attempts.items())
        if command_id in live
    )
    return (
        bounds,
        lanes,
        tuple(account_no for _, account_no in ready),
        tuple((c.command_id, c.state, c.position) for c in db.commands.values()),
        attempts,
        tuple((t.command_id, t.state, _ahead(t.wake_at, now), _ahead(t.due_at, now)) for t in db.timers.values()),
        tuple((a.command_id, a.ended_by) for a in db.adjustments.values()),
        frozenset(db.doubts),
        frozenset(db.parked.items()),
        _brokerage(world),
        tuple(sorted((_worker(world, worker) for worker in world.workers), key=repr)),
    )


def _ahead(at: datetime | None, now: datetime) -> int | None:
    return None if at is None else round((at - now) / TENTH)


def _tried(world: World, tried: Tried, now: datetime) -> tuple[Hashable, ...]:
    fence = world.db.lanes[world.db.commands[tried.command_id].account_no].fence
    return (
        tried.kind, tried.number, str(tried.known), tried.rule == OWNER_SILENT, tried.fence == fence, tried.code,
        _ahead(tried.opened_at, now), _ahead(tried.reported_at, now), _ahead(tried.horizon_at, now),
        _ahead(tried.retry_at, now), tried.known == Known.OPEN,
    )  # fmt: skip


def _brokerage(world: World) -> tuple[Hashable, ...]:
    brokerage, at_s = world.brokerage, world.db.at_s
    return (
        tuple(sorted(brokerage.made.items())),
        tuple((one, max(-1, round((until_s - at_s) * 10))) for one, until_s in brokerage.memory.items()),
        tuple(brokerage.orders.items()),
        tuple((number, booked.ended_by) for number, booked in brokerage.adjustments.items()),
        tuple((one.call, round((one.until_s - at_s) * 10)) for one in brokerage.pending),
        tuple(round((booked.hour_s - at_s) * 10) for booked in brokerage.adjustments.values() if not booked.ended_by),
    )


def _held(worker: Worker) -> list[Turn]:
    return [*worker.turns, *(flight[0] for flight in worker.flights), *(ended.turn for ended in worker.ended)]


def _worker(world: World, worker: Worker) -> tuple[Hashable, ...]:
    at_s = world.db.at_s
    return (
        worker.frozen,
        tuple((*_turn(world, turn), max(-1, round((turn.send_before_s - at_s) * 10))) for turn in worker.turns),
        tuple((*_turn(world, turn), found, round((end_s - at_s) * 10)) for turn, found, end_s in worker.flights),
        tuple((*_turn(world, one.turn), repr(one.found), round((one.ended_s - at_s) * 10)) for one in worker.ended),
    )


def _turn(world: World, turn: Turn) -> tuple[Hashable, ...]:
    current = turn.fence == world.db.lanes[turn.command.account_no].fence
    return turn.command.command_id, turn.kind, turn.number, current
