"""Every place where a worker is killed: what happens there, and what must go on so that it gets there.

`at` is what `crashing.py` says when the worker passes: the function with its database transaction and the phase, the method
and its side, or the bytes on a wire. `test_crash_points.py` holds this table against the worker's source.
"""

from dataclasses import dataclass
from typing import Literal

Scenario = Literal[
    "plain", "held", "lapsing", "doubtful", "numberless", "late", "orphaned", "draining", "starting", "set-aside"
]
"""`scenarios.py` says what each is."""
Counted = Literal["always", "working", "wrote"]
"""Which passages count as hits: all; those after the first batch of commands was stored; those that changed a row."""
Spoilt = Literal["unavailable", "data_refused", "set_aside"]


@dataclass(frozen=True)
class Spoil:
    """What goes wrong first, so that the worker gets to a point which no healthy part leads to."""

    at: str
    how: Spoilt
    times: int = 1


@dataclass(frozen=True)
class Point:
    """One place to die at. `once`: a process passes it once in its life, so that hit 2 is another process or moment."""

    name: str
    at: str
    scenario: Scenario = "plain"
    counted: Counted = "always"
    once: bool = False
    spoil: Spoil | None = None


FIRST, BEFORE_COMMIT, COMMITTED = "before the first statement", "before the commit", "after the commit"
SITES = {
    "start": "worker.app.start:check_start",
    "positions": "worker.pipeline.accept:Accept.positions",
    "accept": "worker.pipeline.accept:Accept._store",
    "borrow": "worker.app.budget:Permits.available",
    "claim": "worker.pipeline.claim:Claim._claim",
    "put-off": "worker.pipeline.claim:Claim.claim",
    "finish": "worker.pipeline.finish:Finish.finish",
    "wake": "worker.app:Worker._wake_step.<locals>.step",
    "due": "worker.timers.due:wake_due",
    "expire": "worker.timers.expire:end_watched",
    "reclaim": "worker.timers.reclaim:reclaim",
    "tell": "worker.timers.resolve:tell_doubts",
    "watch-take": "worker.timers.resolve:Watch.look_again",
    "watch-read": "worker.timers.resolve:Watch._look",
    "watch-seen": "worker.timers.resolve:Watch._seen",
    "hold": "worker.pipeline.publish:Publish.hold",
    "waiting": "worker.pipeline.publish:Publish._publish#1",
    "mark": "worker.pipeline.publish:Publish._publish#2",
    "set-aside": "worker.pipeline.publish:Publish._set_aside",
    "leave": "worker.pipeline.publish:Publish.leave",
    "gauges": "worker.app.gauges:Gauges.read",
    "invariants": "worker.app.gauges:Gauges.read_invariants",
    "stopped": "worker.app.stopped:Stopped.read",
}
"""Each database transaction of the worker by its function; `#n` where one function has several."""


def _transaction(name: str, scenario: Scenario = "plain", counted: Counted = "wrote", **options: bool) -> list[Point]:
    first: Counted = "working" if scenario == "plain" else "always"
    site = SITES[name]
    return [
        Point(f"{name}.first", f"{site} {FIRST}", scenario, first, **options),
        Point(f"{name}.before-commit", f"{site} {BEFORE_COMMIT}", scenario, counted, **options),
        Point(f"{name}.committed", f"{site} {COMMITTED}", scenario, counted, **options),
    ]


def _reading(name: str, scenario: Scenario = "plain", counted: Counted = "working", **options: bool) -> Point:
    return Point(f"{name}.read", f"{SITES[name]} {COMMITTED}", scenario, counted, **options)


def _changing(name: str, scenario: Scenario, spoil: Spoil | None = None, **options: bool) -> list[Point]:
    return [
        Point(f"{name}.before-commit", f"{SITES[name]} {BEFORE_COMMIT}", scenario, "wrote", spoil=spoil, **options),
        Point(f"{name}.committed", f"{SITES[name]} {COMMITTED}", scenario, "wrote", spoil=spoil, **options),
    ]


def _sides(name: str, method: str, scenario: Scenario = "plain", **options: bool) -> list[Point]:
    return [
        Point(f"{name}.before", f"{method} before", scenario, **options),
        Point(f"{name}.after", f"{method} after", scenario, **options),
    ]


BEFORE_BYTES, HALF, BYTES = "before the bytes", "after half of the bytes", "after the bytes"

_ACCEPT_LOST = Spoil(f"{SITES['accept']} {BEFORE_COMMIT}", "unavailable", 2)
_CLAIM_REFUSED = Spoil(f"{SITES['claim']} {BEFORE_COMMIT}", "data_refused", 8)
_OUTCOME_REFUSED = Spoil("worker.kafka.producer:Producer.send before", "set_aside", 2)

POINTS: tuple[Point, ...] = (
    # start, intake
    _reading("start", "starting", "always", once=True),
    _reading("positions"),
    *_sides("polled", "worker.pipeline.accept:Accept.accept"),
    Point("accept.first", f"{SITES['accept']} {FIRST}"),
    Point("accept.before-commit", f"{SITES['accept']} {BEFORE_COMMIT}"),
    Point("accept.committed", f"{SITES['accept']} {COMMITTED}"),
    Point("seek-back.before", "worker.kafka.positions:Places.rewind before", spoil=_ACCEPT_LOST),
    Point("seek-back.after", "worker.kafka.positions:Places.rewind after", spoil=_ACCEPT_LOST),
    *_sides("offsets", "worker.kafka.broker:IntakeConsumer.commit"),
    Point("offsets.bytes", f"OffsetCommit {BYTES}"),
    # lanes
    *_transaction("borrow", counted="working"),
    *_transaction("claim"),
    *_changing("put-off", "plain", _CLAIM_REFUSED),
    Point("call.before", "a call before"),
    Point("call.before-bytes", f"a call {BEFORE_BYTES}"),
    Point("call.half", f"a call {HALF}"),
    Point("call.bytes", f"a call {BYTES}"),
    Point("call.answered", "a call after"),
    Point("look.before-bytes", f"a look {BEFORE_BYTES}", "doubtful"),
    Point("look.bytes", f"a look {BYTES}", "doubtful"),
    Point("look.answered", "a look after", "doubtful"),
    *_transaction("finish"),
    *_transaction("wake", "held"),
    # timers
    *_transaction("due", "lapsing"),
    *_transaction("expire", "numberless"),
    *_transaction("reclaim", "orphaned"),
    *_transaction("tell", "doubtful"),
    *_transaction("watch-take", "late"),
    _reading("watch-read", "late", "always"),
    *_transaction("watch-seen", "late"),
    # relay
    *_transaction("hold", counted="working"),
    _reading("waiting"),
    Point("relay.before", "worker.kafka.producer:Producer.send before"),
    Point("relay.before-bytes", f"Produce {BEFORE_BYTES}"),
    Point("relay.half", f"Produce {HALF}"),
    Point("relay.bytes", f"Produce {BYTES}"),
    Point("relay.acknowledged", "worker.kafka.producer:Producer.send after"),
    *_transaction("mark"),
    *_changing("set-aside", "set-aside", _OUTCOME_REFUSED),
    # what looks on, and the way out
    _reading("gauges"),
    _reading("invariants"),
    _reading("stopped"),
    Point("drain.asked", "worker.kafka.broker:Intake.stop after", "draining", once=True),
    Point("drain.intake", "worker.kafka.broker:Intake.run after", "draining", once=True),
    Point("drain.lanes", "worker.app.lanes:Lanes.run after", "draining", once=True),
    *_changing("leave", "draining", once=True),
    Point("drain.relay", "worker.pipeline.publish:Publish.close after", "draining", once=True),
)
BY_NAME = {point.name: point for point in POINTS}
HITS = (1, 2)
