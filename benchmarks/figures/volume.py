"""What much costs: commands on a database that holds millions already, and a backlog that waits in Kafka."""

import asyncio
import subprocess
import sys
import time
from statistics import median
from typing import Any

import psycopg

from benchmarks.batches import Feed
from benchmarks.commands import commands
from benchmarks.end_to_end import pass_through
from benchmarks.figures import Figure
from benchmarks.ground import Ground, new_ground
from benchmarks.running import CHECKOUT, running_worker
from benchmarks.usage import memory_mib
from sandbox.parts import Parts, Program

ACCOUNTS = 2_000
ROWS = 10_000_000
SAMPLE = 10_000
MEASURED = 10_000
BACKLOG = 1_000_000
LOOKS = {
    "explain": ("explain", "{command_id}", "--output", "json"),
    "in-doubt list": ("in-doubt", "list", "--output", "json"),
    "timers list": ("timers", "list", "--output", "json"),
}
COPIED = {
    "command_ids": "command_id",
    "commands": "command_id",
    "attempts": "command_id, attempt_id",
    "outcomes": "command_id, event_id",
    "publications": "event_id",
    "records": "",
}
"""The tables that keep a row for each command, with the columns that make a copy another command's."""


def growth(parts: Parts, scale: float, runs: int) -> Figure:
    """Measure what a command and a person's looks cost where 10 million commands were done before, over an empty database."""
    rows = int(ROWS * scale)
    with new_ground(parts) as ground:
        empty = _costs(ground, "empty", runs)
        _multiply(ground, rows // SAMPLE)
        full = _costs(ground, "full", runs)
    ratios = {name: full[name] / empty[name] for name in empty}
    said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()) + f" times, at {rows:,} commands"
    return Figure("growth", said, "1.1 times", max(ratios.values()) <= 1.1, {"empty": empty, "full": full})


def _costs(ground: Ground, name: str, runs: int) -> dict[str, float]:
    """Return the medians: ms of the processors for a command, of worker and Postgres; seconds of each look."""
    used = []
    topics = ground.commands_topic, ground.outcomes_topic
    program = ground.brokerage.program
    with running_worker(ground.parts, ground.env) as worker:
        for number in range(runs):
            passing = pass_through(ground.parts, [worker], program, f"{name} {number}", MEASURED, ACCOUNTS, topics)
            spent = asyncio.run(passing).cpu_s
            used.append(((spent["worker"] or 0.0) + (spent["postgres"] or 0.0)) * 1000 / MEASURED)
    with psycopg.connect(ground.database_url) as connection:
        row = connection.execute("SELECT command_id FROM commands LIMIT 1").fetchone()
    command_id = str(row[0]) if row else ""
    costs = {"a command": median(used)}
    for look, arguments in LOOKS.items():
        argv = [one.format(command_id=command_id) for one in arguments]
        costs[look] = median(_took_s(ground, argv) for _ in range(5))
    return costs


def _took_s(ground: Ground, arguments: list[str]) -> float:
    began_s = time.perf_counter()
    argv = [sys.executable, "-m", "worker", *arguments]
    done = subprocess.run(argv, cwd=CHECKOUT, env=ground.env, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{arguments} ended with {done.returncode}")
    return time.perf_counter() - began_s


def _multiply(ground: Ground, times: int) -> None:
    """Copy the first commands that were done, with all that is kept of them, so many times under other ids and places."""
    with psycopg.connect(ground.database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(f"CREATE TABLE sampled AS SELECT command_id FROM commands LIMIT {SAMPLE}")  # noqa: S608
        for table, keys in COPIED.items():
            columns = _columns(connection, table)
            given = ", ".join(_copied(name, keys) for name in columns)
            names = ", ".join(f'"{name}"' for name in columns)
            which = _WHICH[table]
            for first in range(1, times + 1, 100):
                series = f"generate_series({first}, {min(times, first + 99)})"
                source = f"SELECT {given} FROM {series} n, {table} t WHERE {which}"  # noqa: S608
                connection.execute(f"INSERT INTO {table} ({names}) {source}")
        connection.execute("DROP TABLE sampled")
        connection.execute("VACUUM (ANALYZE)")


_OF_COMMAND = "t.command_id IN (SELECT command_id FROM sampled)"
_WHICH = {
    **dict.fromkeys(("command_ids", "commands", "attempts", "outcomes"), _OF_COMMAND),
    "publications": "t.event_id IN (SELECT o.event_id FROM outcomes o JOIN sampled USING (command_id))",
    "records": "EXISTS (SELECT FROM commands c JOIN sampled USING (command_id) WHERE c.topic = t.topic "
    'AND c.epoch = t.epoch AND c.partition = t.partition AND c."offset" = t."offset")',
}


def _columns(connection: "psycopg.Connection[Any]", table: str) -> list[str]:
    statement = "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public'"
    return [row[0] for row in connection.execute(statement + " AND is_generated = 'NEVER'", [table])]


def _copied(name: str, keys: str) -> str:
    """Write a copied column: another id of the same command in every table, a later place, an account of its own."""
    if name in keys.split(", "):
        return f"CAST(md5(t.{name}::text || n) AS uuid)"
    copied = {
        "account_no": "t.account_no || '-' || n",
        "offset": 't."offset" + n * 10000000::bigint',
        "terminal_event_id": "CAST(md5(t.terminal_event_id::text || n) AS uuid)",
    }
    return copied.get(name, f't."{name}"')


def backlog(parts: Parts, scale: float, _runs: int) -> Figure:
    """Measure memory and the rate from minute to minute of one worker that a million records wait for."""
    count = int(BACKLOG * scale)
    with new_ground(parts) as ground:
        asyncio.run(_fill(ground, count))
        with running_worker(parts, ground.env) as worker:
            rates, most_mib = _watch(ground, worker, count)
    first, last = median(rates[:3]), median(rates[-4:-1] or rates)
    said = f"at most {most_mib:.0f} MiB; {first:,.0f}/s at first, {last:,.0f}/s at last ({count:,} records)"
    return Figure("backlog in Kafka", said, "250 MiB; flat", most_mib <= 250 and last >= 0.9 * first, {"per_s": rates})


async def _fill(ground: Ground, count: int) -> None:
    async with Feed(ground.parts.kafka.bootstrap, ground.commands_topic) as feed:
        for first in range(0, count, 50_000):
            some = min(50_000, count - first)
            await feed.send(await feed.batches(commands(f"backlog {first}", some, ACCOUNTS)))


def _watch(ground: Ground, worker: Program, count: int) -> tuple[list[float], float]:
    """Return the commands per second of each ten seconds, and the most MiB that were held."""
    rates, done, most_mib = [], 0, 0.0
    with psycopg.connect(ground.database_url, autocommit=True) as connection:
        while done < count:
            if not worker.is_running():
                raise RuntimeError(f"the worker ended{worker.last_lines()}")
            time.sleep(10)
            row = connection.execute("SELECT count(*) FROM publications").fetchone()
            before, done = done, row[0] if row else 0
            rates.append((done - before) / 10)
            most_mib = max(most_mib, *(memory_mib(worker.pid) or (0.0,)))
    return rates, most_mib
