"""The bare client: aiohttp and the signature, nothing else. What the worker adds is measured against it.

`python -m benchmarks.bare URL --name N --calls N --accounts N --connections N`, in a process of its own, prints one JSON
object: calls, seconds, and the seconds of processor that the client itself took.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence

import aiohttp
import uvloop

from benchmarks.commands import requests
from worker import clock
from worker.ledger.verdicts import Request
from worker.whale.sign import Credentials, sign

CREDENTIALS = Credentials("benchmark-key", "benchmark-secret", "benchmark-token")
WARM_UP = 0.1
"""Part of the calls that is made before the time is taken."""


async def measure(url: str, given: Sequence[Request], connections: int) -> dict[str, float]:
    """Make each call once, over so many connections, and time all but the first part of them."""
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        early = int(len(given) * WARM_UP)
        await _all(session, url, iter(given[:early]), connections)
        began_s, cpu_began_s = time.perf_counter(), sum(os.times()[:2])
        await _all(session, url, iter(given[early:]), connections)
        took_s, cpu_s = time.perf_counter() - began_s, sum(os.times()[:2]) - cpu_began_s
    return {"calls": len(given) - early, "took_s": took_s, "cpu_s": cpu_s}


async def _all(session: aiohttp.ClientSession, url: str, waiting: Iterator[Request], connections: int) -> None:
    await asyncio.gather(*(_calls(session, url, waiting) for _ in range(connections)))


async def _calls(session: aiohttp.ClientSession, url: str, waiting: Iterator[Request]) -> None:
    for request in waiting:
        signed = sign(request, CREDENTIALS, int(clock.wall_s()))
        async with session.request(
            request.method, url + request.path, data=request.body, headers=signed.headers
        ) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the brokerage answered {answer.status}: {body[:200]!r}")


def main() -> int:
    """Read the arguments, call, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare")
    parser.add_argument("url")
    parser.add_argument("--name", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--accounts", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    given = parser.parse_args()
    made = requests(given.name, given.calls, given.accounts)
    sys.stdout.write(json.dumps(uvloop.run(measure(given.url, made, given.connections))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
