"""Kills the worker that it runs in at one passage of one point. The worker's own code knows nothing of it.

The passages are found from outside: `transaction` is replaced before anybody imports it, methods are wrapped, and what the
event loop connects is wrapped too, so that a crash can fall between a call's bytes and its answer. An order is a
file, so that a worker can be told while it runs: `{"at": …, "hit": 2, "signal": 9, "counted": "wrote", "spoil": …}`.
"""

import ast
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from tests.chaos.points import BEFORE_BYTES, BEFORE_COMMIT, BYTES, COMMITTED, FIRST, HALF

WRAPPED = (
    "worker.pipeline.accept:Accept.accept",
    "worker.kafka.positions:Places.rewind",
    "worker.kafka.broker:IntakeConsumer.commit",
    "worker.kafka.broker:Intake.stop",
    "worker.kafka.broker:Intake.run",
    "worker.kafka.producer:Producer.send",
    "worker.app.lanes:Lanes.run",
    "worker.pipeline.publish:Publish.close",
)
"""Methods whose beginning and end are passages of their own."""
PACES = {
    "worker.pipeline.claim:PUT_OFF": 2.0,
    "worker.timers.resolve:LOOK_EVERY": 1.0,
    "worker.store.conclude:WATCH_FIRST_S": 1.0,
    "worker.app.lanes:IDLE_S": 0.2,
    "worker.app:WAKE_ROUND_S": 0.2,
    "worker.app.relay:PACE_S": 0.1,
    "worker.app.gauges:INVARIANTS_EVERY_S": 2.0,
}
"""What only waits, in seconds: long waits shortened, and idle rounds made rarer where many workers share a machine. Nothing of
the order in which things happen depends on them.
"""
REQUESTS = {0: "Produce", 8: "OffsetCommit"}
"""Kafka's API keys of the requests that change something there."""


@dataclass(frozen=True)
class Order:
    """Where to strike. `signal` is SIGKILL, or SIGSTOP for a worker that shall come back."""

    at: str
    hit: int = 1
    signal: int = signal.SIGKILL
    counted: str = "always"
    spoil_at: str | None = None
    spoil_how: str = ""
    spoil_times: int = 0

    def write(self, path: Path) -> None:
        """Give the order; a worker that looks meanwhile sees all of it or nothing."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(vars(self)))
        draft.rename(path)


@dataclass
class Striker:
    """Counts passages since the order was given, and strikes at the one that was named."""

    order_file: Path
    struck_file: Path
    hits: Counter[str] = field(default_factory=Counter)
    spoilt: int = 0
    is_working: bool = False
    _order: Order | None = None
    _struck: bool = False

    def order(self) -> Order | None:
        """Return the order once it is there."""
        if self._order is None and self.order_file.exists():
            self._order = Order(**json.loads(self.order_file.read_text()))
        return self._order

    def expects(self, at: str) -> bool:
        """Say whether the order is about this passage, whichever time it is."""
        order = self.order()
        return order is not None and order.at == at and not self._struck

    def passes(self, at: str, *, wrote: bool = False) -> None:
        """Count a passage, and strike if it is the one."""
        if self.is_next(at, wrote=wrote):
            self.strike()

    def is_next(self, at: str, *, wrote: bool = False) -> bool:
        """Count a passage; says whether it is the one. The caller then does what belongs to it, and strikes."""
        order = self.order()
        if order is None or order.at != at or self._struck:
            return False
        if (order.counted == "wrote" and not wrote) or (order.counted == "working" and not self.is_working):
            return False
        if order.spoil_at is not None and self.spoilt == 0:
            return False
        self.hits[at] += 1
        return self.hits[at] == order.hit

    def strike(self) -> None:
        """Leave a note and end here; after SIGCONT it goes on and never strikes again."""
        order = self.order()
        assert order is not None
        self._struck = True
        note = {"at": order.at, "hit": self.hits[order.at], "pid": os.getpid()}
        self.struck_file.write_text(json.dumps(note))
        os.kill(os.getpid(), order.signal)

    def spoils(self, at: str) -> str | None:
        """Return how this passage shall go wrong, if the order says so and it has not often enough."""
        order = self.order()
        if order is None or order.spoil_at != at or self.spoilt >= order.spoil_times:
            return None
        if not self.is_working and ":Accept." not in at:
            return None  # nothing is there yet that could go wrong
        self.spoilt += 1
        return order.spoil_how


def install(striker: Callable[[], Striker]) -> None:
    """Wrap everything; must run before the worker's modules are imported. `striker()` is the process's own."""
    _wrap_transactions(striker)
    for path in WRAPPED:
        _wrap_method(path, striker)
    _wrap_calls(striker)
    _wrap_wires(striker)


def _wrap_transactions(striker: Callable[[], Striker]) -> None:
    engine = import_module("worker.store.engine")
    real = engine.transaction
    loaded = [name for name in sys.modules if name.startswith("worker.") and hasattr(sys.modules[name], "transaction")]
    assert loaded == ["worker.store.engine"], f"these have the real one already: {loaded}"

    def transaction(given: Any, **options: Any) -> Any:
        frame = sys._getframe(1)
        module, function = frame.f_globals["__name__"], frame.f_code.co_qualname
        return watched(given, site_of(module, function, frame.f_lineno), options)

    @asynccontextmanager
    async def watched(given: Any, site: str, options: dict[str, Any]) -> AsyncIterator[Any]:
        here = striker()
        here.passes(f"{site} {FIRST}")
        wrote = False
        async with real(given, **options) as connection:
            yield connection
            _raise_spoilt(here.spoils(f"{site} {BEFORE_COMMIT}"))
            if here.expects(f"{site} {BEFORE_COMMIT}") or here.expects(f"{site} {COMMITTED}"):
                wrote = await _has_written(connection)
            here.passes(f"{site} {BEFORE_COMMIT}", wrote=wrote)
        here.passes(f"{site} {COMMITTED}", wrote=wrote)

    engine.transaction = transaction


def _raise_spoilt(how: str | None) -> None:
    errors = import_module("worker.errors")
    match how:
        case None:
            return
        case "unavailable":
            raise errors.PartUnavailableError("a test took the connection away")
        case "data_refused":
            raise errors.DataRefusedError("a test refuses these rows")
        case _:
            raise AssertionError(how)


async def _has_written(connection: Any) -> bool:
    text = import_module("sqlalchemy").text
    answer = await connection.execute(text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL"))
    return bool(answer.scalar_one())


def site_of(module: str, function: str, line: int) -> str:
    """Name a database transaction by its function, and by its number where the function has several."""
    lines = transaction_lines(module)[function]
    return f"{module}:{function}" + (f"#{lines.index(line) + 1}" if len(lines) > 1 else "")


@cache
def transaction_lines(module: str) -> dict[str, list[int]]:
    """Return the lines of each function of a module that open a database transaction."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, list[int]] = {}
    _walk(ast.parse(Path(spec.origin).read_text()), "", found)
    return found


def _walk(node: ast.AST, inside: str, found: dict[str, list[int]]) -> None:
    for child in ast.iter_child_nodes(node):
        name = inside
        if isinstance(child, ast.ClassDef):
            name = f"{inside}{child.name}."
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{inside}{child.name}.<locals>."
        elif isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id == "transaction":
            found.setdefault(inside.removesuffix(".<locals>."), []).append(child.lineno)
        _walk(child, name, found)


def _wrap_method(path: str, striker: Callable[[], Striker]) -> None:
    module, _, qualified = path.partition(":")
    class_name, method_name = qualified.split(".")
    owner = getattr(import_module(module), class_name)
    real = getattr(owner, method_name)

    @wraps(real)
    async def waits(*given: Any, **options: Any) -> Any:
        here = striker()
        if (how := here.spoils(f"{path} before")) is not None:
            return _set_aside(how, given[1])
        here.passes(f"{path} before")
        result = await real(*given, **options)
        here.is_working = here.is_working or path == "worker.pipeline.accept:Accept.accept"
        here.passes(f"{path} after")
        return result

    @wraps(real)
    def returns(*given: Any, **options: Any) -> Any:
        here = striker()
        here.passes(f"{path} before")
        result = real(*given, **options)
        here.passes(f"{path} after")
        return result

    setattr(owner, method_name, waits if iscoroutinefunction(real) else returns)


def _set_aside(how: str, messages: Any) -> list[Any]:
    """Answer as the producer does when Kafka refuses the first record for good and takes none of the others yet."""
    assert how == "set_aside"
    producer = import_module("worker.kafka.producer")
    refused = producer.Permanent("a test refuses this record")
    return [refused, *(producer.Unavailable("a test stopped behind it") for _ in messages[1:])]


def _wrap_calls(striker: Callable[[], Striker]) -> None:
    client = import_module("worker.whale.client").WhaleClient
    real = client.send

    @wraps(real)
    async def send(self: Any, signed: Any, **options: Any) -> Any:
        here = striker()
        kind = "look" if signed.request.method == "GET" else "call"
        here.passes(f"a {kind} before")
        exchange = await real(self, signed, **options)
        here.passes(f"a {kind} after")
        return exchange

    client.send = send


def _wrap_wires(striker: Callable[[], Striker]) -> None:
    loop = import_module("uvloop").Loop
    real = loop.create_connection

    async def create_connection(self: Any, protocol_factory: Any, *given: Any, **options: Any) -> Any:
        transport, protocol = await real(self, protocol_factory, *given, **options)
        wire = Wire(transport, striker())
        for name in {*getattr(protocol, "__dict__", ()), *_slots(type(protocol))}:
            if getattr(protocol, name, None) is transport:
                setattr(protocol, name, wire)
        return wire, protocol

    loop.create_connection = create_connection


def _slots(kind: type) -> set[str]:
    return {name for one in kind.__mro__ for name in getattr(one, "__slots__", ())}


class Wire:
    """A transport whose writes are passages: what is written at a strike leaves by itself, past the loop's buffer."""

    def __init__(self, transport: Any, striker: Striker) -> None:
        self._transport, self._striker = transport, striker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, unless this process ends before, amid or after it."""
        named = _request_of(bytes(data[:6]))
        if named is None:
            self._transport.write(data)
            return
        here, piece = self._striker, memoryview(bytes(data))
        here.passes(f"{named} {BEFORE_BYTES}")
        for phase, length in ((HALF, len(piece) // 2), (BYTES, len(piece))):
            if here.is_next(f"{named} {phase}"):
                self._write_now(piece[:length])
                here.strike()
                piece = piece[length:]
        if piece:
            self._transport.write(piece)

    def _write_now(self, piece: memoryview) -> None:
        assert self._transport.get_write_buffer_size() == 0
        number = self._transport.get_extra_info("socket").fileno()
        while piece:
            piece = piece[os.write(number, piece) :]


def _request_of(start: bytes) -> str | None:
    """Name what a write begins: an HTTP request, or a request that changes something in Kafka."""
    if start[:4] == b"GET ":
        return "a look"
    if start[:4] in {b"POST", b"PUT ", b"DELE", b"PATC"}:
        return "a call"
    name = REQUESTS.get(int.from_bytes(start[4:6]))
    return None if name is None or start[0] != 0 else name


def set_paces() -> None:
    """Change what only waits; for the worker of this process."""
    for path, seconds in PACES.items():
        module, _, name = path.partition(":")
        owner = import_module(module)
        unit = type(getattr(owner, name))
        setattr(owner, name, seconds if unit is float else unit(seconds=seconds))
