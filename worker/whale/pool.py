"""The connections to the brokerage: how many there may be, which are idle, and how a new one is made."""

import asyncio
import socket
import ssl
from collections import deque
from typing import Final, cast

from yarl import URL

from worker.ledger.addresses import Proxy
from worker.whale.connection import Connection
from worker.whale.tunnel import ProxyError, through
from worker.whale.wire import NoAnswer, NoAnswerKind, clean

KEEP_ALIVE_S: Final = 15.0


class Pool:
    """At most `size` connections: one for each slot that is taken, or idle.

    A call takes a slot first (those that wait get one in their sequence), then the connection that was idle for the
    shortest time, and opens one only where none is idle. Instants are those of the event loop's clock, in seconds.
    """

    def __init__(self, url: URL, size: int, unacknowledged_s: float, proxy: Proxy | None) -> None:
        self._host, self._port = cast("str", url.raw_host), cast("int", url.port)  # `checked_url` saw to both
        self._tls = _tls() if url.scheme == "https" else None
        self._unacknowledged_s = unacknowledged_s
        self._proxy = proxy
        self._way = "" if proxy is None else f", by way of the proxy {proxy.address}"
        self.loop: Final = asyncio.get_running_loop()
        self._idle: deque[tuple[Connection, float]] = deque()
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.slots: Final = asyncio.Semaphore(size)

    def take(self) -> Connection | None:
        """Return the connection that was used last, None if none is idle that the other side may be expected to keep."""
        while self._idle:
            connection, since_s = self._idle.pop()
            if self.loop.time() - since_s < KEEP_ALIVE_S:
                return connection
            connection.drop()
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection for the next call, or drop it if none can be made on it."""
        if not connection.is_reusable:
            connection.drop()
            return
        self._idle.append((connection, self.loop.time()))
        if self._sweep is None:
            self._sweep = self.loop.call_later(KEEP_ALIVE_S, self._drop_old)

    async def connect(self, ends_s: float) -> Connection | NoAnswer:
        """Open a connection, proxy and TLS included, by that instant; or say why there is none."""
        try:
            async with asyncio.timeout_at(ends_s):
                connection = await self._connected()
        except TimeoutError:
            return NoAnswer(sent=False, kind="timeout", message=f"no connection by the call's deadline{self._way}")
        except ProxyError as error:
            return NoAnswer(sent=False, kind="proxy", message=clean(str(error)))
        except (OSError, UnicodeError) as error:
            message = clean(f"{type(error).__name__}: {error}{self._way}")
            return NoAnswer(sent=False, kind=_kind(error), message=message)
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def close(self) -> None:
        """Drop every connection and wait until they are closed; calls under way end without an answer."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        lost = [connection.lost for connection in self._open]
        for connection in self._open:
            connection.drop()
        if lost:
            await asyncio.wait(lost)

    async def _connected(self) -> Connection:
        if self._proxy is not None:
            return await through(self._proxy, self._host, self._port, self._tls, self._new)
        _, connection = await self.loop.create_connection(
            self._new, self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
        )
        return connection

    def _new(self) -> Connection:
        return Connection(self.loop, tls=self._tls is not None, unacknowledged_s=self._unacknowledged_s)

    def _drop_old(self) -> None:
        """Drop what was idle for too long: the first in line is the oldest."""
        self._sweep = None
        while self._idle:
            connection, since_s = self._idle[0]
            if self.loop.time() < since_s + KEEP_ALIVE_S:
                self._sweep = self.loop.call_at(since_s + KEEP_ALIVE_S, self._drop_old)
                return
            self._idle.popleft()
            connection.drop()


def _tls() -> ssl.SSLContext:
    """Return the default: the system's authorities, the name in the certificate compared with the host."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _kind(error: BaseException) -> NoAnswerKind:
    match error:
        case socket.gaierror() | UnicodeError():
            return "dns"
        case ssl.SSLError():
            return "tls"
        case _:
            return "refused"
