"""The worker as its users meet it: a process with an environment, signals and a log."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.parts.ports import free_port
from sandbox.parts.programs import Program, Programs
from tests.support import nursery, printed

CHECKOUT = Path(__file__).parents[2]
KEYS = {
    "LEDGER_WHALE_APP_KEY": "test-key",
    "LEDGER_WHALE_APP_SECRET": "test-secret",
    "LEDGER_WHALE_ACCESS_TOKEN": "test-token",
}
QUICK = {
    "LEDGER_WHALE_TIMEOUT_S": "1",
    "LEDGER_LANE_LEASE_S": "4",
    "LEDGER_LATE_APPLY_S": "1",
    "LEDGER_IN_DOUBT_NOTICE_S": "0.5",
    "LEDGER_WHALE_KEY_LIFE_S": "20",
    "LEDGER_SWEEP_GRACE_S": "2",
    "LEDGER_DRAIN_S": "10",
}
"""Settings that bring doubts, leases and keys to their ends within seconds."""
_READY_DEADLINE_S = 90
_CLI_DEADLINE_S = 60


def clean_env(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without any LEDGER_ variable, and these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    return {**inherited, "PYTHONPATH": str(CHECKOUT), **settings}


def run_worker_cli(
    *arguments: str,
    env: Mapping[str, str],
    stdin: str | None = None,
    deadline_s: float = _CLI_DEADLINE_S,
    fresh: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m worker ARGUMENTS` to its end, without a terminal; the caller looks at the exit status.

    It is forked from a process that has imported it already, unless it shall be `fresh`: a test of the start itself.
    What it prints as JSON is as its schema says.
    """
    done = _run_fresh(arguments, env, stdin, deadline_s) if fresh else _fork(arguments, env, stdin, deadline_s)
    printed.check(arguments, done.stdout)
    return done


def _fork(
    arguments: Sequence[str], env: Mapping[str, str], stdin: str | None, deadline_s: float
) -> "subprocess.CompletedProcess[str]":
    return nursery.shared().call(*arguments, env=env, stdin=stdin or "", deadline_s=deadline_s)


def _run_fresh(
    arguments: Sequence[str], env: Mapping[str, str], stdin: str | None, deadline_s: float
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        env=dict(env),
        cwd=CHECKOUT,
        input="" if stdin is None else stdin,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        check=False,
    )


class WorkerProcess:
    """`ledger-worker run` on an HTTP port of its own, in a fresh process of `Programs` or one that a nursery forks."""

    def __init__(self, programs: Programs | nursery.Nursery, env: Mapping[str, str], *arguments: str) -> None:
        self.port = free_port()
        env = {**env, "LEDGER_HTTP_HOST": "127.0.0.1", "LEDGER_HTTP_PORT": str(self.port)}
        log = programs.new_folder("worker") / "worker.log"
        argv = [sys.executable, "-m", "worker", "run", *arguments]
        self.program: Program = programs.start("the worker", argv, log, env=env, cwd=CHECKOUT)

    @property
    def log(self) -> str:
        """Everything it has written so far."""
        return self.program.log.read_text(errors="replace")

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """GET from its own HTTP port; status 0 when nothing answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def wait_ready(self, deadline_s: float = _READY_DEADLINE_S) -> "WorkerProcess":
        """Block until /readyz answers 200; PartsError with its last log lines when it ends before."""
        self.program.wait_ready(self.is_ready, deadline_s)
        return self

    def wait_end(self, deadline_s: float = 30) -> int:
        """Block until it ends by itself and return its exit status; killed at the deadline (then negative)."""
        return self.program.stop_when_done(deadline_s)

    def sigterm(self, deadline_s: float = 45) -> int:
        """Ask it to drain; returns its exit status, negative when it had to be killed."""
        return self.program.stop(deadline_s=deadline_s)

    def sigkill(self) -> None:
        self.program.kill()

    def sigstop(self) -> None:
        self.program.popen.send_signal(signal.SIGSTOP)

    def sigcont(self) -> None:
        self.program.popen.send_signal(signal.SIGCONT)

    def metrics(self) -> dict[str, float]:
        """Return /metrics as a mapping of series, with their labels as written, to values."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line and not line.startswith("#")]
        pairs: list[Any] = [line.rsplit(" ", 1) for line in lines]
        return {name: float(value) for name, value in pairs}
