"""Connections: never more than allowed, kept only while they are good, and no call takes another's place for ever."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.contract.raw_brokerage import Call, raw_brokerage
from tests.contract.whale_calls import POST, answers, attempt, client
from worker import clock
from worker.whale import pool
from worker.whale.connection import Connection
from worker.whale.wire import Answer, NoAnswer

ENDS_S = 1e9
"""Past every test, by the event loop's clock."""


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Connection, socket.socket]]:
    """Yield a connection and its other side, which says only what the test says, and at once."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        _, connection = await loop.create_connection(
            lambda: Connection(loop, tls=False, unacknowledged_s=1.0), *listening.getsockname()
        )
        other, _ = listening.accept()
        with other:
            yield connection, other
            connection.drop()
            await connection.lost


async def test_the_kernel_is_asked_whether_the_other_side_hung_up() -> None:
    async with connected() as (connection, other):
        other.close()
        assert connection.depart(b"x", clock.boot_s() + 60, ENDS_S) == "dropped"


async def test_the_kernel_is_asked_whether_an_unasked_answer_lies_there_even_on_a_new_connection() -> None:
    async with connected() as (connection, other):
        other.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert connection.depart(b"x", clock.boot_s() + 60, ENDS_S) == "dropped"


async def test_a_late_request_leaves_its_connection_as_it_was() -> None:
    async with connected() as (connection, other):
        assert connection.depart(b"late", clock.boot_s(), ENDS_S) == "late"
        assert connection.is_reusable
        assert isinstance(connection.depart(b"now", clock.boot_s() + 60, ENDS_S), asyncio.Future)
        assert connection.depart(b"again", clock.boot_s() + 60, ENDS_S) == "dropped"
        other.settimeout(5)
        assert await asyncio.to_thread(other.recv, 100) == b"now"


async def test_there_are_never_more_connections_than_allowed_and_no_call_is_left_out() -> None:
    async with raw_brokerage(answers) as brokerage, client(brokerage, pool_size=3) as whale:
        told = await asyncio.gather(*(attempt(whale, POST) for _ in range(50)))
        assert all(isinstance(one, Answer) for one in told)
        assert len(brokerage.calls) == 50
        assert brokerage.connections <= 3


async def test_calls_that_wait_for_a_connection_get_one_in_their_sequence() -> None:
    ended: list[int] = []

    async def numbered(number: int) -> None:
        assert isinstance(await attempt(whale, POST), Answer)
        ended.append(number)

    async with raw_brokerage(answers) as brokerage, client(brokerage, pool_size=1) as whale:
        await asyncio.gather(*(numbered(number) for number in range(10)))
    assert ended == list(range(10))


async def test_the_connection_used_last_is_used_next() -> None:
    together = asyncio.Barrier(3)

    async def meets(call: Call) -> None:
        if len(brokerage.calls) <= 3:
            await together.wait()
        await call.answer()

    async with raw_brokerage(meets) as brokerage, client(brokerage) as whale:
        await asyncio.gather(*(attempt(whale, POST) for _ in range(3)))
        for _ in range(5):
            await attempt(whale, POST)
        assert brokerage.connections == 3
        assert len({call.connection for call in brokerage.calls[3:]}) == 1


async def test_a_call_that_gets_no_connection_by_its_deadline_is_nothing_sent() -> None:
    release = asyncio.Event()

    async def waits(call: Call) -> None:
        await release.wait()
        await call.answer()

    async with raw_brokerage(waits) as brokerage, client(brokerage, pool_size=1) as whale:
        first = asyncio.ensure_future(attempt(whale, POST))
        await asyncio.wait_for(brokerage.arrived.wait(), 5)
        told = await whale.send(whale.sign(POST, 1), send_before_s=clock.boot_s() + 60, deadline_s=0.05)
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (False, "timeout")
        release.set()
        assert isinstance(await first, Answer)
        assert isinstance(await attempt(whale, POST), Answer)
    assert len(brokerage.calls) == 2


async def answered(connection: Connection, other: socket.socket, ends_s: float) -> None:
    call = connection.depart(b"x", clock.boot_s() + 60, ends_s)
    assert isinstance(call, asyncio.Future)
    other.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(await asyncio.wait_for(call, 30), Answer)


@pytest.mark.parametrize("rings_while_idle", [False, True])
async def test_a_call_on_a_kept_connection_may_have_a_nearer_deadline_than_the_one_before(
    *, rings_while_idle: bool
) -> None:
    async with connected() as (connection, other):
        now_s = asyncio.get_running_loop().time()
        await answered(connection, other, now_s + 60)
        await answered(connection, other, now_s + 120)
        if rings_while_idle:
            connection._ring()
            assert connection.is_reusable
        call = connection.depart(b"x", clock.boot_s() + 60, now_s + 0.1)
        assert isinstance(call, asyncio.Future)
        told = await asyncio.wait_for(call, 30)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (True, "timeout")


async def test_a_call_outlives_the_deadline_of_the_one_before_and_keeps_its_own() -> None:
    async with connected() as (connection, other):
        now_s = asyncio.get_running_loop().time()
        await answered(connection, other, now_s + 60)
        call = connection.depart(b"x", clock.boot_s() + 60, now_s + 90)
        assert isinstance(call, asyncio.Future)
        connection._ring()  # as it will for the first call
        assert not call.done()
        assert connection._alarm is not None
        assert abs(connection._alarm.when() - (now_s + 90)) < 0.01


async def resets(call: Call) -> None:
    call.reset()


async def ends_midway(call: Call) -> None:
    call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
    call.writer.close()


async def speaks_no_http(call: Call) -> None:
    call.writer.write(b"what?\r\n\r\n")


async def says_nothing(call: Call) -> None:
    await call.until_gone()


@pytest.mark.parametrize("script", [resets, ends_midway, speaks_no_http, says_nothing])
async def test_however_a_call_ends_its_place_is_free_again(script: Callable[[Call], Awaitable[None]]) -> None:
    async def bad_then_good(call: Call) -> None:
        await (script if len(brokerage.calls) <= 3 else answers)(call)

    async with raw_brokerage(bad_then_good) as brokerage, client(brokerage, pool_size=1) as whale:
        for _ in range(3):
            told = await whale.send(whale.sign(POST, 1), send_before_s=clock.boot_s() + 60, deadline_s=0.5)
            assert isinstance(told, NoAnswer)
            assert told.sent
        assert isinstance(await attempt(whale, POST), Answer)
    assert brokerage.connections == 4


async def test_cancelled_calls_free_their_places_while_they_wait_connect_and_listen() -> None:
    async with raw_brokerage(says_nothing) as brokerage, client(brokerage, pool_size=2) as whale:
        for turns in range(12):
            calls = [asyncio.ensure_future(attempt(whale, POST)) for _ in range(4)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            for call in calls:
                with contextlib.suppress(asyncio.CancelledError):
                    await call
        brokerage.script = answers
        told = await asyncio.gather(*(attempt(whale, POST) for _ in range(4)))
    assert all(isinstance(one, Answer) for one in told)


async def test_a_connection_that_was_idle_for_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_brokerage(answers) as brokerage, client(brokerage) as whale:
        await attempt(whale, POST)
        monkeypatch.setattr(pool, "KEEP_ALIVE_S", 0.0)
        await attempt(whale, POST)
        assert [call.connection for call in brokerage.calls] == [1, 2]


async def test_connections_that_nobody_uses_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_S", 0.05)
    gone = asyncio.Event()

    async def answers_and_listens(call: Call) -> None:
        await call.answer()
        assert await call.until_gone() == b""  # an orderly end: nothing is owed
        gone.set()

    async with raw_brokerage(answers_and_listens) as brokerage, client(brokerage) as whale:
        assert isinstance(await attempt(whale, POST), Answer)
        await asyncio.wait_for(gone.wait(), 10)


async def test_a_closed_client_leaves_no_connection_open_and_answers_no_call_under_way() -> None:
    async with raw_brokerage(answers) as brokerage:
        async with client(brokerage) as whale:
            await attempt(whale, POST)
            brokerage.script = says_nothing
            brokerage.arrived.clear()
            under_way = asyncio.ensure_future(attempt(whale, POST))
            await asyncio.wait_for(brokerage.arrived.wait(), 5)
            opened = whale._opened
            assert opened is not None
        told = await under_way
        assert isinstance(told, NoAnswer)
        assert (told.sent, told.kind) == (True, "reset")
        assert opened._open == set()


async def test_a_client_outside_of_its_context_says_so() -> None:
    async with raw_brokerage(answers) as brokerage:
        async with client(brokerage) as whale:
            pass
        with pytest.raises(RuntimeError, match="outside of its context"):
            await attempt(whale, POST)


async def test_a_brokerage_at_an_ipv6_address_is_called() -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with raw_brokerage(answers, host="::1") as brokerage, client(brokerage) as whale:
        assert isinstance(await attempt(whale, POST), Answer)
    assert f"Host: [::1]:{brokerage.port}\r\n".encode() in brokerage.calls[0].head
