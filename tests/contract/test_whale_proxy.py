"""By way of a proxy: the brokerage is reached as without one, and what goes wrong before its door is nothing sent."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

import worker
from tests.contract.raw_brokerage import Call, raw_brokerage, raw_server, shown
from tests.contract.whale_calls import CREDENTIALS, METHODS, POST, answers, attempt, client
from worker.errors import SettingsError
from worker.ledger.addresses import Proxy
from worker.ledger.secret import Secret
from worker.operate.doctor.brokerage import examine_brokerage
from worker.settings import Settings
from worker.whale.client import WhaleClient, checked_url
from worker.whale.tunnel import HEAD_BYTES_MAX, ProxyError, Tunnel, behind
from worker.whale.wire import Answer, NoAnswer

OPENED = b"HTTP/1.1 200 Connection established\r\nProxy-Agent: a\r\n\r\n"
PASSWORD = "s3cr:t/ä"
LOGIN = "the-desk:s3cr%3At%2F%C3%A4@"


@dataclass
class ForwardProxy:
    """Answers CONNECT with these pieces and then passes bytes on, unless it is to hang up."""

    pieces: tuple[bytes, ...] = (OPENED,)
    hangs_up: bool = False
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    passed: bytes = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        for piece in self.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if self.hangs_up:
            writer.close()
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pass_on(reader, back, sent=True))
                group.create_task(self.pass_on(there, writer, sent=False))
        finally:
            back.transport.abort()

    async def pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, sent: bool) -> None:
        while data := await source.read(1 << 16):
            self.passed += data if sent else b""
            sink.write(data)
        sink.close()


@asynccontextmanager
async def forward_proxy(*pieces: bytes, hangs_up: bool = False) -> AsyncIterator[ForwardProxy]:
    proxy = ForwardProxy(pieces or (OPENED,), hangs_up=hangs_up)
    async with raw_server(proxy.serve) as proxy.port:
        yield proxy


def url_of(proxy: ForwardProxy, login: str = "") -> str:
    return f"http://{login}127.0.0.1:{proxy.port}"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("login", ["", LOGIN], ids=["open", "login"])
async def test_calls_go_by_way_of_the_proxy_once_each_over_kept_connections(
    authority: trustme.CA, *, tls: bool, login: str
) -> None:
    context = shown(authority.issue_cert("localhost")) if tls else None
    async with (
        raw_brokerage(answers, tls=context) as brokerage,
        forward_proxy() as proxy,
        client(f"http{'s' * tls}://localhost:{brokerage.port}", proxy=url_of(proxy, login)) as whale,
    ):
        for request in METHODS:
            assert isinstance(await attempt(whale, request), Answer)
    assert len(brokerage.calls) == len(METHODS)
    assert brokerage.connections == 1
    (head,) = proxy.heads
    line, *headers = head.decode().split("\r\n")[:-2]
    assert line == f"CONNECT localhost:{brokerage.port} HTTP/1.1"
    authorization = base64.b64encode(f"the-desk:{PASSWORD}".encode()).decode()
    named = {f"Proxy-Authorization: Basic {authorization}"} if login else set()
    assert set(headers) == {f"Host: localhost:{brokerage.port}", "User-Agent: ledger-worker"} | named
    secrets = (CREDENTIALS.access_token.encode(), b"Proxy-Authorization")
    assert [secret in proxy.passed for secret in secrets] == [not tls, False]
    assert all(b"proxy-" not in call.head.lower() for call in brokerage.calls)


async def told_behind(*pieces: bytes, hangs_up: bool = False, login: str = LOGIN) -> NoAnswer:
    """Call twice by way of a proxy that opens nothing; what is told is the same, and the brokerage has seen nothing."""
    async with (
        raw_brokerage(answers) as brokerage,
        forward_proxy(*pieces, hangs_up=hangs_up) as proxy,
        client(brokerage, proxy=url_of(proxy, login)) as whale,
    ):
        first, told = [await attempt(whale, POST) for _ in range(2)]
        assert len(proxy.heads) == 2
        assert brokerage.calls == []
    assert isinstance(told, NoAnswer)
    assert told == first
    assert told.message.startswith(f"the proxy 127.0.0.1:{proxy.port} makes no connection: ")
    assert not any(secret in told.message for secret in (PASSWORD, LOGIN, "the-desk", "echoed"))
    return told


@pytest.mark.parametrize(
    ("answer", "login", "says"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nX: echoed\r\n\r\n", LOGIN, "does not take the user"),
        (b"HTTP/1.1 407 echoed\r\n\r\n", "", "asks for a user and a password (407)"),
        (b"HTTP/1.1 403 echoed\r\nContent-Length: 6\r\n\r\nechoed", LOGIN, "does not allow 127.0.0.1:"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", LOGIN, "cannot reach 127.0.0.1:"),
        (b"HTTP/1.1 504\r\n\r\n", LOGIN, "(504)"),
        (b"HTTP/1.1 301 echoed\r\nLocation: http://elsewhere\r\n\r\n", LOGIN, "with 301"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OPENED, LOGIN, "with 100"),
        (b"SSH-2.0-echoed\r\n\r\n", LOGIN, "not HTTP"),
        (b"HTTP/1.1 200\n\n\r\n\r\n", LOGIN, "not HTTP"),
        (OPENED + b"echoed", LOGIN, "more than its answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", LOGIN, "longer than"),
    ],
)
async def test_what_the_proxy_refuses_is_nothing_sent_and_told_in_a_sentence(
    answer: bytes, login: str, says: str
) -> None:
    told = await told_behind(answer, login=login)
    assert (told.sent, told.kind) == (False, "proxy")
    assert says in told.message
    cut = answer.find(b"\r\n\r\n") + 3  # within the head: what follows it belongs to its last piece
    in_pieces = await told_behind(answer[:1], answer[1:cut], answer[cut:], login=login)
    assert (in_pieces.sent, in_pieces.kind) == (False, "proxy")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n"])
async def test_a_proxy_that_hangs_up_before_it_has_answered_is_nothing_sent(begun: bytes) -> None:
    told = await told_behind(begun, hangs_up=True)
    assert (told.sent, told.kind) == (False, "proxy")
    assert "hung up" in told.message


async def test_a_proxy_that_hangs_up_in_the_handshake_behind_it_is_nothing_sent() -> None:
    async with (
        forward_proxy(hangs_up=True) as proxy,
        client("https://brokerage.example", proxy=url_of(proxy)) as whale,
    ):
        told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert not told.sent
    assert f"the proxy 127.0.0.1:{proxy.port}" in told.message


async def test_a_proxy_that_cannot_be_reached_is_named_and_nothing_is_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for host in (f"127.0.0.1:{taken.getsockname()[1]}", "proxy.invalid:3128"):
            async with client("https://brokerage.example", proxy=f"http://{LOGIN}{host}") as whale:
                told = await attempt(whale, POST)
            assert isinstance(told, NoAnswer)
            assert (told.sent, told.kind) == (False, "proxy")
            assert told.message.startswith(f"the proxy {host} cannot be reached: ")
            assert PASSWORD not in told.message


@pytest.mark.parametrize("pieces", [(), (OPENED,)], ids=["no answer", "no handshake behind it"])
async def test_a_proxy_or_a_handshake_behind_it_that_stands_still_ends_by_the_deadline_and_nothing_is_sent(
    pieces: tuple[bytes, ...],
) -> None:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def stands_still(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
        try:
            await reader.read()
        finally:
            ended.set_result(None)

    async with (
        raw_server(stands_still) as port,
        client("https://brokerage.example", timeout_s=0.2, proxy=f"http://127.0.0.1:{port}") as whale,
    ):
        told = await attempt(whale, POST)
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (False, "timeout")
        assert f"by way of the proxy 127.0.0.1:{port}" in told.message
        await asyncio.wait_for(ended, 10)  # the socket does not stay


@pytest.mark.parametrize("name", ["other.example", None], ids=["another name", "unknown authority"])
async def test_the_certificate_behind_the_proxy_is_the_brokerages_or_nothing_is_sent(
    authority: trustme.CA, name: str | None
) -> None:
    tls = shown(authority.issue_cert(name) if name else trustme.CA().issue_cert("localhost"))
    async with (
        raw_brokerage(answers, tls=tls) as brokerage,
        forward_proxy() as proxy,
        client(f"https://localhost:{brokerage.port}", proxy=url_of(proxy)) as whale,
    ):
        for _ in range(2):
            told = await attempt(whale, POST)
            assert isinstance(told, NoAnswer)
            assert (told.sent, told.kind) == (False, "tls")
            assert f"by way of the proxy 127.0.0.1:{proxy.port}" in told.message
        assert brokerage.calls == []
        assert CREDENTIALS.access_token.encode() not in proxy.passed


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_behind_the_proxy_a_call_without_an_answer_is_in_doubt_and_its_socket_reset(
    authority: trustme.CA, *, tls: bool
) -> None:
    async def says_nothing(call: Call) -> None:
        await call.until_gone()

    context = shown(authority.issue_cert("localhost")) if tls else None
    async with (
        raw_brokerage(says_nothing, tls=context) as brokerage,
        forward_proxy() as proxy,
        client(f"http{'s' * tls}://localhost:{brokerage.port}", proxy=url_of(proxy)) as whale,
    ):
        call = asyncio.ensure_future(attempt(whale, POST))
        await asyncio.wait_for(brokerage.arrived.wait(), 10)
        brokerage.calls[0].reset()
        told = await call
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (True, "reset")
        brokerage.script = answers
        assert isinstance(await attempt(whale, POST), Answer)
    assert len(brokerage.calls) == 2


@pytest.mark.parametrize("what", ["word", "end"])
async def test_what_comes_unasked_before_the_request_spoils_the_connection(what: str) -> None:
    tunnel = Tunnel(Proxy("127.0.0.1", 1, None), "brokerage.example:443")
    tunnel.data_received(OPENED)
    assert await tunnel.refusal == ""
    if what == "word":
        tunnel.data_received(b"H")
    else:
        tunnel.connection_lost(None)
    with pytest.raises(ProxyError, match="before the request was written"):
        await behind(tunnel, asyncio.Transport(), None, "brokerage.example")


async def test_cancelled_while_the_proxy_is_asked_nothing_stays_open() -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def listens(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        try:
            await reader.read()
        finally:
            ended.set()

    async with raw_server(listens) as port, client("https://a.example", proxy=f"http://127.0.0.1:{port}") as whale:
        call = asyncio.ensure_future(attempt(whale, POST))
        await asyncio.wait_for(asked.wait(), 10)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 10)


def test_plain_http_by_way_of_a_proxy_beyond_loopback_needs_the_setting() -> None:
    for url in ("http://127.0.0.1:8080", "http://localhost"):
        checked_url(url, allow_http=False, proxy_url="http://127.0.0.1:3128")
        with pytest.raises(SettingsError, match="LEDGER_WHALE_ALLOW_HTTP"):
            checked_url(url, allow_http=False, proxy_url="http://proxy:3128")
        checked_url(url, allow_http=True, proxy_url="http://proxy:3128")
    checked_url("https://a.b", allow_http=False, proxy_url="http://proxy:3128")


def test_a_client_does_not_show_the_proxys_password() -> None:
    whale = WhaleClient(
        url="https://a.b", credentials=CREDENTIALS, timeout_s=1.0, pool_size=1, proxy=Secret(f"http://{LOGIN}p:3128")
    )
    assert whale._proxy is not None
    assert whale._proxy.address == "p:3128"
    assert PASSWORD not in repr(whale._proxy)


async def test_doctor_goes_by_way_of_the_proxy_and_says_so_without_its_password() -> None:
    async with raw_brokerage(answers) as brokerage, forward_proxy() as proxy:
        environ = {
            "LEDGER_WHALE_BASE_URL": brokerage.url,
            "LEDGER_WHALE_APP_KEY": CREDENTIALS.app_key,
            "LEDGER_WHALE_APP_SECRET": CREDENTIALS.app_secret,
            "LEDGER_WHALE_ACCESS_TOKEN": CREDENTIALS.access_token,
            "LEDGER_WHALE_PROXY": url_of(proxy, LOGIN),
        }
        settings = Settings.from_env(environ, needs=["whale"])
        (well, *_) = await examine_brokerage(settings)
        proxy.pieces, proxy.hangs_up = (b"HTTP/1.1 407 No\r\n\r\n",), True
        (ill,) = await examine_brokerage(settings)
    assert well.ok
    assert f"by way of the proxy 127.0.0.1:{proxy.port}" in well.says
    assert (ill.ok, "LEDGER_WHALE_PROXY" in ill.do) == (False, True)
    assert "(407)" in ill.says
    told = f"{well} {ill}"
    assert not any(secret in told for secret in (PASSWORD, LOGIN, "the-desk"))


async def test_whoever_calls_the_brokerage_goes_by_way_of_the_proxy() -> None:
    """Each place that makes a client gives it the setting: one that forgets would call directly."""
    folder = Path(worker.__file__).parent
    made = [text for path in folder.rglob("*.py") for text in path.read_text().split("WhaleClient(")[1:]]
    assert len(made) == 4
    assert all("proxy=settings.whale_proxy," in text.split("\n    )")[0] for text in made)
