"""`python -m benchmarks`: speed as a ratio to the bare client, and memory; about three minutes.

Runs alternate, bare client and worker, against one brokerage each in a process of its own, with a real Kafka and a real
Postgres that waits for its disk. Quote the ratios: both sides of one had the same machine at nearly the same time.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from benchmarks import table
from benchmarks.bare import WARM_UP
from benchmarks.end_to_end import Passed, pass_through
from benchmarks.ground import KEYS, NO_LIMIT_PER_S
from benchmarks.queued import hold_many
from benchmarks.running import CHECKOUT, environment, prepare, running_worker
from sandbox.parts import Brokerage, Parts, running

QUEUED_RATE_PER_S = 50


def main() -> int:
    """Read the arguments, measure, print, write."""
    given = _arguments()
    results: dict[str, Any] = {"machine": table.machine(), "speed": [], "memory": None}
    with running(_say, brokerage_options=KEYS) as parts:
        prepare(environment(parts, parts.brokerage.url, 1, 1))
        for latency_ms in given.latency_ms:
            brokerage = Brokerage(parts.programs, [*KEYS, "--latency-ms", str(latency_ms)])
            brokerage.start()
            results["speed"].append(_compare(parts, brokerage, latency_ms, given))
            brokerage.stop()
        if given.queued:
            _say("memory", f"{given.queued} commands")
            env = environment(parts, parts.brokerage.url, 64, QUEUED_RATE_PER_S)
            with running_worker(parts, env) as worker:
                results["memory"] = hold_many(parts, worker, given.queued, given.accounts)
    table.show(results)
    _say("results", str(table.write(results)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commands", type=int, default=10_000, help="per run (10000)")
    parser.add_argument("--accounts", type=int, default=2_000, help="that they go round (2000)")
    parser.add_argument("--runs", type=int, default=5, help="of each kind and latency, alternating (5)")
    parser.add_argument("--in-flight", type=int, default=200, help="calls, of the bare client and of the worker (200)")
    parser.add_argument("--latency-ms", type=float, nargs="*", default=[0.0, 20.0], help="of the brokerage (0 20)")
    parser.add_argument("--queued", type=int, default=100_000, help="commands for the memory; 0 leaves it out (100000)")
    return parser.parse_args()


def _compare(parts: Parts, brokerage: Brokerage, latency_ms: float, given: argparse.Namespace) -> dict[str, Any]:
    env = environment(parts, brokerage.url, given.in_flight, NO_LIMIT_PER_S)
    runs = []
    for number in range(given.runs):
        name = f"{latency_ms:g} ms {number}"
        bare = _bare(brokerage.url, f"{name} bare", given.in_flight, given)
        with running_worker(parts, env) as worker:
            passing = pass_through(parts, [worker], brokerage.program, name, given.commands, given.accounts)
            runs.append(_run(bare, asyncio.run(passing)))
        _say(name, f"bare {runs[-1]['bare_per_s']:,.0f}/s, worker {runs[-1]['commands_per_s']:,.0f}/s")
    return {"latency_ms": latency_ms, "in_flight": given.in_flight, "runs": runs}


def _bare(url: str, name: str, connections: int, given: argparse.Namespace) -> dict[str, float]:
    calls = int(given.commands / (1 - WARM_UP))
    options = {"name": name, "calls": calls, "accounts": given.accounts, "connections": connections}
    argv = [sys.executable, "-m", "benchmarks.bare", url]
    for option, value in options.items():
        argv += [f"--{option}", str(value)]
    done = subprocess.run(argv, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _run(bare: dict[str, float], passed: Passed) -> dict[str, Any]:
    bare_per_s = bare["calls"] / bare["took_s"]
    return {
        "bare_per_s": bare_per_s,
        "bare_cpu_ms_per_call": bare["cpu_s"] * 1000 / bare["calls"],
        "commands_per_s": passed.per_s,
        "ratio": passed.per_s / bare_per_s,
        "load": os.getloadavg()[0],
        "cpu_ms_per_command": {
            part: None if used_s is None else used_s * 1000 / passed.commands for part, used_s in passed.cpu_s.items()
        },
    }


def _say(part: str, text: str) -> None:
    sys.stderr.write(f"{part}: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
