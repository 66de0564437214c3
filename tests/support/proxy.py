"""A lossy wire: TCP forwarded from a port of its own, going wrong as told, to a worker that knows no other way.

All links live in one thread with an event loop of its own; `Link`'s methods may be called from any other thread. What
is told holds for the connections there are and for new ones, until something else is told. Nothing here draws chance:
which spell comes when is a schedule (tests/chaos/schedule.py).
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self, TypeVar, assert_never

from sandbox.parts.ports import free_port

_PIECE_BYTES = 65_536
_PIECES_WAITING_MAX = 64
_RESET = struct.pack("ii", 1, 0)
_CALL_DEADLINE_S = 30

Given = TypeVar("Given")


class Kind(StrEnum):
    """What a wire does to what goes through it."""

    PASS = "pass"
    DELAY = "delay"  # each piece waits `seconds`
    DRIP = "drip"  # `size` bytes each `seconds`
    HALF_OPEN = "half_open"  # one direction is lost without a trace; a connection that lost bytes is reset when it ends
    BLACK_HOLE = (
        "black_hole"  # connections are accepted, nothing moves; what waits goes on when it ends, as TCP sends it again
    )
    REFUSE = "refuse"  # nobody listens; connections that are there go on


class Way(StrEnum):
    """A direction, seen from the worker."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True)
class Weather:
    """A kind with its numbers; `way` None means both directions."""

    kind: Kind = Kind.PASS
    way: Way | None = None
    seconds: float = 0.0
    size: int = 0

    def __str__(self) -> str:
        told = [f"{self.way}" if self.way else "", f"{self.seconds:g} s" if self.seconds else ""]
        return " ".join([self.kind, *filter(None, [*told, f"{self.size} bytes" if self.size else ""])])


FAIR = Weather()


class Proxy:
    """The thread in which links live; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links:
            link.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def link(self, host_port: str, port: int | None = None) -> "Link":
        """Forward from `port` (a free one if None) to an address, in fair weather."""
        link = Link(self, host_port, free_port() if port is None else port)
        self._links.append(link)
        return link

    def call(self, coroutine: Coroutine[Any, Any, Given]) -> Given:
        """Run in the links' thread and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_DEADLINE_S)


class Link:
    """One listening port and where it leads."""

    def __init__(self, proxy: Proxy, host_port: str, port: int) -> None:
        host, _, target = host_port.rpartition(":")
        self.host_port = f"127.0.0.1:{port}"
        self.target = (host, int(target))
        self.weather = FAIR
        self.passed = {Way.UP: 0, Way.DOWN: 0}
        self.changed: asyncio.Event
        self._proxy, self._port = proxy, port
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._closed = False
        self._accepting: set[asyncio.Task[None]] = set()
        proxy.call(self._open())

    def tell(self, weather: Weather) -> None:
        """Change the weather, from the next piece of bytes on."""
        self._proxy.call(self._tell(weather))

    def reset(self) -> None:
        """Cut every connection now, with RST to both sides."""
        self._proxy.call(self._reset(lambda _: True))

    def connections(self) -> int:
        """Count the connections that are open."""
        return len(self._connections)

    def close(self) -> None:
        """Listen no more and cut what is open. May be called twice."""
        self._proxy.call(self._close())

    async def _open(self) -> None:
        self.changed = asyncio.Event()
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=512)

    async def _tell(self, weather: Weather) -> None:
        before, self.weather = self.weather, weather
        self.changed.set()
        self.changed = asyncio.Event()
        if before.kind is Kind.HALF_OPEN:
            await self._reset(lambda one: one.lost_bytes)
        if weather.kind is Kind.REFUSE and self._server is not None:
            self._server.close()
            self._server = None
        elif weather.kind is not Kind.REFUSE and self._server is None:
            await self._listen()

    async def _reset(self, meant: Callable[["_Connection"], bool]) -> None:
        for one in [one for one in self._connections if meant(one)]:
            one.abort()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._closed = True
        await self._reset(lambda _: True)
        if self._accepting:
            await asyncio.wait(self._accepting)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        try:
            inner = await asyncio.open_connection(*self.target)
        except OSError:
            _abort(writer)  # who is behind the wire does not listen
            return
        if self._closed:
            _abort(writer)
            _abort(inner[1])
            return
        connection = _Connection(self, (reader, writer), inner)
        self._connections.add(connection)
        try:
            await connection.forward()
        finally:
            self._connections.discard(connection)


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """Two directions; each is read at once, so that a reset is seen at once, and written as the weather lets it."""

    def __init__(self, link: Link, outer: Side, inner: Side) -> None:
        self.lost_bytes = False
        self._link, self._outer, self._inner = link, outer, inner
        self._tasks: list[asyncio.Task[None]] = []

    def abort(self) -> None:
        """Cut both sides; bytes that wait here are lost."""
        for task in self._tasks:
            task.cancel()
        for _, writer in (self._outer, self._inner):
            _abort(writer)

    async def forward(self) -> None:
        for way, source, sink in (
            (Way.UP, self._outer[0], self._inner[1]),
            (Way.DOWN, self._inner[0], self._outer[1]),
        ):
            waiting: asyncio.Queue[bytes] = asyncio.Queue(_PIECES_WAITING_MAX)
            self._tasks += [
                asyncio.create_task(self._read(source, waiting)),  # noqa: TID251 - `forward` outlives them all
                asyncio.create_task(self._write(way, waiting, sink)),  # noqa: TID251
            ]
        await asyncio.wait(self._tasks)
        for _, writer in (self._outer, self._inner):
            writer.close()

    async def _read(self, source: asyncio.StreamReader, waiting: "asyncio.Queue[bytes]") -> None:
        try:
            while piece := await source.read(_PIECE_BYTES):
                await waiting.put(piece)
            await waiting.put(b"")
        except OSError:
            self.abort()

    async def _write(self, way: Way, waiting: "asyncio.Queue[bytes]", sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await waiting.get():
                await self._pass(way, piece, sink)
            await self._calm(way)
            if sink.can_write_eof():
                sink.write_eof()
        except OSError:
            self.abort()

    async def _pass(self, way: Way, piece: bytes, sink: asyncio.StreamWriter) -> None:
        while piece:
            weather = self._link.weather
            kind = Kind.PASS if weather.way not in (None, way) else weather.kind
            match kind:
                case Kind.PASS | Kind.REFUSE:
                    out, piece = piece, b""
                case Kind.DELAY:
                    await asyncio.sleep(weather.seconds)
                    out, piece = piece, b""
                case Kind.DRIP:
                    await asyncio.sleep(weather.seconds)
                    out, piece = piece[: weather.size], piece[weather.size :]
                case Kind.HALF_OPEN:
                    self.lost_bytes = True
                    return
                case Kind.BLACK_HOLE:
                    await self._link.changed.wait()
                    continue
                case _:
                    assert_never(kind)
            sink.write(out)
            self._link.passed[way] += len(out)
            await sink.drain()

    async def _calm(self, way: Way) -> None:
        """Wait while nothing moves in this direction: an end is not told either."""
        while self._link.weather.kind in (Kind.BLACK_HOLE, Kind.HALF_OPEN) and self._link.weather.way in (None, way):
            await self._link.changed.wait()


def _abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
