"""What goes wrong in a seeded run and when: a function of the seed, told in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random  # noqa: TID251 - chance comes from a printed seed
from typing import Literal

from tests.support.proxy import Kind, Way, Weather

STORM_S = 12.0
"""So long things go wrong; then everything recovers."""
OWN_PARTS_EVERY = 8
"""Each such seed's run has a Kafka and a Postgres of its own, to be killed."""

Wire = Literal["kafka", "postgres", "brokerage"]
Part = Literal["kafka", "postgres"]

WIRES: tuple[Wire, ...] = ("kafka", "postgres", "brokerage")
SPELL_MAX_S = {"kafka": 4.0, "postgres": 3.0, "brokerage": 1.5}
"""Of the brokerage less than LEDGER_LATE_APPLY_S: a wire may not hold bytes for longer than is promised."""
FAULTS = {
    "delay": 3,
    "drop_request": 4,
    "drop_answer": 4,
    "error_before": 2,
    "error_after": 3,
    "late_apply": 4,
    "rate_limited": 1,
    "malformed": 2,
    "inner_failed": 2,
    "replayed_signature": 1,
    "refused": 2,
    "unauthorized": 1,
}
OPERATIONS = (
    "cash.adjust",
    "cash.freeze",
    "temp.adjust",
    "temp.expire",
    "order.place",
    "order.modify",
    "order.withdraw",
    "read",
)


@dataclass(frozen=True)
class Spell:
    """Bad weather on a wire."""

    wire: Wire
    weather: Weather
    lasts_s: float

    def __str__(self) -> str:
        return f"the wire to {self.wire}: {self.weather}, for {self.lasts_s:.1f} s"


@dataclass(frozen=True)
class Cut:
    """Every connection of a wire is reset."""

    wire: Wire

    def __str__(self) -> str:
        return f"the wire to {self.wire}: reset"


@dataclass(frozen=True)
class Misbehave:
    """The brokerage goes wrong at the next call that is meant."""

    kind: str
    operation: str | None
    times: int
    delay_s: float

    def __str__(self) -> str:
        return f"the brokerage: {self.kind} of {self.operation or 'anything'}, {self.times} times, {self.delay_s:.1f} s"


@dataclass(frozen=True)
class Blow:
    """A worker is killed (SIGKILL), frozen (SIGSTOP … SIGCONT) or asked to end (SIGTERM); for so long it is away."""

    slot: int
    how: Literal["kill", "freeze", "stop"]
    lasts_s: float

    def __str__(self) -> str:
        return f"worker {self.slot}: {self.how}, for {self.lasts_s:.1f} s"


@dataclass(frozen=True)
class Join:
    """One more worker starts."""

    slot: int

    def __str__(self) -> str:
        return f"worker {self.slot}: starts"


@dataclass(frozen=True)
class Outage:
    """Kafka or Postgres is killed with -9 and started again."""

    part: Part
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.part}: killed, for {self.lasts_s:.1f} s"


Event = Spell | Cut | Misbehave | Blow | Join | Outage


@dataclass(frozen=True)
class Timeline:
    """Events of one thing, one after the other; each at its second after the run's beginning."""

    events: list[tuple[float, Event]] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """All that chance decides about a run but its commands."""

    workers_count: int
    latency_ms: int
    sweep_delay_s: float
    temp_route: str
    has_own_parts: bool
    timelines: Sequence[Timeline]

    def __str__(self) -> str:
        events = sorted((pair for one in self.timelines for pair in one.events), key=lambda pair: pair[0])
        head = (
            f"{self.workers_count} workers at first, {'own' if self.has_own_parts else 'shared'} parts, latency "
            f"{self.latency_ms} ms, swept after {self.sweep_delay_s:g} s, {self.temp_route}"
        )
        return "\n".join([head, *(f"{at_s:6.1f} s  {event}" for at_s, event in events)])


def drawn(chance: Random, seed: int) -> Plan:
    """Draw a plan; two or three workers from the beginning, sometimes one more later."""
    workers_count = chance.randint(2, 3)
    own = seed % OWN_PARTS_EVERY == 0
    timelines = [Timeline(list(_weather(chance, wire))) for wire in WIRES]
    timelines.append(Timeline(list(_misbehaviour(chance))))
    timelines += [Timeline(list(_blows(chance, slot, slot < workers_count))) for slot in range(3)]
    timelines += [Timeline(list(_outages(chance, part))) for part in ("kafka", "postgres")] if own else []
    return Plan(
        workers_count,
        chance.choice([2, 20, 60]),
        chance.choice([0.5, 1.5]),
        chance.choice(["risk_event", "whaleapi"]),
        own,
        timelines,
    )


def drawn_spell(chance: Random, wire: Wire) -> Spell:
    """Draw bad weather for a wire."""
    lasts_s = chance.uniform(0.2, SPELL_MAX_S[wire])
    kind = chance.choice([Kind.DELAY, Kind.DRIP, Kind.HALF_OPEN, Kind.BLACK_HOLE, Kind.REFUSE])
    way = chance.choice([Way.UP, Way.DOWN])
    match kind:
        case Kind.DELAY:
            weather = Weather(kind, chance.choice([way, None]), seconds=round(chance.uniform(0.02, 0.6), 2))
        case Kind.DRIP:
            weather = Weather(kind, way, seconds=0.05, size=chance.randint(20, 400))
        case _:
            weather = Weather(kind, way if kind is Kind.HALF_OPEN else None)
    return Spell(wire, weather, lasts_s)


def drawn_fault(chance: Random) -> Misbehave:
    """Draw a fault of the brokerage."""
    (kind,) = chance.choices(list(FAULTS), list(FAULTS.values()))
    operation = chance.choice([None, *OPERATIONS])
    return Misbehave(kind, operation, chance.randint(1, 3), chance.uniform(0.2, 1.5))


def _weather(chance: Random, wire: Wire) -> Iterator[tuple[float, Event]]:
    at_s = chance.uniform(0, 3)
    while at_s < STORM_S:
        if chance.random() < 0.25:
            yield at_s, Cut(wire)
        else:
            spell = drawn_spell(chance, wire)
            yield at_s, spell
            at_s += spell.lasts_s
        at_s += chance.uniform(0.5, 4)


def _misbehaviour(chance: Random) -> Iterator[tuple[float, Event]]:
    for at_s in sorted(chance.uniform(0, STORM_S) for _ in range(chance.randint(6, 20))):
        yield at_s, drawn_fault(chance)


def _blows(chance: Random, slot: int, is_there: bool) -> Iterator[tuple[float, Event]]:
    at_s = chance.uniform(1, 6)
    if not is_there:
        if chance.random() < 0.5:
            return
        yield at_s, Join(slot)
        at_s += chance.uniform(1, 4)
    while at_s < STORM_S:
        (how,) = chance.choices(("kill", "freeze", "stop"), (3, 4, 2))
        lasts_s = chance.uniform(1, 7) if how == "freeze" else chance.uniform(0, 3)
        yield at_s, Blow(slot, how, lasts_s)  # type: ignore[arg-type]
        at_s += lasts_s + chance.uniform(2, 8)


def _outages(chance: Random, part: Part) -> Iterator[tuple[float, Event]]:
    if chance.random() < 0.75:
        yield chance.uniform(1, STORM_S - 2), Outage(part, chance.uniform(0, 3))
