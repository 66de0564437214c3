"""Every place where a worker commits or sends is a place where it is killed; and each of them is really got to.

The worker's source is read here: a database transaction, or a call that sends something out, which `points.py` does not know
fails these tests.
"""

import ast
import asyncio
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.chaos.crashing import PACES, WRAPPED, transaction_lines
from tests.chaos.ground import open_ground
from tests.chaos.matrix import figures, run_all, sample
from tests.chaos.points import (
    BEFORE_BYTES,
    BEFORE_COMMIT,
    BY_NAME,
    BYTES,
    COMMITTED,
    FIRST,
    HALF,
    HITS,
    POINTS,
    SITES,
)
from tests.chaos.run import Finding, Run
from tests.chaos.scenarios import TYPES
from tests.support.database import Databases
from tests.support.worker import CHECKOUT

AT_ONCE = 6
FOLDERS = ("pipeline", "timers", "app", "kafka", "whale", "store")
READING = {"start", "positions", "watch-read", "waiting", "gauges", "invariants", "stopped"}
"""These change nothing: one point, at their end."""
UNDONE = {"put-off", "set-aside", "leave"}
"""These change one row and read nothing before: a point before their first statement would be the one before it."""
CALLS = ["call.before-bytes", "call.half", "call.bytes", "look.before-bytes", "look.bytes"]
PUBLISHED = ["relay.before-bytes", "relay.half", "relay.bytes"]
SENDS = {
    r"pipeline\.effect:Effect\.carry_out self\._client\.send": ["call.before", "call.bytes", "call.answered"],
    r"pipeline\.effect:Effect\._read self\._client\.read": ["look.before-bytes", "look.bytes", "look.answered"],
    r"whale\.client:WhaleClient\.read self\.send": ["look.before-bytes", "look.bytes", "look.answered"],
    r"whale\.\w+:\S+ \S*transport\.write": CALLS,
    r"pipeline\.publish:Publish\._send self\._producer\.send": ["relay.before", "relay.acknowledged"],
    r"kafka\.producer:Producer\._send_all client\.send_batch": PUBLISHED,
    r"kafka\.broker:Session\._commit consumer\.commit": ["offsets.before", "offsets.bytes", "offsets.after"],
}
"""Calls that send what changes something, or may tell what was changed; with the points around them."""
NO_SENDS = (
    *(" batch.write", " operation.read", "tolerant:read_slice client.send", "tolerant:_gzip file.read"),
    *("reader:_refuse_hidden client.send", "dial:_dial connection.send"),
    "tunnel:Tunnel.connection_made cast('asyncio.Transport', transport).write",
)
"""Rows of a batch, within a database transaction; the reading of an answer; a fetch, which changes nothing anywhere; the
unpacking of what was fetched; questions to Kafka about itself; asking a proxy for a way to the brokerage.
"""
NO_SITES = {"worker.store.engine:reading"}
"""A story that somebody asks for over HTTP: it can only read, and no work waits for it."""
SENDING = {"send", "send_batch", "send_and_wait", "write", "writelines", "sendall", "sock_sendall", "commit", "read"}


def modules() -> list[str]:
    found = [path for folder in FOLDERS for path in (CHECKOUT / "worker" / folder).rglob("*.py")]
    names = [".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__") for path in found]
    return sorted(names)


def sites() -> set[str]:
    found = set()
    for module in modules():
        for function, lines in transaction_lines(module).items():
            numbers = [f"#{number}" for number in range(1, len(lines) + 1)] if len(lines) > 1 else [""]
            found |= {f"{module}:{function}{number}" for number in numbers}
    return found - NO_SITES


def sends() -> set[str]:
    return {
        found
        for module in modules()
        for found in _calls(module)
        if ".store." not in module and not found.endswith(NO_SENDS)
    }


def _calls(module: str) -> Iterator[str]:
    spec = find_spec(module)
    assert spec is not None
    tree = ast.parse(Path(str(spec.origin)).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.Module)]
    for owner in functions:
        prefix = f"{owner.name}." if isinstance(owner, ast.ClassDef) else ""
        for function in owner.body:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SENDING:
                    yield f"{module}:{prefix}{function.name} {ast.unparse(node.func)}"


def test_there_are_at_least_forty_points_each_with_a_name_and_a_place_of_its_own() -> None:
    assert len(POINTS) >= 40
    assert len(BY_NAME) == len(POINTS)
    places = [(point.at, point.scenario, point.spoil) for point in POINTS]
    assert len(set(places)) == len(places)


def test_every_database_transaction_of_the_path_is_a_place_to_die_at() -> None:
    assert sites() == set(SITES.values())


def test_every_change_of_the_database_has_a_point_before_and_one_after_its_commit() -> None:
    at = {point.at for point in POINTS}
    for name, site in SITES.items():
        phases = {COMMITTED} if name in READING else {BEFORE_COMMIT, COMMITTED}
        phases |= set() if name in READING | UNDONE else {FIRST}
        assert {phase for phase in (FIRST, BEFORE_COMMIT, COMMITTED) if f"{site} {phase}" in at} == phases, name


def test_everything_that_sends_has_points_before_and_after() -> None:
    unknown = {one for one in sends() if not any(re.fullmatch(rf"worker\.{kind}", one) for kind in SENDS)}
    assert unknown == set()
    unused = {kind for kind in SENDS if not any(re.fullmatch(rf"worker\.{kind}", one) for one in sends())}
    assert unused == set()
    assert {point for points in SENDS.values() for point in points} <= BY_NAME.keys()


def test_every_point_is_one_that_a_worker_can_pass() -> None:
    phases = {f"{site} {phase}" for site in SITES.values() for phase in (FIRST, BEFORE_COMMIT, COMMITTED)}
    sides = {f"{path} {side}" for path in WRAPPED for side in ("before", "after")}
    requests = ("a call", "a look", "Produce", "OffsetCommit")
    wires = {f"{request} {phase}" for request in requests for phase in (BEFORE_BYTES, HALF, BYTES)}
    calls = {f"{request} {side}" for request in requests[:2] for side in ("before", "after")}
    assert {point.at for point in POINTS} <= phases | sides | wires | calls


def test_only_waits_are_paced() -> None:
    assert all(path.rpartition(":")[2].isupper() for path in PACES)


def test_the_sample_has_every_point_and_every_type_and_both_hits() -> None:
    runs = sample()
    assert [run.point for run in runs] == list(POINTS)
    assert {run.type_ for run in runs} == set(TYPES)
    assert {run.hit for run in runs} == set(HITS)


async def _findings(kafka: str, databases: Databases, runs: list[Run]) -> list[Finding]:
    async with open_ground(kafka, databases, min(AT_ONCE, len(runs))) as ground:
        return [finding async for finding in run_all(ground, runs)]


@pytest.mark.timeout(900)
def test_nothing_is_amiss_after_a_worker_was_killed_at_each_point(kafka: str, databases: Databases) -> None:
    runs = sample()
    findings = asyncio.run(_findings(kafka, databases, runs))
    unclean = [(one.run.again, one.stories()) for one in findings if not one.is_clean()]
    assert unclean == []
    assert set(figures(findings).values()) == {0}
    assert sum(one.kills for one in findings) >= len(runs)
