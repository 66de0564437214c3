"""More worker processes on one machine: what they do together, and what each costs while it has nothing to do."""

import time
from contextlib import ExitStack
from statistics import median

import psycopg

from benchmarks.figures import Figure
from benchmarks.figures.rates import passed
from benchmarks.ground import Ground, new_ground
from benchmarks.running import running_worker
from benchmarks.usage import cpu_s
from sandbox.parts import Parts, Program

SIZES = (1, 2, 4, 8)
IDLE_S = 30


def processes(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure one, two, four and eight worker processes by turns, brokerage at 0 ms."""
    found: dict[int, list[float]] = {size: [] for size in SIZES}
    for number in range(runs):
        for size, rates in found.items():
            with new_ground(parts) as ground, ExitStack() as stack:
                workers = [stack.enter_context(running_worker(parts, ground.env)) for _ in range(size)]
                rates.append(passed(ground, workers, f"{size} {number}", int(20_000 * scale)).per_s)
    ratios = {n: median(a / b for a, b in zip(found[n], found[1], strict=True)) for n in SIZES[1:]}
    said = ", ".join(f"{size}: {ratio:.2f}" for size, ratio in ratios.items())
    said += f" of one's {median(found[1]):,.0f}/s, {runs} runs each"
    return Figure("more processes, 0 ms", said, "2 and 4: 0.95", min(ratios[2], ratios[4]) >= 0.95, {"per_s": found})


def idle(parts: Parts, scale: float, _runs: int) -> Figure:
    """Measure what workers that have nothing to do ask of Postgres and of the processor."""
    told, found = [], {}
    for size in SIZES:
        with new_ground(parts) as ground, ExitStack() as stack:
            workers = [stack.enter_context(running_worker(parts, ground.env)) for _ in range(size)]
            time.sleep(10)  # until the partitions are shared out
            found[size] = _costs(ground, workers, max(5.0, IDLE_S * scale))
        per_s, postgres_ms, worker_ms = (value / size for value in found[size])
        told.append(f"{size}: {per_s:.0f} transactions/s, {postgres_ms:.0f} + {worker_ms:.0f} ms/s")
    said = "; ".join(told) + " of processor (Postgres + worker), each worker"
    return Figure("idle workers", said, "none set", None, {"costs": found})


def _costs(ground: Ground, workers: list[Program], seconds: float) -> tuple[float, float, float]:
    """Return, a second: database transactions, ms of Postgres' processor, ms of the workers'."""
    programs = [[ground.parts.postgres.program], workers]
    with psycopg.connect(ground.database_url, autocommit=True) as connection:
        before, used = _transactions(connection), [_used_s(some) for some in programs]
        time.sleep(seconds)
        transactions = _transactions(connection) - before
    spent = [(_used_s(some) - one) * 1000 / seconds for some, one in zip(programs, used, strict=True)]
    return transactions / seconds, spent[0], spent[1]


def _used_s(programs: list[Program]) -> float:
    return sum(cpu_s(program.pid) or 0.0 for program in programs)


def _transactions(connection: "psycopg.Connection[tuple[int]]") -> int:
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").fetchone()
    return row[0] if row else 0
