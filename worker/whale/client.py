"""One call to the brokerage, once: signed, bounded in time and size, never sent again by a lower layer.

aiohttp gives the pool, the connections and the parser of answers. It does not write: it would check nothing before the
first byte, would send PUT, DELETE and GET again when a pooled connection was dropped, and writes a body from another
asyncio task. `GatedRequest.send` replaces that by one write of the whole request, right after the last checks.
"""

import asyncio
import ipaddress
import select
import socket
import ssl
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, cast
from weakref import WeakSet

import aiohttp
from aiohttp import ClientRequest, ClientResponse
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_writer import StreamWriter
from typing_extensions import override
from yarl import URL

from worker import clock
from worker.errors import SettingsError
from worker.ledger.verdicts import Request
from worker.whale.sign import Credentials, SignedRequest, sign
from worker.whale.wire import ANSWER_BYTES_MAX, HEADERS_KEPT, Answer, Exchange, NoAnswer, NoAnswerKind, clean

KEEP_ALIVE_S: Final = 15.0
CONNECTION_LOST: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)


class _LateError(Exception):
    """`send_before` passed; nothing was written."""


class _StaleError(Exception):
    """The connection was dropped, or holds an answer that nobody asked for; nothing was written."""

    def __init__(self, reused: bool) -> None:
        super().__init__("the connection was dropped before the request was written")
        self.reused = reused


class _SecondWriteError(aiohttp.ClientError):
    """A lower layer tried to send an attempt again; nothing more was written."""


class _TooLargeError(Exception):
    """The answer is longer than we read."""


@dataclass(slots=True)
class Departure:
    """What one attempt writes, and whether it was written."""

    data: bytes = field(repr=False)
    send_before_s: float
    carried: WeakSet[ResponseHandler]
    sent_s: float | None = None
    transport: asyncio.Transport | None = None


class GatedRequest(ClientRequest):
    """A request that leaves as one write, after the last look at the clock and the connection, at most once."""

    departure: Departure

    @override
    async def send(self, conn: Connection) -> ClientResponse:
        """Write; from the first line to the write nothing is awaited."""
        protocol = conn.protocol
        if protocol is None:
            raise _StaleError(reused=True)
        self._depart(protocol)
        return self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=self.session,
            stream_writer=StreamWriter(protocol, self.loop),  # writes nothing; it only counts
        )

    def _depart(self, protocol: ResponseHandler) -> None:
        departure, transport = self.departure, protocol.transport
        if departure.sent_s is not None:
            raise _SecondWriteError("the connection was lost after the request had been written")
        reused = protocol in departure.carried
        if transport is None or transport.is_closing() or protocol.should_close or _is_dropped(transport, reused):
            raise _StaleError(reused)
        departure.carried.add(protocol)
        departure.transport = transport
        now_s = clock.boot_s()
        if now_s >= departure.send_before_s:
            raise _LateError
        departure.sent_s = now_s
        transport.write(departure.data)


def _is_dropped(transport: asyncio.Transport, reused: bool) -> bool:
    """Ask the kernel whether the other side hung up, or an answer lies on a connection that waits for none."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), CONNECTION_LOST | (select.POLLIN if reused else 0))
    return bool(poll.poll(0))


class WhaleClient:
    """Signs and sends. An async context manager, entered once, in the event loop in which it is used.

    `timeout_s` is the deadline of a whole call, from asking for a connection to the last byte of the answer.
    Raises SettingsError for a URL that is not one, has a path, or is `http://` to another host without
    `allow_http`, and for credentials that no header can carry.
    """

    def __init__(
        self,
        *,
        url: str,
        credentials: Credentials,
        timeout_s: float,
        pool_size: int,
        allow_http: bool = False,
    ) -> None:
        self._url = checked_url(url, allow_http=allow_http)
        for name, text in (("APP_KEY", credentials.app_key), ("ACCESS_TOKEN", credentials.access_token)):
            if not text or not text.isascii() or not text.isprintable() or text != text.strip():
                raise SettingsError(f"LEDGER_WHALE_{name} is empty or holds characters that no header can carry")
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._pool_size = pool_size
        self._carried: WeakSet[ResponseHandler] = WeakSet()
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._pool_size,
                keepalive_timeout=KEEP_ALIVE_S,
                socket_factory=self._open_socket,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # ours covers the whole call
            trust_env=False,
            request_class=GatedRequest,
        )
        session._retry_connection = False  # noqa: SLF001 - no public door; Departure refuses a second write anyway
        self._opened = session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    def sign(self, request: Request, unix_s: int) -> SignedRequest:
        """Sign for that second; pure."""
        return sign(request, self._credentials, unix_s)

    async def read(self, request: Request) -> Exchange:
        """Sign now and send with the client's deadline; for requests that change nothing."""
        now_s = clock.boot_s()
        return await self.send(self.sign(request, int(clock.wall_s())), send_before_s=now_s + self._timeout_s)

    async def send(self, signed: SignedRequest, *, send_before_s: float, deadline_s: float | None = None) -> Exchange:
        """Make one call, once; never raises for what the network or the brokerage does.

        `send_before_s` is an instant in boot seconds, `deadline_s` the length of the whole call (None: the client's).
        On cancellation and past the deadline the socket is aborted: what the kernel still holds does not leave.
        """
        departure = Departure(wire_bytes(signed, self._url), send_before_s, self._carried)
        if clock.boot_s() >= send_before_s:
            return _unsent("late", "the time to send had passed before a connection was asked for")
        answered = False
        try:
            async with asyncio.timeout(self._timeout_s if deadline_s is None else deadline_s):
                answer = await self._exchange(signed.request.method, departure)
            answered = True
        except _LateError:
            return _unsent("late", "the time to send had passed when the connection was ready")
        except _StaleError as error:
            return _unsent("reset", str(error))
        except TimeoutError:
            sent = departure.sent_s is not None
            return NoAnswer(sent, "timeout", f"no {'whole answer' if sent else 'connection'} by the call's deadline")
        except (_TooLargeError, aiohttp.ClientError, OSError, ValueError) as error:
            return NoAnswer(departure.sent_s is not None, _kind(error), _told(error))
        finally:
            if not answered:
                _abort(departure.transport)
        return answer

    async def _exchange(self, method: str, departure: Departure) -> Answer:
        async def gate(request: ClientRequest, connect_and_send: aiohttp.ClientHandlerType) -> ClientResponse:
            cast("GatedRequest", request).departure = departure
            for _ in range(self._pool_size):
                try:
                    return await connect_and_send(request)
                except _StaleError as error:
                    if not error.reused:
                        raise
            return await connect_and_send(request)

        if self._opened is None:
            raise RuntimeError("the client is used outside of its context")
        response = await self._opened.request(
            method,
            self._url,
            allow_redirects=False,
            middlewares=(gate,),
        )
        async with response:
            body = await _bounded(response)
        kept = {name.lower(): clean(value) for name, value in response.headers.items() if name.lower() in HEADERS_KEPT}
        return Answer(response.status, body, kept, cast("float", departure.sent_s), clock.boot_s())

    def _open_socket(self, address: tuple[object, ...]) -> socket.socket:
        family, kind, protocol = cast("tuple[int, int, int]", address[:3])
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if TCP_USER_TIMEOUT is not None:
            opened.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, int(self._timeout_s * 1000))
        return opened


def checked_url(text: str, *, allow_http: bool) -> URL:
    """Return the brokerage's address, scheme, host and port only; SettingsError where it is not usable."""
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise SettingsError(f"LEDGER_WHALE_BASE_URL is not a URL: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host or port is None:
        raise SettingsError("LEDGER_WHALE_BASE_URL must be https://host[:port]")
    if url.user or url.password or url.raw_path not in {"", "/"} or url.raw_query_string or url.raw_fragment:
        raise SettingsError("LEDGER_WHALE_BASE_URL must end after the host and port: the path is signed as it is sent")
    if url.scheme == "http" and not allow_http and not _is_loopback(url.host):
        raise SettingsError(
            f"LEDGER_WHALE_BASE_URL is http:// to {url.host}: use https://, or set LEDGER_WHALE_ALLOW_HTTP=true"
        )
    return url.origin()


def wire_bytes(signed: SignedRequest, url: URL) -> bytes:
    """Return the request as it goes over the wire; its path and query are those that were signed."""
    request = signed.request
    target = f"{request.path}?{request.query}" if request.query else request.path
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
    lines += [f"{name}: {value}" for name, value in signed.headers]
    lines += [
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Accept-Language: en",
        "User-Agent: ledger-worker",
    ]
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    if any(not line.isprintable() or not line.isascii() for line in lines):
        raise ValueError("a request line or header holds characters that cannot go over the wire")
    return "\r\n".join((*lines, "", "")).encode("ascii") + request.body


async def _bounded(response: ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise _TooLargeError
    return bytes(body)


def _abort(transport: asyncio.Transport | None) -> None:
    """Drop the connection with what the kernel has not sent yet (a reset instead of an orderly end)."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _kind(error: BaseException) -> NoAnswerKind:
    match error:
        case _TooLargeError():
            return "too_large"
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls"
        case aiohttp.ClientConnectorError():
            return "refused"
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return "cut"
        case _:
            return "reset"


def _told(error: BaseException) -> str:
    return clean(f"{type(error).__name__.lstrip('_')}: {error}")


def _unsent(kind: NoAnswerKind, message: str) -> NoAnswer:
    return NoAnswer(sent=False, kind=kind, message=message)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
