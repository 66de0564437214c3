"""Every command line that a page lets its reader type is run by a test that is there, or is said not to be, and why."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.guarded_kafka import worker_grants
from tests.support.pages import fences, typed_lines
from tests.support.walked import NOT_RUN, PAGES, RUN_BY, WALKED, begins, typed_here
from tests.support.worker import CHECKOUT
from tests.tidy.tree import plan_of_make
from worker.settings import Settings

TYPED = {line for _, lines in typed_here() for line in lines}
LINES = [(name, line) for name, page in PAGES.items() for line in typed_lines(page)]


def test_every_line_is_run_or_said_not_to_be() -> None:
    assert len(LINES) > 280
    left = [
        f"{name}: {line}"
        for name, line in LINES
        if name not in WALKED and line not in TYPED and begins(line, RUN_BY | NOT_RUN) is None
    ]
    assert left == [], "run them in a test and name it in tests/support/walked.py, or say there why none does"


@pytest.mark.parametrize("line", ["ledger-worker runs", "ledger-worker run --role relay", "curl nowhere"])
def test_a_line_that_is_in_no_list_is_seen(line: str) -> None:
    assert typed_lines(f"```sh\n$ {line}  # so\n```") == [line]
    assert begins(line, RUN_BY | NOT_RUN) is None


@pytest.mark.parametrize("node", sorted({*WALKED.values(), *RUN_BY.values()}))
def test_each_test_that_is_named_exists_and_reads_the_pages_it_is_named_for(node: str) -> None:
    file, _, name = node.partition("::")
    text = (CHECKOUT / file).read_text()
    assert re.search(rf"(?m)^ *(?:async )?def {name}\(", text), node
    pages = [Path(page).name for page, test in WALKED.items() if test == node]
    assert [page for page in pages if page not in text] == []


@pytest.mark.parametrize("start", sorted({*RUN_BY, *NOT_RUN}))
def test_no_list_names_what_no_page_says(start: str) -> None:
    said = [line for _, line in LINES] + re.findall(r"`([^`\n]*)`", "".join(PAGES.values()))
    assert any(begins(line, {start: ""}) is not None for line in said)


@pytest.mark.parametrize("line", sorted({line for _, line in LINES if line.startswith("make ")}))
def test_make_knows_what_a_line_of_a_page_lets_it_run(line: str) -> None:
    done = plan_of_make(*shlex.split(line)[1:])
    assert done.returncode == 0, done.stderr
    for variable in shlex.split(line)[2:]:
        assert variable.partition("=")[2] in done.stdout


def test_the_page_grants_what_the_worker_of_the_guarded_tests_is_granted(tmp_path: Path) -> None:
    """docs/security-kafka.md, typed with a `kafka-acls.sh` that says what it was asked for."""
    [script] = [fence.text for fence in fences(PAGES["docs/security-kafka.md"]) if fence.language == "sh"]
    (tmp_path / "kafka-acls.sh").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "kafka-acls.sh").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BOOTSTRAP": "kafka:9092"}
    told = subprocess.run(["sh", "-euc", script], env=env, capture_output=True, text=True, check=True).stdout
    granted = {
        (right.upper(), name)
        for line in told.splitlines()
        for right in re.findall(r"--operation (\w+)", line)
        for name in re.findall(r"--(?:topic|group) (\S+)", line)
    }
    assert all(line.startswith("--bootstrap-server kafka:9092 ") for line in told.splitlines())
    settings = Settings.from_env({}, needs=())
    names = ("adjustments", "freezes", "orders", "outcomes", "dead_letters", "audit")
    topics = {f"LEDGER_TOPIC_{name.upper()}": getattr(settings, f"topic_{name}") for name in names}
    wanted = worker_grants(topics, settings.kafka_group_id)
    assert granted == {(one.operation.replace("_", ""), one.name) for one in wanted}
