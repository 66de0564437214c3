"""Workers by the dozen: a process that has imported the worker once and forks, for importing takes longer than working.

`Nursery` starts what `python -m worker ARGUMENTS` starts, in a session of its own, with an environment and a log; all
die with it. It stands where `WorkerProcess` wants `Programs`. Run as a program it is the process itself, of whichever
checkout is in PYTHONPATH: a JSON line asks for a child, a line tells its pid or how it ended.
"""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from itertools import count
from pathlib import Path
from typing import Any

from sandbox.parts.programs import Program, Programs

CHECKOUT = Path(__file__).parents[2]
_BIRTH_DEADLINE_S = 120
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Nursery:
    """Give it Programs to live in, and a checkout if the worker's code is not ours; safe to use from several threads."""

    def __init__(self, programs: Programs, checkout: Path = CHECKOUT) -> None:
        self._programs = programs
        folder = programs.new_folder("nursery")
        fifo = folder / "asked"
        os.mkfifo(fifo)
        self._asking = os.open(fifo, os.O_RDWR)  # to write; reading too makes the opening wait for nobody
        argv = [sys.executable, "-P", Path(__file__), fifo]  # -P: only that checkout, not this folder
        env = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
        env["PYTHONPATH"] = str(checkout)
        self._program = programs.start("the nursery", argv, folder / "nursery.log", env=env, pipe=True)
        self._lock = threading.Lock()
        self._told = threading.Condition()
        self._numbers = count(1)
        self._pids: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def new_folder(self, name: str) -> Path:
        """Make an empty folder of that name and a number."""
        return self._programs.new_folder(name)

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,  # noqa: ARG002 - the worker does not care
    ) -> Program:
        """Start `python -m worker …`: `argv` begins as it does for a shell. AssertionError when nothing is born."""
        assert [str(one) for one in argv[1:3]] == ["-m", "worker"], argv
        with self._lock:
            number = next(self._numbers)
            asked = {"number": number, "arguments": [str(one) for one in argv[3:]], "env": dict(env), "log": str(log)}
            os.write(self._asking, json.dumps(asked).encode() + b"\n")
        with self._told:
            assert self._told.wait_for(lambda: number in self._pids, _BIRTH_DEADLINE_S), "the nursery does not answer"
            pid = self._pids[number]
        return _Forked(name, _Child(pid, self._told, self._ends), log, lambda _pid: None)  # type: ignore[arg-type]

    def logging_in(self, programs: Programs) -> "Nursery":
        """Return this nursery with other folders for its children's logs."""
        other = copy(self)
        other._programs = programs
        return other

    def run(self, *arguments: str, env: Mapping[str, str], deadline_s: float = 60) -> str:
        """Run a command to its end and return what it wrote; AssertionError unless it exits with 0."""
        log = self.new_folder("command") / "command.log"
        program = self.start(" ".join(arguments), [sys.executable, "-m", "worker", *arguments], log, env=env)
        status = program.stop_when_done(deadline_s)
        assert status == 0, f"{' '.join(arguments)} ended with {status}: {program.last_lines()}"
        return log.read_text(errors="replace")

    def _listen(self) -> None:
        assert self._program.popen.stdout is not None
        for line in self._program.popen.stdout:
            what, first, second = line.split()
            with self._told:
                if what == "born":
                    self._pids[int(first)] = int(second)
                else:
                    self._ends[int(first)] = int(second)
                self._told.notify_all()


class _Forked(Program):
    """The nursery collects the dead at once, so that one may be gone before we have heard of it."""

    def kill(self) -> None:
        try:
            super().kill()
        except ProcessLookupError:
            self.popen.wait()


class _Child:
    """What `Program` needs of a Popen, for a child of another process."""

    stdout = None

    def __init__(self, pid: int, told: threading.Condition, ends: Mapping[int, int]) -> None:
        self.pid, self._told, self._ends = pid, told, ends

    @property
    def returncode(self) -> int | None:
        return self._ends.get(self.pid)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        with self._told:
            if not self._told.wait_for(lambda: self.pid in self._ends, timeout):
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0.0)
        return self._ends[self.pid]

    def send_signal(self, sign: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sign)


def serve(asking: int) -> None:
    """Fork a child for each line, until killed; children die with this process."""
    import worker.__main__  # noqa: PLC0415
    import worker.app.start  # noqa: PLC0415
    import worker.cli.run  # noqa: PLC0415
    import worker.store.revision  # noqa: F401, PLC0415

    tells, told_by_signals = os.pipe()
    for end in (tells, told_by_signals):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(told_by_signals, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = selectors.DefaultSelector()
    waiting.register(asking, selectors.EVENT_READ)
    waiting.register(tells, selectors.EVENT_READ)
    left = b""
    while True:
        for key, _ in waiting.select():
            piece = os.read(key.fd, 65_536)
            if key.fd == tells:
                _tell_ends()
                continue
            *lines, left = (left + piece).split(b"\n")
            for line in lines:
                _bear(json.loads(line), [asking, tells, told_by_signals])


def _tell_ends() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def _tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def _bear(asked: dict[str, Any], own: list[int]) -> None:
    ready, is_ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        _live(asked, own, is_ready)
    os.close(is_ready)
    os.read(ready, 1)  # it leads its own group from now on, and a kill of the group finds it
    os.close(ready)
    _tell(f"born {asked['number']} {pid}")


def _live(asked: dict[str, Any], own: list[int], is_ready: int) -> None:
    """Be the worker; never returns."""
    from worker.__main__ import main  # noqa: PLC0415

    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for end in [*own, log, nothing]:
        os.close(end)
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["ledger-worker", *asked["arguments"]]
    os.write(is_ready, b"1")
    os.close(is_ready)
    status = 1
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the outermost report of this process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(os.open(sys.argv[1], os.O_RDWR))  # to read; without a writer there would be an end
