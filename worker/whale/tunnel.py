"""A connection by way of a proxy: asked for by CONNECT, and no byte of a request before the brokerage's own door.

The proxy sees the brokerage's name and port. Behind an `https://` address TLS is between the brokerage and us, its certificate
compared with its own name. Of what a proxy answers only the status is told: it might repeat the password that it was given.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import Callable
from typing import Final, cast

from typing_extensions import override

from worker.ledger.addresses import Proxy, host_and_port
from worker.whale.connection import Connection

HEAD_BYTES_MAX: Final = 1 << 14
SPOILED: Final = "it ended, or something came unasked, before the request was written"
_END: Final = b"\r\n\r\n"
_status: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: [^\r\n]*)?\r\n").match


class ProxyError(Exception):
    """The proxy made no connection; the text says why, in a sentence without secrets."""


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a connection to `target`; `refusal` is done when it has answered, empty where it opened one.

    Keeps the place on the transport until a `Connection` takes it: what comes or ends meanwhile spoils it.
    """

    def __init__(self, proxy: Proxy, target: str) -> None:
        self._proxy, self._target = proxy, target
        self.address: Final = proxy.address
        self._head = b""
        self.refusal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_spoiled = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}", "User-Agent: ledger-worker"]
        if self._proxy.login is not None:
            login = base64.b64encode(self._proxy.login.get_secret_value().encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {login}")
        cast("asyncio.Transport", transport).write("\r\n".join([*lines, "", ""]).encode())

    @override
    def data_received(self, data: bytes) -> None:
        if self.refusal.done():
            self.is_spoiled = True  # an unasked word of the other side
            return
        self._head += data
        end = self._head.find(_END, 0, HEAD_BYTES_MAX)
        if end >= 0:
            self.refusal.set_result(self._read(self._head[: end + len(_END)], self._head[end + len(_END) :]))
        elif len(self._head) >= HEAD_BYTES_MAX:
            self.refusal.set_result(f"the head of its answer is longer than {HEAD_BYTES_MAX} bytes")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_spoiled = True
        if not self.refusal.done():
            self.refusal.set_result("it hung up before it had answered")

    def _read(self, head: bytes, more: bytes) -> str:
        found = _status(head)
        if not found:
            return "what it answers is not HTTP"
        match int(found[1]):
            case status if 200 <= status < 300:  # noqa: PLR2004
                return "it sent more than its answer" if more else ""
            case 407 if self._proxy.login is None:
                return "it asks for a user and a password (407)"
            case 407:
                return "it does not take the user and password of LEDGER_WHALE_PROXY (407)"
            case 403:
                return f"it does not allow {self._target} (403)"
            case 502 | 503 | 504 as status:
                return f"it cannot reach {self._target} ({status})"
            case status:
                return f"it answers CONNECT {self._target} with {status}"


async def through(
    proxy: Proxy, host: str, port: int, tls: ssl.SSLContext | None, new: Callable[[], Connection]
) -> Connection:
    """Open a connection to that host and port by way of the proxy, with TLS inside where wanted. The caller sets the deadline.

    Raises ProxyError where the proxy makes none, OSError (ssl.SSLError) for what is behind it; no transport is left open then.
    """
    loop = asyncio.get_running_loop()
    try:
        opened, tunnel = await loop.create_connection(
            lambda: Tunnel(proxy, host_and_port(host, port)), proxy.host, proxy.port
        )
    except (OSError, UnicodeError) as error:
        raise ProxyError(f"the proxy {proxy.address} cannot be reached: {type(error).__name__}: {error}") from error
    try:
        inner = await behind(tunnel, opened, tls, host)
    except BaseException:
        opened.abort()
        raise
    # nothing is awaited from here on: the next bytes are the connection's own
    connection = new()
    inner.set_protocol(connection)
    connection.connection_made(inner)
    return connection


async def behind(
    tunnel: Tunnel, transport: asyncio.Transport, tls: ssl.SSLContext | None, host: str
) -> asyncio.Transport:
    """Return the transport that reaches the brokerage, TLS included, once the proxy has opened the tunnel. Raises as `through` does."""
    refusal = await tunnel.refusal
    inner: asyncio.Transport | None = transport
    if tls is not None and not refusal:
        inner = await asyncio.get_running_loop().start_tls(transport, tunnel, tls, server_hostname=host)
    if refusal or tunnel.is_spoiled or inner is None or inner.is_closing():  # None: lost right behind the handshake
        raise ProxyError(f"the proxy {tunnel.address} makes no connection: {refusal or SPOILED}")
    return inner
