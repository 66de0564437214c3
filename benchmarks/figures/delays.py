"""How long commands take: what the worker adds to the brokerage's own time, and whether one account's trouble slows others."""

import asyncio
import time
from collections.abc import Callable
from statistics import median

import psycopg

from benchmarks.batches import Feed
from benchmarks.commands import commands
from benchmarks.figures import Figure
from benchmarks.ground import Ground, new_ground
from benchmarks.running import running_worker
from benchmarks.traffic import Passage, pass_at_rate, percentile
from sandbox.parts import Parts
from worker.ledger.backoff import RETRY_MAX_S

LATENCY_MS = 20
ACCOUNTS = 500
HOT_COMMANDS = 10_000
STUCK_ACCOUNTS = 1_000
HOT_FIRST, STUCK_FIRST = 8_000_000, 9_000_000
DEADLINE_S = 300


def added(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure from sending to the outcome at a consumer, less the brokerage's 20 ms, at 100/s and at half the most."""
    p50, p99, half = [], [], []
    for number in range(runs):
        with new_ground(parts, latency_ms=LATENCY_MS) as ground, running_worker(parts, ground.env):
            _passages(ground, f"warm {number}", 100, 5)
            took = [one.took_ms - LATENCY_MS for one in _passages(ground, f"added {number}", 100, 60 * scale)]
            p50.append(percentile(took, 0.5))
            p99.append(percentile(took, 0.99))
            half += [one.took_ms - LATENCY_MS for one in _passages(ground, f"half {number}", 1_000, 20 * scale)]
    said = (
        f"p50 {median(p50):.1f} ms, p99 {median(p99):.1f} ms at 100/s ({runs} runs); "
        f"p50 {percentile(half, 0.5):.1f}, p99 {percentile(half, 0.99):.1f} ms at 1,000/s"
    )
    reached = median(p50) <= 5 and median(p99) <= 20
    return Figure("latency added", said, "p50 5 ms, p99 20 ms at 100/s", reached, {"p50_ms": p50, "p99_ms": p99})


def hot_account(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure the others' p99 while one account has 10,000 commands queued, over that without it."""

    def trouble(ground: Ground) -> None:
        asyncio.run(_queue(ground, "hot", HOT_COMMANDS, 1, HOT_FIRST))
        _wait_for(ground, "SELECT count(*) FROM commands WHERE account_no = %s", f"B{HOT_FIRST:07d}", HOT_COMMANDS)

    return _beside(parts, scale, runs, "others beside a hot account", trouble, 1.2)


def stuck_accounts(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure the others' p99 while 1,000 accounts are held by a doubt that nothing settles, over that without them.

    The brokerage looks for its faults in both; what is measured begins when the doubts are asked about as seldom as ever.
    """

    def trouble(ground: Ground) -> None:
        asyncio.run(_queue(ground, "stuck", STUCK_ACCOUNTS, STUCK_ACCOUNTS, STUCK_FIRST))
        doubtful = "SELECT count(*) FROM commands WHERE account_no >= %s AND state = 'in_doubt'"
        _wait_for(ground, doubtful, f"B{STUCK_FIRST:07d}", STUCK_ACCOUNTS)
        time.sleep(2 * RETRY_MAX_S)

    return _beside(parts, scale, runs, "others beside 1,000 accounts in doubt", trouble, 1.1, _arm_drops)


def _beside(
    parts: Parts,
    scale: float,
    runs: int,
    name: str,
    trouble: Callable[[Ground], None],
    most: float,
    prepare: Callable[[Ground], None] = lambda _: None,
) -> Figure:
    """Measure the p99 of what goes on at a steady rate beside some trouble, over that before it."""
    ratios = []
    for number in range(runs):
        with new_ground(parts, latency_ms=LATENCY_MS) as ground, running_worker(parts, ground.env):
            prepare(ground)
            _passages(ground, f"warm {number}", 200, 5)
            without = _p99(_passages(ground, f"without {number}", 200, 30 * scale))
            trouble(ground)
            ratios.append(_p99(_passages(ground, f"with {number}", 200, 30 * scale)) / without)
    said = f"p99 {median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} runs)"
    return Figure(name, said, f"{most} times", median(ratios) <= most, {"ratios": ratios})


def _passages(ground: Ground, name: str, per_s: float, seconds: float) -> list[Passage]:
    topics = ground.commands_topic, ground.outcomes_topic
    given = commands(name, int(per_s * seconds), ACCOUNTS)
    return asyncio.run(pass_at_rate(ground.parts.kafka.bootstrap, topics, given, per_s))


def _p99(passages: list[Passage]) -> float:
    return percentile([one.took_ms for one in passages], 0.99)


async def _queue(ground: Ground, name: str, count: int, accounts: int, first: int) -> None:
    async with Feed(ground.parts.kafka.bootstrap, ground.commands_topic) as feed:
        await feed.send(await feed.batches(commands(name, count, accounts, first=first)))


def _arm_drops(ground: Ground) -> None:
    """Let the brokerage act and never answer the accounts that shall be stuck; nothing that is looked up is readable."""
    for number in range(STUCK_ACCOUNTS):
        ground.ask("faults", {"kind": "drop_answer", "account_no": f"B{STUCK_FIRST + number:07d}", "times": -1})


def _wait_for(ground: Ground, statement: str, account_no: str, count: int) -> None:
    until_s = time.monotonic() + DEADLINE_S
    with psycopg.connect(ground.database_url, autocommit=True) as connection:
        while time.monotonic() < until_s:
            row = connection.execute(statement, [account_no]).fetchone()
            if row is not None and row[0] >= count:
                return
            time.sleep(0.2)
    raise RuntimeError(f"not {count} within {DEADLINE_S} s: {statement}")
