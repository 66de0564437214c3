"""One attempt is at most one request on the wire, and what is told of it is true."""

import asyncio
import inspect
import socket
from collections.abc import Callable

import pytest

from tests.contract.raw_brokerage import Call, raw_brokerage
from tests.contract.whale_calls import CREDENTIALS, METHODS, POST, answers, attempt, client
from worker import clock
from worker.errors import SettingsError
from worker.ledger.verdicts import Request
from worker.whale.client import WhaleClient, checked_url
from worker.whale.connection import Connection
from worker.whale.sign import Credentials, sign
from worker.whale.wire import ANSWER_BYTES_MAX, Answer, NoAnswer


async def resets(call: Call) -> None:
    call.reset()


async def hangs_up(call: Call) -> None:
    call.writer.close()


async def says_nothing(call: Call) -> None:
    await call.until_gone()


async def hangs_up_in_the_answer(call: Call) -> None:
    call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await call.writer.drain()
    call.writer.close()


async def speaks_no_http(call: Call) -> None:
    call.writer.write(b"\x15\x03\x01 hello\r\n\r\n")
    await call.writer.drain()


def status(code: int) -> Callable[[Call], object]:
    async def script(call: Call) -> None:
        await call.answer(f"{code} Whatever", extra="Location: /elsewhere\r\n")

    return script


@pytest.mark.parametrize("request_", METHODS, ids=lambda one: f"{one.method}-{len(one.body)}")
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (answers, 200),
        *((status(code), code) for code in (301, 302, 303, 307, 308, 401, 408, 429, 500, 502, 503, 504)),
        (resets, "reset"),
        (hangs_up, "reset"),
        (hangs_up_in_the_answer, "cut"),
        (speaks_no_http, "cut"),
    ],
)
async def test_one_attempt_is_one_request_over_new_and_kept_connections(
    script: Callable[[Call], object], expected: int | str, request_: Request
) -> None:
    async def first_plain(call: Call) -> None:
        if brokerage.calls[0] is call:
            await call.answer()
        else:
            await script(call)  # type: ignore[misc]

    async with raw_brokerage(first_plain) as brokerage, client(brokerage) as whale:
        assert isinstance(await attempt(whale, METHODS[0]), Answer)
        told = await attempt(whale, request_)
        assert len(brokerage.calls) == 2
        assert brokerage.connections == 1
    if isinstance(expected, int):
        assert isinstance(told, Answer)
        assert told.status == expected
        assert told.sent_s <= told.answered_s <= clock.boot_s()
    else:
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (True, expected)


@pytest.mark.parametrize("request_", METHODS, ids=lambda one: f"{one.method}-{len(one.body)}")
async def test_what_is_signed_is_what_goes_over_the_wire(request_: Request) -> None:
    async with raw_brokerage(answers) as brokerage, client(brokerage) as whale:
        await attempt(whale, request_)
    (call,) = brokerage.calls
    line, *headers = call.head.decode().split("\r\n")
    target = f"{request_.path}?{request_.query}" if request_.query else request_.path
    assert line == f"{request_.method} {target} HTTP/1.1"
    assert call.body == request_.body
    sent = dict(header.split(": ", 1) for header in headers if header)
    assert sent["Host"] == f"127.0.0.1:{brokerage.port}"
    assert sent["Content-Type"] == "application/json; charset=utf-8"
    assert sent["Accept-Encoding"] == "identity"
    assert "Cookie" not in sent
    assert dict(sign(request_, CREDENTIALS, 1_710_000_000).headers).items() <= sent.items()


async def test_nothing_is_written_when_the_time_to_send_has_passed() -> None:
    async with raw_brokerage(answers) as brokerage, client(brokerage) as whale:
        told = await attempt(whale, POST, ahead_s=-0.001)
        assert brokerage.connections == 0
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (False, "late")


async def test_nothing_is_written_when_the_time_passes_while_a_connection_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before_s = clock.boot_s() + 60
    readings = iter([before_s - 1, before_s])  # asked at the beginning, then right before the write
    async with raw_brokerage(answers) as brokerage, client(brokerage) as whale:
        with monkeypatch.context() as patched:
            patched.setattr(clock, "boot_s", lambda: next(readings))
            told = await whale.send(whale.sign(POST, 1), send_before_s=before_s)
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (False, "late")
        assert isinstance(await attempt(whale, POST), Answer)
    assert len(brokerage.calls) == 1


async def test_a_connection_dropped_while_idle_is_not_written_to_and_another_is_used() -> None:
    async def answer_and_close(call: Call) -> None:
        await call.answer()
        if call.connection == 1:
            # hang up at once: the client's loop has not seen it when the next attempt begins
            call.writer.transport.abort()

    async with raw_brokerage(answer_and_close) as brokerage, client(brokerage) as whale:
        for request in METHODS:
            assert isinstance(await attempt(whale, request), Answer)
    assert len(brokerage.calls) == len(METHODS)


def test_nothing_is_awaited_between_the_last_look_at_the_connection_and_the_clock_and_the_write() -> None:
    assert not inspect.iscoroutinefunction(Connection.depart)
    lines = [line.strip() for line in inspect.getsource(Connection.depart).splitlines()]
    asked = lines.index("if not self.is_reusable or self._poll.poll(0):")
    assert lines[asked : lines.index("self._transport.write(data)") + 1] == [
        "if not self.is_reusable or self._poll.poll(0):",
        'return "dropped"',
        "now_s = clock.boot_s()",
        "if now_s >= send_before_s:",
        'return "late"',
        "self._owed, self._sent_s = True, now_s",
        "self._transport.write(data)",
    ]


async def test_an_unasked_answer_is_never_taken_for_that_of_the_next_call() -> None:
    async def answer_twice(call: Call) -> None:
        await call.answer(body=b'{"code":0,"call":%d}' % len(brokerage.calls))
        if call.connection == 1:
            await call.answer(body=b'{"code":0,"call":"of another"}')

    async with raw_brokerage(answer_twice) as brokerage, client(brokerage) as whale:
        for number in (1, 2):
            told = await attempt(whale, POST)
            assert isinstance(told, Answer)
            assert told.body == b'{"code":0,"call":%d}' % number
    assert len(brokerage.calls) == 2


async def test_an_unasked_answer_that_was_read_while_idle_is_not_taken_either() -> None:
    more = asyncio.Event()

    async def answer_late_again(call: Call) -> None:
        await call.answer()
        if call.connection == 1:
            await more.wait()
            await call.answer(status="408 Request Timeout", body=b'{"code":408,"message":"idle"}')

    async with raw_brokerage(answer_late_again) as brokerage, client(brokerage) as whale:
        await attempt(whale, POST)
        more.set()
        for _ in range(20):  # both ends live in this event loop: turns of it, not time
            await asyncio.sleep(0)
        told = await attempt(whale, POST)
    assert isinstance(told, Answer)
    assert told.status == 200
    assert [call.connection for call in brokerage.calls] == [1, 2]


async def test_past_the_deadline_the_socket_is_reset_not_closed() -> None:
    end: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    async def waits(call: Call) -> None:
        end.set_result(await call.until_gone())

    async with raw_brokerage(waits) as brokerage, client(brokerage, timeout_s=0.1) as whale:
        told = await attempt(whale, POST)
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (True, "timeout")
        assert await asyncio.wait_for(end, 5) is None
    assert len(brokerage.calls) == 1


async def test_a_cancelled_call_resets_its_socket() -> None:
    end: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    async def waits(call: Call) -> None:
        end.set_result(await call.until_gone())

    async with raw_brokerage(waits) as brokerage, client(brokerage) as whale:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(attempt(whale, POST))
            await asyncio.wait_for(brokerage.arrived.wait(), 5)
            call.cancel()
        assert await asyncio.wait_for(end, 5) is None


async def test_bytes_that_had_not_left_by_the_deadline_never_leave() -> None:
    big = Request("POST", "/v1/big", "", b"x" * (8 << 20))
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        async with client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_s=0.2) as whale:
            told = await attempt(whale, big)
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (True, "timeout")
        accepted, _ = listening.accept()
        with accepted, pytest.raises(ConnectionResetError):
            read_to_the_end(accepted)


async def test_the_deadline_is_that_of_the_whole_call_however_slowly_the_answer_drips() -> None:
    async def drips(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not call.writer.is_closing():
            call.writer.write(b"x")
            await call.writer.drain()
            await asyncio.sleep(0)

    async with raw_brokerage(drips) as brokerage, client(brokerage, timeout_s=0.2) as whale:
        began_s = clock.boot_s()
        told = await attempt(whale, POST)
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (True, "timeout")
        assert clock.boot_s() - began_s < 3


async def test_a_call_may_have_a_deadline_of_its_own() -> None:
    async with raw_brokerage(says_nothing) as brokerage, client(brokerage, timeout_s=60) as whale:
        told = await whale.send(whale.sign(POST, 1), send_before_s=clock.boot_s() + 60, deadline_s=0.1)
    assert isinstance(told, NoAnswer)
    assert told.kind == "timeout"


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_longer_than_the_bound_is_not_kept(chunked: bool) -> None:
    size = ANSWER_BYTES_MAX + 1

    async def floods(call: Call) -> None:
        if chunked:
            call.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            call.writer.write(b"%x\r\n" % size + b" " * size + b"\r\n0\r\n\r\n")
        else:
            call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b" " * size)
        await call.until_gone()

    async with raw_brokerage(floods) as brokerage, client(brokerage) as whale:
        told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (True, "too_large")


async def test_an_answer_of_exactly_the_bound_is_kept() -> None:
    async def fills(call: Call) -> None:
        await call.answer(body=b" " * ANSWER_BYTES_MAX)

    async with raw_brokerage(fills) as brokerage, client(brokerage) as whale:
        told = await attempt(whale, POST)
    assert isinstance(told, Answer)
    assert len(told.body) == ANSWER_BYTES_MAX


async def test_a_refused_connection_is_nothing_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}") as whale:
            told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (False, "refused")


async def test_a_name_that_does_not_resolve_is_nothing_sent() -> None:
    async with client("https://brokerage.invalid") as whale:
        told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (False, "dns")


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with raw_brokerage(answers) as brokerage, client(brokerage) as whale:
        assert isinstance(await attempt(whale, POST), Answer)


async def test_only_named_headers_of_an_answer_are_kept() -> None:
    async def talks(call: Call) -> None:
        await call.answer(extra="X-Trace-Id: abc\r\nRetry-After: 3\r\nSet-Cookie: a=b\r\nServer: nginx\r\n")

    async with raw_brokerage(talks) as brokerage, client(brokerage) as whale:
        told = await attempt(whale, POST)
        await attempt(whale, POST)
    assert isinstance(told, Answer)
    assert dict(told.headers) == {"x-trace-id": "abc", "retry-after": "3", "content-type": "application/json"}
    assert b"cookie" not in brokerage.calls[1].head.lower()


@pytest.mark.parametrize(
    "url",
    ["", "brokerage", "ftp://a.b", "http://brokerage.example", "https://a.b/v1", "https://a.b?x=1", "https://u:p@a.b"],
)
def test_an_unusable_address_is_refused_with_the_name_of_its_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="LEDGER_WHALE_BASE_URL"):
        checked_url(url, allow_http=False)


def test_plain_http_needs_loopback_or_the_setting() -> None:
    for url in ("http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://a.b/"):
        checked_url(url, allow_http=False)
    checked_url("http://sandbox:8080", allow_http=True)


@pytest.mark.parametrize("text", ["", " key", "a\r\nX-Other: b", "schlüssel"])
def test_credentials_that_no_header_can_carry_are_refused(text: str) -> None:
    for credentials in (Credentials(text, "s", "t"), Credentials("k", "s", text)):
        with pytest.raises(SettingsError, match="LEDGER_WHALE_"):
            WhaleClient(url="https://a.b", credentials=credentials, timeout_s=1.0, pool_size=1)


def test_credentials_do_not_show_their_secrets() -> None:
    signed = sign(POST, CREDENTIALS, 1)
    for secret in (CREDENTIALS.app_secret, CREDENTIALS.access_token):
        assert secret not in repr(CREDENTIALS)
        assert secret not in repr(signed)


def read_to_the_end(accepted: socket.socket) -> None:
    while accepted.recv(1 << 16):
        pass
