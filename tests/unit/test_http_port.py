"""The HTTP port against who should not be there: it changes nothing, what it reads is bounded, and nobody holds it."""

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest
import structlog
from aiohttp import web

from worker import clock
from worker.app.stories import Stories
from worker.observe import visits
from worker.observe.health import Health, Liveness, Readiness
from worker.observe.metrics import Metrics
from worker.settings import Settings
from worker.store.engine import create_engine

READS = {"GET", "HEAD"}
PATHS = ("/livez", "/readyz", "/metrics", "/commands/x", "/accounts/x")
LINE_BYTES = 1 << 16
SLOW_COUNT = 200


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where a worker with all its addresses listens; its Postgres is nobody's."""
    engine = create_engine("postgresql://ledger@127.0.0.1:1/ledger", pool_size=1)
    health = Health(Readiness(), Liveness(clock.boot_s), Metrics())
    routes = Stories(engine, Settings(), structlog.get_logger()).routes()
    async with health.serve("127.0.0.1", 0, [*routes, web.get("/large", large)]) as port:
        yield port
    await engine.dispose()


async def large(_: web.Request) -> web.Response:
    """Answer with more than the kernel holds for a client that takes nothing."""
    return web.Response(body=b"x" * (16 << 20))


async def status_of(port: int, request: bytes) -> bytes:
    """Write a request and return the status of its answer."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return (await reader.readline()).split(b" ")[1]
        finally:
            writer.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
async def test_nothing_on_it_takes_a_method_that_could_change_anything(port: int, method: str) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for path in PATHS:
            async with session.request(method, path, data=b"{}") as answer:
                assert answer.status == 405
                assert set(answer.headers["Allow"].split(",")) == READS


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez?" + b"x" * LINE_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * LINE_BYTES + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * LINE_BYTES + b"\r\n",
    ],
    ids=["line", "header", "headers"],
)
async def test_a_request_line_and_headers_have_bounds(port: int, request_: bytes) -> None:
    assert await status_of(port, request_) == b"400"
    assert await status_of(port, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") == b"200"


async def test_a_body_is_never_waited_for(port: int) -> None:
    endless = b"%s /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n{"
    assert await status_of(port, endless % b"POST") == b"405"
    assert await status_of(port, endless % b"GET") == b"200"


async def test_two_hundred_clients_that_never_end_their_request_hold_nobody_up(port: int) -> None:
    slow = [await begun(port, b"GET /livez HTTP/1.1\r\nHost: a"[: 1 + number % 29]) for number in range(SLOW_COUNT)]
    try:
        assert await status_of(port, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n") == b"200"
    finally:
        for _, writer in slow:
            writer.close()


async def begun(port: int, begin: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection and write the beginning of a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)
    return reader, writer


async def until_dropped(reader: asyncio.StreamReader) -> bytes:
    """Return what still came before the connection ended, whichever way."""
    came = b""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionResetError):
            while data := await reader.read(1 << 16):
                came += data
    return came


@pytest.fixture
def short_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "LIFE_S", 0.3)


@pytest.mark.usefixtures("short_life")
@pytest.mark.parametrize("drips", [False, True], ids=["silent", "byte by byte"])
async def test_a_client_that_does_not_end_its_request_is_dropped_in_time(*, drips: bool, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        ended = asyncio.ensure_future(until_dropped(reader))
        if drips:
            writer.write(b"GET /livez HTTP/1.1\r\nX: ")
            while not ended.done():  # each byte is progress, and none buys time
                writer.write(b"x")
                await asyncio.sleep(0.01)
        assert await ended == b""
    finally:
        writer.close()


@pytest.mark.usefixtures("short_life")
async def test_a_client_that_does_not_take_its_answers_is_dropped_in_time(port: int) -> None:
    """Its answers fill what the kernel holds and then our buffer, so an orderly end would never come."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", port))
        await asyncio.get_running_loop().sock_sendall(deaf, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        reset = select.poll()
        reset.register(deaf.fileno(), 0)  # only that the other side has reset, and no byte is read
        assert await asyncio.to_thread(reset.poll, 20_000)


async def test_a_body_that_never_ends_does_not_hold_its_connection(port: int, short_life: None) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n{")
    assert (await until_dropped(reader)).startswith(b"HTTP/1.1 405 ")
    writer.close()


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/nowhere"])
async def test_a_connection_ends_behind_its_answer(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 2)
    answer = await until_dropped(reader)
    writer.close()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


async def test_above_the_bound_the_oldest_connections_give_way_and_a_probe_is_answered(port: int) -> None:
    more = 20
    slow = [await begun(port, b"G") for _ in range(visits.CONNECTIONS_MAX + more)]
    try:
        assert await status_of(port, b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") == b"200"
        for reader, _ in slow[:more]:
            assert await until_dropped(reader) == b""
        assert not any(reader.at_eof() or reader.exception() for reader, _ in slow[more + 1 :])
    finally:
        for _, writer in slow:
            writer.close()
