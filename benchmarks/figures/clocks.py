"""Timers and the rate limit: how late expiries are, what a look for due ones costs, and what the fleet's rate leaves urgent."""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import psycopg

from benchmarks.batches import Feed
from benchmarks.commands import Given, commands, temporary
from benchmarks.figures import Figure
from benchmarks.ground import Ground, new_ground
from benchmarks.running import running_worker
from benchmarks.traffic import following, percentile
from sandbox.parts import Parts
from schemas.outcomes import OutcomeType
from worker import clock
from worker.store.engine import opened
from worker.timers.due import wake_due

ARMED = 1_000_000
DUE = 10_000
ACCOUNTS = 2_000
LOOKS = 300
RATE_PER_S = 100
OFFERED = 5
URGENT = 50


def armed(parts: Parts, scale: float, _runs: int) -> Figure:
    """Measure one look for due timers while a million are armed and none is due."""
    count = int(ARMED * scale)
    with new_ground(parts) as ground:
        with psycopg.connect(ground.database_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO timers (command_id, account_no, kind, due_at, wake_at) "
                "SELECT gen_random_uuid(), 'B' || lpad((n %% 2000)::text, 7, '0'), 'expire', at, at "
                "FROM (SELECT n, now() + interval '1 hour' + n * interval '1 ms' AS at FROM generate_series(1, %s) n) t",
                [count],
            )
            connection.execute("VACUUM ANALYZE timers")
        took_ms = asyncio.run(_looks(ground.database_url))
    said = f"{median(took_ms):.2f} ms (p99 {percentile(took_ms, 0.99):.2f}, n = {LOOKS}, {count:,} armed)"
    return Figure("a look for due timers", said, "1 ms", median(took_ms) <= 1, {"ms": took_ms})


async def _looks(url: str) -> list[float]:
    took_ms = []
    async with opened(url) as engine:
        for number in range(LOOKS + 20):
            began_s = time.perf_counter()
            await wake_due(engine)
            if number >= 20:
                took_ms.append((time.perf_counter() - began_s) * 1000)
    return took_ms


def lateness(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure how late expiries are of which 10,000 are due in one second, brokerage at 0 ms."""
    late_s: list[list[float]] = []
    count = int(DUE * scale)
    for number in range(runs):
        with new_ground(parts) as ground, running_worker(parts, ground.env):
            lapse_at = _second_from_now(20 + count / 500)
            given = list(temporary(f"due {number}", count, ACCOUNTS, lapse_at))
            ended = asyncio.run(_ended(ground, given, count))
            late_s.append([_late_s(one, lapse_at) for one in ended])
    p99 = median(percentile(one, 0.99) for one in late_s)
    early = sum(late < 0 for one in late_s for late in one)
    said = f"p99 {p99:.2f} s, most {max(map(max, late_s)):.2f} s, {early} early ({runs} runs of {count:,})"
    return Figure("lateness of expiries due at once", said, "p99 4 s", p99 <= 4 and not early, {"p99_s": p99})


def rate_limit(parts: Parts, scale: float, _runs: int) -> Figure:
    """Measure three processes under one rate, offered five times as much, with expiries that lapse meanwhile."""
    seconds = max(10, int(60 * scale))
    with new_ground(parts, rate_per_s=RATE_PER_S) as ground, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(running_worker(parts, ground.env))
        lapse_at = _second_from_now(15 + seconds / 2)
        urgent = list(temporary("urgent", URGENT, URGENT, lapse_at))
        asyncio.run(_feed(ground, urgent))
        time.sleep(5)
        began_s = clock.wall_s()
        given = list(commands("offered", RATE_PER_S * OFFERED * seconds, ACCOUNTS, first=5_000_000))
        ended = asyncio.run(_ended(ground, given, URGENT))
        time.sleep(max(0.0, began_s + seconds - clock.wall_s()))
        arrived = [datetime.fromisoformat(call["received_at"]).timestamp() for call in ground.ask("calls")]
    per_second = [
        sum(at // 1 == second for at in arrived) for second in range(int(began_s) + 5, int(began_s) + seconds)
    ]
    used = sum(per_second) / len(per_second) / RATE_PER_S
    late = percentile([_late_s(one, lapse_at) for one in ended], 0.99)
    said = f"{used:.2f} of {RATE_PER_S}/s over {len(per_second)} s; expiries p99 {late:.2f} s late (n = {len(ended)})"
    reached = 0.95 <= used <= 1.0 and late <= 1
    return Figure("rate limit, three processes", said, "0.95 to 1.0; p99 1 s", reached, {"per_second": per_second})


async def _ended(ground: Ground, given: Sequence[Given], count: int) -> list[dict[str, Any]]:
    """Send, and wait for so many adjustments to end."""
    async with following(ground.parts.kafka.bootstrap, ground.outcomes_topic) as follower:
        await _feed(ground, given)
        return [outcome for _, outcome in await follower.until(count, [OutcomeType.EXPIRED])]


async def _feed(ground: Ground, given: Sequence[Given]) -> None:
    async with Feed(ground.parts.kafka.bootstrap, ground.commands_topic) as feed:
        await feed.send(await feed.batches(given))


def _second_from_now(seconds: float) -> datetime:
    return datetime.fromtimestamp(math.ceil(clock.wall_s() + seconds), UTC)


def _late_s(outcome: dict[str, Any], lapse_at: datetime) -> float:
    return (datetime.fromisoformat(outcome["occurred_at"]) - lapse_at) / timedelta(seconds=1)
