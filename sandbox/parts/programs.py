"""Programs that are started here and certainly end: on close, on an exception, and when this process is killed."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.parts.errors import PartsError

_LOOK_EVERY_S = 0.03
_LOG_LINES_SHOWN = 15


class Program:
    """One started program; both its outputs go to `log`, unless `stdout` is a pipe."""

    def __init__(self, name: str, popen: "subprocess.Popen[str]", log: Path, ended: Callable[[int], None]) -> None:
        self.name = name
        self.log = log
        self.popen = popen
        self._ended = ended

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self.popen.pid

    def is_running(self) -> bool:
        """Say whether it has not ended yet; a frozen one counts as running."""
        return self.popen.poll() is None

    def wait_ready(self, is_ready: Callable[[], bool], deadline_s: float) -> None:
        """Block until `is_ready()`; PartsError with its last log lines when it ends before, or at the deadline."""
        give_up_at = time.monotonic() + deadline_s
        while not is_ready():
            if not self.is_running():
                raise PartsError(f"{self.name} ended with {self.popen.returncode} while it started{self.last_lines()}")
            if time.monotonic() > give_up_at:
                raise PartsError(f"{self.name} was not ready after {deadline_s:.0f} s{self.last_lines()}")
            time.sleep(_LOOK_EVERY_S)

    def stop(self, sign: signal.Signals = signal.SIGTERM, deadline_s: float = 15) -> int:
        """Ask it to end, kill it at the deadline; returns its exit status. May be called twice."""
        if self.is_running():
            self.popen.send_signal(sign)
        return self.stop_when_done(deadline_s)

    def stop_when_done(self, deadline_s: float) -> int:
        """Wait until it ends by itself, kill it at the deadline; returns its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(deadline_s)
        if self.is_running():
            self.kill()
        return self._gone()

    def kill(self) -> None:
        """Kill -9 it with its group and wait until it is gone. May be called twice."""
        if self.is_running():
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait()
        self._gone()

    def last_lines(self) -> str:
        """Return the end of its log, each line indented, beginning with a line break; empty where there is none."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "".join(f"\n    {line}" for line in lines[-_LOG_LINES_SHOWN:])

    def _gone(self) -> int:
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        self._ended(self.pid)
        return self.popen.wait()


class Programs:
    """Starts programs in one folder; `close` kills what runs and removes the folder, and so does a reaper if we die.

    A context manager; safe to use from several threads. After `close`, `start` raises PartsError, so that a start that is
    under way in another thread ends too.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-parts-"))
        self.folder.chmod(0o711)  # an unprivileged Postgres passes through
        self._lock = threading.Lock()
        self._running: dict[int, Program] = {}
        self._folders_count = 0
        self._closed = False
        self._reaper = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", str(Path(__file__).with_name("reaper.py")), str(self.folder)],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def new_folder(self, name: str) -> Path:
        """Make an empty folder of that name and a number."""
        with self._lock:
            self._refuse_when_closed(name)
            self._folders_count += 1
            folder = self.folder / f"{name}-{self._folders_count}"
            folder.mkdir()
        return folder

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        *,
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pipe: bool = False,
    ) -> Program:
        """Start a program in a session of its own, as `uid` if given; `pipe` leaves its stdout to the caller."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._lock)
            self._refuse_when_closed(name)
            output = stack.enter_context(log.open("ab"))
            popen = subprocess.Popen(  # noqa: S603
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else output,
                stderr=output,
                text=True,
                cwd=cwd or self.folder,
                env=None if env is None else dict(env),
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
                start_new_session=True,
            )
            self._tell_reaper(f"+{popen.pid}")
            program = Program(name, popen, log, self._forget)
            self._running[popen.pid] = program
            return program

    def close(self) -> None:
        """Kill everything, remove the folder. May be called twice."""
        with self._lock:
            self._closed = True
            left = list(self._running.values())
        for program in left:
            program.kill()
        if self._reaper.stdin is not None and not self._reaper.stdin.closed:
            self._reaper.stdin.close()
        self._reaper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _refuse_when_closed(self, name: str) -> None:
        if self._closed:
            raise PartsError(f"{name} was not started: everything is being stopped")

    def _forget(self, pid: int) -> None:
        with self._lock:
            if self._running.pop(pid, None) is not None:
                self._tell_reaper(f"-{pid}")

    def _tell_reaper(self, line: str) -> None:
        if self._reaper.stdin is None:
            raise PartsError("the reaper has no input")
        self._reaper.stdin.write(line + "\n")
        self._reaper.stdin.flush()
