"""The runbook of a leaked key, walked to its end: the thief is shut out and shown, and no command is lost or doubled."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.support import SandboxClient, Topics, WorkerProcess, new_account, new_command, wait_until
from tests.support.kafka import terminal
from tests.support.runbooks import commands_of
from tests.support.upstream import Upstream
from tests.support.worker import CHECKOUT, run_worker_cli
from worker.operate.quiet import client_of
from worker.settings import Settings
from worker.whale.operations import REGISTRY, Intent, Variants
from worker.whale.wire import Answer

OLD = {"app_key": "test-key", "app_secret": "test-secret", "access_token": "test-token"}
NEW = {name: f"the-next-{name}" for name in OLD}


def steal(env: dict[str, str], account_no: str) -> int:
    """Move money as somebody else who has the old key; returns the answer's status."""
    given = {f"LEDGER_WHALE_{name.upper()}": value for name, value in OLD.items()}
    files = {f"LEDGER_WHALE_{name.upper()}_FILE": "" for name in OLD}
    payload = {"direction": "CREDIT", "currency": "USD", "amount": "666.00", "biz_code": "X"}
    request = REGISTRY["cash.adjust"].build(Intent(UUID(int=666), account_no, payload), Variants())

    async def call() -> int:
        async with client_of(Settings.from_env(env | given | files, needs=("whale",))) as client:
            answer = await client.read(request)
        assert isinstance(answer, Answer), answer
        return answer.status

    return asyncio.run(call())


@pytest.mark.timeout(300)  # a dozen processes, one after the other
def test_the_thief_is_shut_out_and_shown_and_each_command_is_done_once(
    upstream: Upstream,
    brokerage: SandboxClient,
    applied_topics: Topics,
    worker_env: dict[str, str],
    start_worker: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    given = {}
    for name, value in OLD.items():
        (tmp_path / name).write_text(f"{value}\n")
        given |= {f"LEDGER_WHALE_{name.upper()}": "", f"LEDGER_WHALE_{name.upper()}_FILE": str(tmp_path / name)}
    worker, env = start_worker(settings=given), worker_env | given
    commands = [new_command("cash.adjust", new_account()) for _ in range(6)]
    upstream.send(*commands[:3])
    upstream.answered(*commands[:3])
    assert steal(env, commands[0]["account_no"]) == 200
    found = ""
    for arguments in commands_of(CHECKOUT / "docs/runbooks/leaked-key.md"):
        match arguments[0]:
            case "pause" | "resume":
                done = run_worker_cli(*arguments, "--yes", env=env)
                assert done.returncode == 0, done.stderr
            case "doctor":
                done = run_worker_cli(*arguments, env=env)
                assert "ok    brokerage" in done.stdout, done.stdout
                assert "WRONG brake" in done.stdout
            case "reconcile":
                upstream.answered(*commands)
                now = datetime.now(UTC)  # noqa: TID251
                arguments[arguments.index("--from") + 1] = (now - timedelta(hours=1)).isoformat()
                arguments[arguments.index("--to") + 1] = now.isoformat()
                arguments[arguments.index("--certificate") + 1] = str(tmp_path / "leak.json")
                arguments[arguments.index("--page") + 1] = str(tmp_path / "leak.txt")
                done = run_worker_cli(*arguments, env=env)
                assert done.returncode == 4, done.stderr
                found = (tmp_path / "leak.json").read_text()
            case _:
                assert run_worker_cli(*arguments, env=env).returncode == 0
        if arguments[0] == "pause":
            upstream.send(*commands[3:])
            brokerage.replace_token(**NEW)
            assert steal(env, commands[0]["account_no"]) == 403
            for name, value in NEW.items():
                (tmp_path / name).write_text(f"{value}\n")
            wait_until(lambda: "secrets.renewed" in worker.log, message=lambda: worker.log)
    [theirs] = [one for one in json.loads(found)["differences"] if one["kind"] == "theirs_without_ours"]
    assert "666" in json.dumps(theirs)
    outcomes = terminal(upstream.answered(*commands))
    assert {one["type"] for one in outcomes.values()} == {"command.succeeded"}
    ours = [one["account_no"] for one in brokerage.effects()]
    assert sorted(ours) == sorted([*(one["account_no"] for one in commands), commands[0]["account_no"]])
    assert worker.sigterm() == 0
    assert not any(secret in worker.log for secret in (*NEW.values(), OLD["app_secret"], OLD["access_token"]))
