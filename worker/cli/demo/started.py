"""The processes of the demo: the parts, the worker, and a reaper that ends both if the demo is killed.

The parts and the reaper are the sandbox's own programs and are only ever started, never imported: the worker shares no
code with what it is tested against.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.cli.demo.ask import ask
from worker.cli.frame import say
from worker.clock import boot_s
from worker.errors import LedgerWorkerError, PartUnavailableError
from worker.settings import FOREIGN_PREFIXES, PREFIX

PARTS_DEADLINE_S = 300.0
"""The first start fetches Kafka and its Java."""
READY_DEADLINE_S = 120.0
STOP_DEADLINE_S = 10.0
LOOK_EVERY_S = 0.1
LOG_LINES_SHOWN = 8

KEYS = {
    "LEDGER_WHALE_APP_KEY": "demo-app-key",
    "LEDGER_WHALE_APP_SECRET": "demo-app-secret",
    "LEDGER_WHALE_ACCESS_TOKEN": "demo-access-token",
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts answer."""

    kafka: str
    database_url: str
    brokerage_url: str


class Started:
    """Starts the processes; leaving it stops them all, and whatever kills it does so too. An async context manager."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-demo-"))
        self.worker_log = self.folder / "worker.log"
        self._running: list[Process] = []
        self._reaper: Process | None = None

    async def __aenter__(self) -> Self:
        self._reaper = await _start(["sandbox.parts.reaper", str(self.folder)], os.environ, stdin=PIPE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._running):
            await _stop(process)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            await self._reaper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        say("stopped; nothing of it is left running")

    async def begin_parts(self) -> None:
        """Start Kafka, Postgres and the sandbox brokerage, which say on stderr how far they are; does not wait for them."""
        keys = zip(("--app-key", "--app-secret", "--access-token"), KEYS.values(), strict=True)
        options = [part for pair in keys for part in pair]
        await self._keep(await _start(["sandbox.parts", "serve", "--", *options], os.environ, stdout=PIPE))

    async def parts(self) -> Addresses:
        """Wait until all parts answer. Raises PartUnavailableError where one does not; the reason is on stderr then."""
        told, process = b"", self._running[0]
        if process.stdout is not None:
            with contextlib.suppress(TimeoutError):
                told = await asyncio.wait_for(process.stdout.readline(), PARTS_DEADLINE_S)
        if not told:
            raise PartUnavailableError("the parts of the demo did not start; the lines above say why")
        found = json.loads(told)
        return Addresses(found["kafka"], found["database_url"], found["brokerage_url"])

    async def worker(self, env: Mapping[str, str]) -> str:
        """Start `ledger-worker run` with these settings and wait until it is ready; returns the URL of its health.

        Raises LedgerWorkerError when it ends or does not become ready; the end of its log is on stderr then.
        """
        process = await self._keep(await _start(["worker", "run"], env, log=self.worker_log))
        give_up_s = boot_s() + READY_DEADLINE_S
        while boot_s() < give_up_s and process.returncode is None:
            url = self._health_url()
            with contextlib.suppress(PartUnavailableError):
                if url and (await ask(url, "/readyz"))[0] == 200:  # noqa: PLR2004
                    return url
            await asyncio.sleep(LOOK_EVERY_S)
        self.check()
        raise PartUnavailableError(f"the worker was not ready after {READY_DEADLINE_S:.0f} s{self._last_lines()}")

    def check(self) -> None:
        """Raise LedgerWorkerError when a process has ended that should be running."""
        for process in self._running:
            if process.returncode is not None:
                raise LedgerWorkerError(
                    f"a process of the demo has ended with {process.returncode}; the worker's log ends{self._last_lines()}"
                )

    async def _keep(self, process: Process) -> Process:
        self._running.append(process)
        if self._reaper is None or self._reaper.stdin is None:
            raise RuntimeError("enter it first")
        self._reaper.stdin.write(f"+{process.pid}\n".encode())
        await self._reaper.stdin.drain()
        return process

    def _health_url(self) -> str | None:
        for line in self.worker_log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return f"http://127.0.0.1:{json.loads(line)['http_port']}"
        return None

    def _last_lines(self) -> str:
        lines = self.worker_log.read_text(errors="replace").splitlines() if self.worker_log.exists() else []
        return ": " + " | ".join(lines[-LOG_LINES_SHOWN:] or ["empty"])


def demo_env(parts: Addresses) -> dict[str, str]:
    """Return the settings of the demo's worker: its parts, and deadlines short enough to watch a doubt being resolved."""
    return {
        "LEDGER_KAFKA_BOOTSTRAP_SERVERS": parts.kafka,
        "LEDGER_DATABASE_URL": parts.database_url,
        "LEDGER_WHALE_BASE_URL": parts.brokerage_url,
        **KEYS,
        "LEDGER_WHALE_TIMEOUT_S": "2",
        "LEDGER_WHALE_KEY_LIFE_S": "30",
        "LEDGER_LANE_LEASE_S": "6",
        "LEDGER_LATE_APPLY_S": "2",
        "LEDGER_IN_DOUBT_NOTICE_S": "0.3",
        "LEDGER_SWEEP_GRACE_S": "10",
        "LEDGER_EXPIRES_AHEAD_MIN_S": "1",
        "LEDGER_DRAIN_S": "8",
    }


def worker_env(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these LEDGER_ variables and no others of the worker's."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) or name.startswith(FOREIGN_PREFIXES)
    }
    return inherited | dict(settings) | {"LEDGER_HTTP_PORT": "0", "LEDGER_LOG_FORMAT": "json"}


async def _start(
    module: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: int = DEVNULL,
    stdout: int | None = None,
    log: Path | None = None,
) -> Process:
    """Start `python -m MODULE ARGUMENTS` in a session of its own: Ctrl-C reaches only the demo, which stops it in order."""
    argv = [sys.executable, "-m", *module]
    if log is None:
        return await asyncio.create_subprocess_exec(
            *argv, env=env, stdin=stdin, stdout=stdout or 2, start_new_session=True
        )
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *argv, env=env, stdin=stdin, stdout=output, stderr=output, start_new_session=True
        )


async def _stop(process: Process) -> None:
    """Ask it to end, kill it at the deadline."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_DEADLINE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
