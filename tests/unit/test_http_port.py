"""The HTTP port against who should not be there: it changes nothing, what it reads is bounded, and nobody holds it."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import structlog

from worker import clock
from worker.app.stories import Stories
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
    async with health.serve("127.0.0.1", 0, routes) as port:
        yield port
    await engine.dispose()


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
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(SLOW_COUNT)]
    try:
        for number, (_, writer) in enumerate(slow):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: a"[: 1 + number % 29])
        assert await status_of(port, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n") == b"200"
    finally:
        for _, writer in slow:
            writer.close()
