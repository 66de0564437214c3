"""One call to the brokerage, once: signed, bounded in time and size, never sent again by a lower layer.

`answer` reads what comes back, `connection` writes and waits, `pool` has the connections; here is what a call does with them.
"""

import asyncio
from types import TracebackType
from typing import Final, Self, assert_never

from yarl import URL

from worker import clock
from worker.errors import SettingsError
from worker.ledger.addresses import crosses_the_network_bare, read_proxy
from worker.ledger.secret import Secret
from worker.ledger.verdicts import Request
from worker.whale.pool import Pool
from worker.whale.sign import Credentials, SignedRequest, sign
from worker.whale.wire import Exchange, NoAnswer, NoAnswerKind

ALWAYS_SENT: Final = (
    "Accept: application/json",
    "Accept-Encoding: identity",
    "Accept-Language: en",
    "User-Agent: ledger-worker",
)


class WhaleClient:
    """Signs and sends. An async context manager, entered once, in the event loop in which it is used.

    `timeout_s` is the deadline of a whole call, from asking for a connection to the last byte of the answer.
    `proxy` is the URL of a proxy that makes the connections, the environment's are not used.
    Raises SettingsError for a URL that is not one, has a path, or is `http://` to (or by way of) another host without
    `allow_http`, and for credentials that no header can carry; ValueError for a proxy that the settings had refused.
    """

    def __init__(
        self,
        *,
        url: str,
        credentials: Credentials,
        timeout_s: float,
        pool_size: int,
        allow_http: bool = False,
        proxy: Secret | None = None,
    ) -> None:
        proxy_url = "" if proxy is None else proxy.get_secret_value()
        self._url = checked_url(url, allow_http=allow_http, proxy_url=proxy_url)
        self._proxy = read_proxy(proxy_url) if proxy_url else None
        self._credentials = checked_credentials(credentials)
        self._timeout_s = timeout_s
        self._pool_size = pool_size
        self._opened: Pool | None = None

    async def __aenter__(self) -> Self:
        self._opened = Pool(self._url, self._pool_size, self._timeout_s, self._proxy)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    @property
    def credentials(self) -> Credentials:
        """What requests are signed with now."""
        return self._credentials

    def renew(self, credentials: Credentials) -> None:
        """Sign with these from now on; calls under way are not touched. Raises SettingsError where no header can carry them."""
        self._credentials = checked_credentials(credentials)

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
        pool = self._opened
        if pool is None:
            raise RuntimeError("the client is used outside of its context")
        data = wire_bytes(signed, self._url)
        if clock.boot_s() >= send_before_s:
            return _unsent("late", "the time to send had passed before a connection was asked for")
        ends_s = pool.loop.time() + (self._timeout_s if deadline_s is None else deadline_s)
        if pool.slots.locked():
            try:
                async with asyncio.timeout_at(ends_s):
                    await pool.slots.acquire()
            except TimeoutError:
                return _unsent("timeout", "no connection was free by the call's deadline")
        else:
            await pool.slots.acquire()  # does not wait, and needs no deadline
        try:
            return await _exchange(pool, data, send_before_s, ends_s)
        finally:
            pool.slots.release()


async def _exchange(pool: Pool, data: bytes, send_before_s: float, ends_s: float) -> Exchange:
    while True:
        kept = pool.take()
        connection = kept or await pool.connect(ends_s)
        if isinstance(connection, NoAnswer):
            return connection
        departed = connection.depart(data, send_before_s, ends_s)
        match departed:
            case asyncio.Future():
                break
            case "late":
                pool.put(connection)
                return _unsent("late", "the time to send had passed when the connection was ready")
            case "dropped":  # nothing was written: take another one, but do not knock for ever
                connection.drop()
                if kept is None:
                    return _unsent("reset", "the connection was dropped before the request was written")
            case _:
                assert_never(departed)
    try:
        return await departed
    finally:
        pool.put(connection)


def checked_credentials(credentials: Credentials) -> Credentials:
    """Return them; SettingsError where no header can carry them."""
    for name, text in (("APP_KEY", credentials.app_key), ("ACCESS_TOKEN", credentials.access_token)):
        if not text or not text.isascii() or not text.isprintable() or text != text.strip():
            raise SettingsError(f"LEDGER_WHALE_{name} is empty or holds characters that no header can carry")
    return credentials


def checked_url(text: str, *, allow_http: bool, proxy_url: str = "") -> URL:
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
    if not allow_http and crosses_the_network_bare(text, proxy_url):
        way = ", by way of a proxy" if proxy_url else ""
        raise SettingsError(
            f"LEDGER_WHALE_BASE_URL is http:// to {url.host}{way}: use https://, or set LEDGER_WHALE_ALLOW_HTTP=true"
        )
    return url.origin()


def wire_bytes(signed: SignedRequest, url: URL) -> bytes:
    """Return the request as it goes over the wire; its path and query are those that were signed."""
    request = signed.request
    target = f"{request.path}?{request.query}" if request.query else request.path
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {url.host_port_subcomponent}", *ALWAYS_SENT]
    lines += [f"{name}: {value}" for name, value in signed.headers]
    if request.body or request.method != "GET":
        lines.append(f"Content-Length: {len(request.body)}")
    text = "".join(lines)
    if not (text.isascii() and text.isprintable()):
        raise ValueError("a request line or header holds characters that cannot go over the wire")
    lines += ("", "")
    return "\r\n".join(lines).encode("ascii") + request.body


def _unsent(kind: NoAnswerKind, message: str) -> NoAnswer:
    return NoAnswer(sent=False, kind=kind, message=message)
