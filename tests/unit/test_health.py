import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from worker.errors import SettingsError
from worker.observe.health import Health, Liveness, Readiness
from worker.observe.loop_lag import measure_loop_lag
from worker.observe.metrics import Metrics

Get = Callable[[str], Awaitable[aiohttp.ClientResponse]]


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(Readiness(), Liveness(clock), Metrics())


@pytest.fixture
async def get(health: Health) -> AsyncIterator[Get]:
    async with health.serve("127.0.0.1", 0) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def ask(path: str) -> aiohttp.ClientResponse:
            response = await session.get(path)
            await response.read()
            return response

        yield ask


async def test_ready_until_there_is_a_reason_and_again_after_it(get: Get, health: Health) -> None:
    assert (await get("/readyz")).status == 200
    health.readiness.set("database", "Postgres does not answer")
    health.readiness.set("brokerage", "the token was refused")
    health.readiness.set("database", "Postgres still does not answer")
    answer = await get("/readyz")
    assert answer.status == 503
    assert await answer.json() == {
        "ready": False,
        "reasons": [
            {"reason": "database", "text": "Postgres still does not answer"},
            {"reason": "brokerage", "text": "the token was refused"},
        ],
    }
    health.readiness.clear("database")
    health.readiness.clear("brokerage")
    health.readiness.clear("never set")
    assert await (await get("/readyz")).json() == {"ready": True, "reasons": []}


async def test_an_engine_without_a_beat_in_its_time_is_not_alive(get: Get, health: Health, clock: Clock) -> None:
    health.liveness.watch("intake", 10)
    health.liveness.watch("lanes", 60)
    clock.now_s += 11
    answer = await get("/livez")
    assert answer.status == 503
    assert await answer.json() == {"live": False, "late": ["intake"], "since_s": {"intake": 11.0, "lanes": 11.0}}
    health.liveness.beat("intake")
    assert (await get("/livez")).status == 200


def test_an_engine_that_ended_is_not_missed(health: Health, clock: Clock) -> None:
    health.liveness.watch("intake", 10)
    health.liveness.forget("intake")
    clock.now_s += 100
    assert health.liveness.late() == []
    with pytest.raises(KeyError):
        health.liveness.beat("intake")


async def test_metrics_are_rendered_each_with_its_meaning(get: Get, health: Health) -> None:
    health.metrics.records_read.labels("t").inc(3)
    health.metrics.adjustments_without_timer.set(1)
    health.readiness.set("a", "b")
    answer = await get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    text = await answer.text()
    assert 'ledger_records_read_total{topic="t"} 3.0' in text
    assert "ledger_invariant_adjustments_without_timer 1.0" in text
    assert "ledger_not_ready_reasons 1.0" in text
    helped = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP ledger_")}
    named = {name for name in helped if not name.endswith("_created")}
    assert len(named) == sum(1 for kind in vars(health.metrics) if not kind.startswith("_"))


def test_two_workers_in_one_interpreter_do_not_share_metrics() -> None:
    one, other = Metrics(), Metrics()
    one.records_read.labels("t").inc()
    assert b'topic="t"' not in other.render()


async def test_an_address_that_is_taken_is_one_clear_sentence(health: Health) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host, port = taken.getsockname()
        with pytest.raises(SettingsError, match=f"LEDGER_HTTP_PORT {port}"):
            await health.serve(host, port).__aenter__()


async def test_a_loop_held_up_by_synchronous_work_shows() -> None:
    metrics = Metrics()
    measured = asyncio.Event()

    class Lag:
        def set(self, lag_s: float) -> None:
            metrics.loop_lag_s.set(lag_s)
            measured.set()

    measuring = asyncio.ensure_future(measure_loop_lag(Lag(), every_s=0.001))
    await asyncio.sleep(0)
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(0.1)
        with pytest.raises(TimeoutError):
            left.recv(1)  # holds the loop
    async with asyncio.timeout(5):
        await measured.wait()
    measuring.cancel()
    assert b"ledger_event_loop_lag_seconds 0.0\n" not in metrics.render()
