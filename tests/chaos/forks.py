"""Workers that start at once: the near side of `zygote.py`."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.parts.programs import Programs
from tests.chaos.crashing import Order
from tests.support import wait_until_async
from tests.support.worker import CHECKOUT, clean_env

_LOG_LINES_SHOWN = 12


@dataclass(frozen=True)
class ForkedWorker:
    """A worker's process; `ended` is its exit status, negative where a signal ended it."""

    pid: int
    folder: Path
    ended: "asyncio.Future[int]"

    def order(self, order: Order) -> None:
        """Say where it shall end; it looks at its next passage."""
        order.write(_order_file(self.folder))

    def struck(self) -> dict[str, Any] | None:
        """Return the note that it left when it struck."""
        note = _struck_file(self.folder)
        return dict(json.loads(note.read_text())) if note.exists() else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if not self.ended.done():
            os.kill(self.pid, number)

    async def end(self, number: signal.Signals, deadline_s: float = 30) -> int:
        """Send a signal and wait until it has ended; returns its exit status."""
        self.send(number)
        async with asyncio.timeout(deadline_s):
            return await asyncio.shield(self.ended)

    def last_lines(self) -> str:
        """Return the end of its log."""
        lines = (self.folder / "worker.log").read_text(errors="replace").splitlines()
        return "".join(f"\n      {line[:400]}" for line in lines[-_LOG_LINES_SHOWN:])


class Zygote:
    """Forks workers on request."""

    def __init__(self, programs: Programs, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._programs, self._reader, self._writer = programs, reader, writer
        self._started: asyncio.Queue[int] = asyncio.Queue()
        self._asking = asyncio.Lock()
        self._running: dict[int, asyncio.Future[int]] = {}
        self._gone: dict[int, int] = {}

    async def start(
        self, env: Mapping[str, str], order: Order | None = None, roles: str = "", *, paced: bool = True
    ) -> ForkedWorker:
        """Start `ledger-worker run`; with an order it may end before it has begun, `paced` it idles as `PACES` says."""
        folder = self._programs.new_folder("worker")
        if order is not None:
            order.write(_order_file(folder))
        asked = {
            "env": dict(env),
            "arguments": ["--role", roles] if roles else [],
            "log": str(folder / "worker.log"),
            "order": str(_order_file(folder)),
            "struck": str(_struck_file(folder)),
            "paced": paced,
        }
        async with self._asking:
            self._writer.write(json.dumps(asked).encode() + b"\n")
            pid = await self._started.get()
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if pid in self._gone:
            ended.set_result(self._gone.pop(pid))
        else:
            self._running[pid] = ended
        return ForkedWorker(pid, folder, ended)

    async def listen(self) -> None:
        """Hear of starts and ends, until the zygote ends."""
        while line := await self._reader.readline():
            told = json.loads(line)
            if "status" not in told:
                self._started.put_nowait(told["pid"])
            elif (ended := self._running.pop(told["pid"], None)) is None:
                self._gone[told["pid"]] = told["status"]
            elif not ended.done():
                ended.set_result(told["status"])


@asynccontextmanager
async def open_zygote(programs: Programs) -> AsyncIterator[Zygote]:
    """Start the process that forks; its workers end with it at the latest."""
    folder = programs.new_folder("zygote")
    path = folder / "socket"
    argv = [sys.executable, "-m", "tests.chaos.zygote", str(path)]
    program = programs.start("the zygote", argv, folder / "zygote.log", env=clean_env({}), cwd=CHECKOUT)
    await wait_until_async(lambda: path.exists() or not program.is_running(), 60, "the zygote listens")
    assert program.is_running(), program.last_lines()
    reader, writer = await asyncio.open_unix_connection(str(path))
    zygote = Zygote(programs, reader, writer)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(zygote.listen())
        yield zygote
        listening.cancel()
        writer.close()
    program.kill()


def _order_file(folder: Path) -> Path:
    return folder / "order.json"


def _struck_file(folder: Path) -> Path:
    return folder / "struck.json"
