"""Over TLS: who may answer, and that everything else is as without it."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from tests.contract.raw_brokerage import Call, raw_brokerage, raw_server, shown
from tests.contract.whale_calls import METHODS, POST, answers, attempt, client
from worker import clock
from worker.whale.wire import Answer, NoAnswer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_one_attempt_is_one_request_over_new_and_kept_connections(authority: trustme.CA, host: str) -> None:
    tls = shown(authority.issue_cert("localhost", "127.0.0.1"))
    async with raw_brokerage(answers, tls=tls) as brokerage, client(f"https://{host}:{brokerage.port}") as whale:
        for request in METHODS:
            assert isinstance(await attempt(whale, request), Answer)
        assert len(brokerage.calls) == len(METHODS)
        assert brokerage.connections == 1


async def test_a_certificate_of_an_unknown_authority_is_nothing_sent(authority: trustme.CA) -> None:
    await sees_nothing_sent(shown(trustme.CA().issue_cert("localhost")))


async def test_a_certificate_for_another_name_is_nothing_sent(authority: trustme.CA) -> None:
    await sees_nothing_sent(shown(authority.issue_cert("other.example")))


async def test_an_expired_certificate_is_nothing_sent(authority: trustme.CA) -> None:
    ended = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251
    await sees_nothing_sent(shown(authority.issue_cert("localhost", not_before=ended - timedelta(1), not_after=ended)))


async def sees_nothing_sent(tls: ssl.SSLContext) -> None:
    async with raw_brokerage(answers, tls=tls) as brokerage, client(f"https://localhost:{brokerage.port}") as whale:
        for _ in range(2):  # and a connection that was refused is not kept
            told = await attempt(whale, POST)
            assert isinstance(told, NoAnswer)
            assert (told.sent, told.kind) == (False, "tls")
        assert brokerage.calls == []


async def test_what_is_no_tls_is_nothing_sent() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with raw_server(garbage) as port, client(f"https://127.0.0.1:{port}") as whale:
        told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (False, "tls")


async def test_a_handshake_that_stands_still_is_nothing_sent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with raw_server(silent) as port, client(f"https://127.0.0.1:{port}", timeout_s=0.1) as whale:
        told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (False, "timeout")


async def test_past_the_deadline_the_socket_is_reset_not_closed(authority: trustme.CA) -> None:
    end: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    async def waits(call: Call) -> None:
        end.set_result(await call.until_gone())

    tls = shown(authority.issue_cert("localhost"))
    async with (
        raw_brokerage(waits, tls=tls) as brokerage,
        client(f"https://localhost:{brokerage.port}", timeout_s=5) as whale,
    ):
        call = asyncio.ensure_future(attempt(whale, POST))
        await asyncio.wait_for(brokerage.arrived.wait(), 10)
        call.cancel()
        assert await asyncio.wait_for(end, 10) is None
    assert len(brokerage.calls) == 1


async def test_a_connection_dropped_while_idle_is_not_written_to_and_another_is_used(authority: trustme.CA) -> None:
    async def answer_and_close(call: Call) -> None:
        await call.answer()
        if call.connection == 1:
            call.writer.transport.abort()

    tls = shown(authority.issue_cert("localhost"))
    async with (
        raw_brokerage(answer_and_close, tls=tls) as brokerage,
        client(f"https://localhost:{brokerage.port}") as whale,
    ):
        for request in METHODS:
            assert isinstance(await attempt(whale, request), Answer)
    assert len(brokerage.calls) == len(METHODS)


async def test_an_unasked_answer_is_never_taken_for_that_of_the_next_call(authority: trustme.CA) -> None:
    async def answer_twice(call: Call) -> None:
        await call.answer(body=b'{"code":0,"call":%d}' % len(brokerage.calls))
        if call.connection == 1:
            await call.answer(body=b'{"code":0,"call":"of another"}')

    tls = shown(authority.issue_cert("localhost"))
    async with (
        raw_brokerage(answer_twice, tls=tls) as brokerage,
        client(f"https://localhost:{brokerage.port}") as whale,
    ):
        for number in (1, 2):
            told = await attempt(whale, POST)
            assert isinstance(told, Answer)
            assert told.body == b'{"code":0,"call":%d}' % number


async def test_an_answer_that_ends_with_the_connection_is_whole(authority: trustme.CA) -> None:
    async def ends(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
        call.writer.close()

    tls = shown(authority.issue_cert("localhost"))
    async with raw_brokerage(ends, tls=tls) as brokerage, client(f"https://localhost:{brokerage.port}") as whale:
        told = await attempt(whale, POST)
    assert isinstance(told, Answer)
    assert told.body == b"{}"


async def test_the_deadline_is_that_of_the_whole_call_however_slowly_the_answer_drips(authority: trustme.CA) -> None:
    async def drips(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not call.writer.is_closing():
            call.writer.write(b"x")
            await call.writer.drain()
            await asyncio.sleep(0)

    tls = shown(authority.issue_cert("localhost"))
    async with (
        raw_brokerage(drips, tls=tls) as brokerage,
        client(f"https://localhost:{brokerage.port}", timeout_s=0.5) as whale,
    ):
        began_s = clock.boot_s()
        told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert told.kind == "timeout"
    assert told.sent == bool(brokerage.calls)
    assert clock.boot_s() - began_s < 10


async def test_an_endless_answer_ends_at_the_bound(authority: trustme.CA) -> None:
    async def never_ends(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not call.writer.is_closing():
            call.writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
            await call.writer.drain()
            await asyncio.sleep(0)  # its other end lives in this event loop

    tls = shown(authority.issue_cert("localhost"))
    async with (
        raw_brokerage(never_ends, tls=tls) as brokerage,
        client(f"https://localhost:{brokerage.port}", timeout_s=30) as whale,
    ):
        told = await attempt(whale, POST)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (True, "too_large")
