"""How long accounts stand still: `python -m tests.chaos.recovery [--kills N] [--returns N]`.

Two workers share accounts whose queues never end. One is killed with calls in flight; each account that it held is timed until
the brokerage applies something of it again. The same after Kafka, Postgres and the brokerage have come back. On a
Kafka and a Postgres of its own, with the worker's own paces. Prints a table and exits 1 when the 99th percentile after a
kill is above the lease plus two seconds.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from sandbox.parts.together import Parts, running
from tests.chaos.forks import ForkedWorker
from tests.chaos.ground import LEASE_S, Ground, Json, open_ground
from tests.support import new_account, new_command, wait_until_async
from tests.support.database import Databases

BOUND_S = LEASE_S + 2
ACCOUNTS_COUNT = 10
QUEUE = 60
LATENCY_MS = 150
OUTAGE_S = 5
DEADLINE_S = 90
_HELD = "SELECT account_no FROM lanes WHERE state = 'leased' AND owner = CAST(%s AS uuid)"
_QUEUED = "SELECT count(*) FROM commands WHERE state = 'queued'"


@dataclass
class Figures:
    """Seconds until the next effect, by what was away."""

    kills: list[float] = field(default_factory=list)
    kafka: list[float] = field(default_factory=list)
    postgres: list[float] = field(default_factory=list)
    brokerage: list[float] = field(default_factory=list)


class Fleet:
    """Two workers and accounts with long queues of commands that are keyed by request_id."""

    def __init__(self, ground: Ground) -> None:
        self._ground, self._place = ground, ground.places[0]
        self._accounts = [new_account() for _ in range(ACCOUNTS_COUNT)]
        self._workers: list[ForkedWorker] = []

    async def start(self) -> None:
        """Start both and let them work."""
        self._workers = [await self._fork(), await self._fork()]
        await self.feed()
        await self._resumed(time.time(), self._accounts)  # noqa: TID251 - the sandbox's clock is this machine's

    async def feed(self) -> None:
        """See to it that no account runs out of commands."""
        if await self._place.scalar(_QUEUED) < ACCOUNTS_COUNT * QUEUE:
            commands = [new_command("cash.adjust", one) for _ in range(QUEUE) for one in self._accounts]
            await self._ground.send(self._place, commands)

    async def kill_one(self, victim: int) -> list[float]:
        """Kill a worker that has calls in flight; returns seconds until the next effect, for each lane that it held."""
        await self.feed()
        worker = self._workers[victim]
        owner = await wait_until_async(lambda: _owner(worker), DEADLINE_S, "it says who it is")
        await wait_until_async(
            lambda: self._place.scalar(f"SELECT count(*) FROM ({_HELD})", owner), DEADLINE_S, "it works"
        )
        worker.send(signal.SIGKILL)
        killed_s = time.time()  # noqa: TID251
        await worker.ended
        held = [str(row[0]) for row in await (await self._place.database.execute(_HELD, [owner])).fetchall()]
        seconds = await self._resumed(killed_s, held)
        self._workers[victim] = await self._fork()
        return seconds

    async def restart(self, part: Kafka | Postgres) -> list[float]:
        """Kill a part, start it again; returns seconds from its first answer until the next effect of each account."""
        part.kill()
        await _pass(OUTAGE_S)
        await asyncio.to_thread(part.start)
        return await self._resumed(time.time(), self._accounts)  # noqa: TID251

    async def restart_kafka(self, kafka: Kafka) -> list[float]:
        """As `restart`; what counts is a command that is sent when Kafka answers again."""
        kafka.kill()
        await _pass(OUTAGE_S)
        await asyncio.to_thread(kafka.start)
        back_s, account_no = time.time(), new_account()  # noqa: TID251
        await self._ground.send(self._place, [new_command("cash.adjust", account_no)])
        return await self._resumed(back_s, [account_no])

    async def cut_off_brokerage(self) -> list[float]:
        """Reset every call for a while; returns seconds from the end of that until each account's next effect."""
        brokerage = self._ground.brokerage
        brokerage.fault("drop_request", times=-1)
        await _pass(OUTAGE_S)
        brokerage.clear_faults()
        return await self._resumed(time.time(), self._accounts)  # noqa: TID251

    async def reconnect(self) -> None:
        """Read the database again after it was away."""
        await self._place.reconnect()

    async def _resumed(self, since_s: float, accounts: Sequence[str]) -> list[float]:
        """Wait until the brokerage has applied a call that it received since then, for each account."""
        found: dict[str, float] = {}

        def look() -> bool:
            for account_no in set(accounts) - found.keys():
                after = [
                    one for one in self._ground.brokerage.effects(account_no=account_no) if _instant(one) > since_s
                ]
                if after:
                    found[account_no] = _instant(after[0], "applied_at") - since_s
            return len(found) == len(set(accounts))

        await wait_until_async(lambda: asyncio.to_thread(look), DEADLINE_S, "effects again")
        return list(found.values())

    async def _fork(self) -> ForkedWorker:
        return await self._ground.zygote.start(self._place.env, paced=False)


def _owner(worker: ForkedWorker) -> str | None:
    for line in (worker.folder / "worker.log").read_text().splitlines():
        if '"run.started"' in line:
            return str(json.loads(line)["owner"])
    return None


def _instant(effect: Json, name: str = "received_at") -> float:
    return datetime.fromisoformat(effect[name]).timestamp()


async def _pass(seconds: float) -> None:
    """Let an outage last."""
    until_s = time.monotonic() + seconds
    await wait_until_async(lambda: time.monotonic() > until_s, seconds + 30)


async def measure_recovery(parts: Parts, kills_count: int, returns_count: int) -> Figures:
    """Take all figures."""
    figures = Figures()
    options = ("--latency-ms", str(LATENCY_MS), "--latency-jitter-ms", "50")
    async with open_ground(parts.kafka.bootstrap, Databases(parts.postgres.url), 1, options) as ground:
        fleet = Fleet(ground)
        await fleet.start()
        for number in range(kills_count):
            figures.kills += await fleet.kill_one(number % 2)
            _say(f"kill {number + 1}: {_row(figures.kills)}")
        for number in range(returns_count):
            await fleet.feed()
            figures.brokerage += await fleet.cut_off_brokerage()
            figures.kafka += await fleet.restart_kafka(parts.kafka)
            await fleet.feed()
            figures.postgres += await fleet.restart(parts.postgres)
            await fleet.reconnect()
            _say(f"return {number + 1} of each part")
    return figures


def _quantile(values: Sequence[float], part: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(part * len(ranked)))]


def _row(values: Sequence[float]) -> str:
    if not values:
        return "n 0"
    return f"n {len(values):4}  p50 {_quantile(values, 0.5):5.2f} s  p99 {_quantile(values, 0.99):5.2f} s  max {max(values):5.2f} s"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _say_part(part: str, text: str) -> None:
    _say(f"{part}: {text}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.recovery", description="Time from a death to the next effect."
    )
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--returns", type=int, default=4)
    asked = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with running(_say_part) as parts:
        figures = asyncio.run(measure_recovery(parts, asked.kills, asked.returns))
    print(f"a worker killed      {_row(figures.kills)}  bound {BOUND_S:g} s (lease {LEASE_S:g} s + 2 s)")  # noqa: T201
    print(f"Kafka back           {_row(figures.kafka)}")  # noqa: T201
    print(f"Postgres back        {_row(figures.postgres)}")  # noqa: T201
    print(f"the brokerage back   {_row(figures.brokerage)}")  # noqa: T201
    sys.exit(0 if _quantile(figures.kills, 0.99) <= BOUND_S else 1)


if __name__ == "__main__":
    main()
