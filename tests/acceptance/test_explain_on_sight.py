"""`explain` on sight: five endings of a real run, each on one screen that answers "what happened?" in its first line."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.integration.operate.conftest import typed
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command
from tests.support.upstream import Json, Upstream, temporary
from tests.support.worker import KEYS, clean_env

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SETTINGS = QUICK | {"LEDGER_EXPIRES_AHEAD_MIN_S": "1", "LEDGER_WHALE_KEY_LIFE_S": "60"}
WHY = ("--reason", "why", "--yes")
LINES_MAX = 40
FIRST_LINES = {
    "succeeded": "cash.adjust of 1000.00 USD for account {} succeeded: the brokerage confirmed it (serial_num ",
    "refused": "cash.adjust for account {} was rejected: refused when it was read, DECIMAL_INVALID: payload.amount: must",
    "in doubt": "cash.adjust of 1000.00 USD for account {} may or may not have been applied, in doubt since ",
    "parked": "temp.adjust of 1000.00 USD for account {} may have been applied and waits for a person: ",
    "expired": "temp.adjust of 1000.00 USD for account {} succeeded: the brokerage confirmed it (adjust_no ",
}


def told(outcomes: list[Json], command: Json, kind: str) -> bool:
    return any(one["command_id"] == command["command_id"] and one["type"] == kind for one in outcomes)


@pytest.fixture
def commands(
    brokerage: SandboxClient, upstream: Upstream, start_worker: Callable[..., WorkerProcess]
) -> dict[str, Json]:
    """One command for each ending, led there by a worker."""
    start_worker(settings=SETTINGS)
    sent = {
        "succeeded": new_command("cash.adjust", new_account()),
        "refused": new_command("cash.adjust", new_account(), {"amount": "1e3"}),
        "in doubt": new_command("cash.adjust", new_account()),
        "parked": temporary(new_account()),
        "expired": temporary(new_account(), 6),
    }
    for name in ("in doubt", "parked"):
        brokerage.fault("drop_answer", times=-1, account_no=sent[name]["account_no"])
    upstream.send(*sent.values())
    kinds = {
        "succeeded": "command.succeeded",
        "refused": "command.rejected",
        "in doubt": "command.in_doubt",
        "parked": "command.parked",
        "expired": "temp_adjustment.expired",
    }
    upstream.outcomes(lambda seen: all(told(seen, sent[name], kind) for name, kind in kinds.items()))
    return sent


@pytest.mark.prints("explain: a command", "explain: an account")
def test_each_ending_is_told_on_one_screen_and_to_machines(
    commands: dict[str, Json], run_cli: Cli, worker_env: dict[str, str], tmp_path: Path
) -> None:
    def explained(*arguments: str) -> str:
        done = asyncio.run(typed(worker_env, "explain", *arguments))
        assert done.returncode == 0, done.stderr
        return done.stdout

    for name, command in commands.items():
        told_all = explained(command["command_id"])
        (tmp_path / f"{name}.txt").write_text(told_all)
        lines = told_all.splitlines()
        first = FIRST_LINES[name].format(command["account_no"])
        assert " ".join(lines[:3]).startswith(first), told_all
        assert len(lines) <= LINES_MAX, told_all
        assert command["command_id"] in told_all
        assert not any(secret in told_all for secret in KEYS.values())
        story: dict[str, Any] = json.loads(explained(command["command_id"], "--output", "json"))
        assert (story["waits_for"] is None) is (name in ("succeeded", "refused", "expired"))
        assert all(move["command"].startswith("ledger-worker ") for move in story["moved_by"])
    account_no = commands["parked"]["account_no"]
    account = run_cli("explain", account_no)
    (tmp_path / "account.txt").write_text(account.stdout)
    assert account.returncode == 0, account.stderr
    assert account.stdout.startswith(f"Account {account_no} ")
    assert len(account.stdout.splitlines()) <= LINES_MAX
    assert json.loads(explained(account_no, "--output", "json"))["kind"] == "account"


def test_a_database_that_is_away_is_one_sentence() -> None:
    env = clean_env({"LEDGER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/ledger"})
    for arguments in (("explain", "H1"), ("in-doubt", "list"), ("parked", "discard", str(UUID(int=7)), *WHY)):
        done = asyncio.run(typed(env, *arguments))
        assert (done.returncode, done.stdout) == (1, "")
        assert "Postgres does not answer" in done.stderr
