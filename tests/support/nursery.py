"""Workers by the dozen: a process that has imported the worker once and forks, for importing takes longer than working.

`Nursery` starts what `python -m worker ARGUMENTS` or `python -m sandbox ARGUMENTS` starts, in a session of its own, with
an environment and a log; all die with it. It stands where `WorkerProcess` and `Brokerage` want `Programs`; `shared` is
the one that all tests of a process have. Run as a program it is the process itself, of whichever checkout is in
PYTHONPATH: a JSON line asks for a child, a line tells its pid or how it ended.
"""

import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from copy import copy
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.parts.programs import Program, Programs

CHECKOUT = Path(__file__).parents[2]
_BIRTH_DEADLINE_S = 120
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PACKAGES = ("worker", "sandbox")
_closing = ExitStack()


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
        self._read_at_the_start = _read_at_the_start({**env, "PYTHONPATH": str(CHECKOUT)})
        self._program = programs.start("the nursery", argv, folder / "nursery.log", env=env, pipe=True)
        self._lock = threading.Lock()
        self._told = threading.Condition()
        self._numbers = count(1)
        self._pids: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._started: list[Program] = []
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
        cwd: Path | None = None,
        pipe: bool = False,
    ) -> Program:
        """Start `python -m worker …` or `python -m sandbox …`: `argv` begins as it does for a shell; else as `Programs.start`."""
        if not pipe:
            return self._start(name, argv, env, cwd or CHECKOUT, (os.devnull, log, log))
        path = log.with_suffix(".pipe")
        os.mkfifo(path)
        end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a reader, so that the child finds one
        os.set_blocking(end, True)
        return self._start(name, argv, env, cwd or CHECKOUT, (os.devnull, path, log), os.fdopen(end, encoding="utf-8"))

    def _start(
        self,
        name: str,
        argv: Sequence[str | Path],
        env: Mapping[str, str],
        cwd: Path,
        files: tuple[str | Path, str | Path, Path],
        stdout: io.TextIOWrapper | None = None,
    ) -> Program:
        """Fork with these as stdin, stdout and stderr. AssertionError when nothing is born."""
        texts = [str(one) for one in argv]
        assert texts[1] == "-m", argv
        assert texts[2] in _PACKAGES, argv
        is_as_here = texts[2] != "worker" or _read_at_the_start(env) == self._read_at_the_start
        assert is_as_here, "what an interpreter reads at its start needs a fresh one"
        with self._lock:
            number = next(self._numbers)
            asked = {
                "number": number,
                "package": texts[2],
                "arguments": texts[3:],
                "env": dict(env),
                "cwd": str(cwd),
                "files": [str(one) for one in files],
            }
            os.write(self._asking, json.dumps(asked).encode() + b"\n")
        with self._told:
            assert self._told.wait_for(lambda: number in self._pids, _BIRTH_DEADLINE_S), "the nursery does not answer"
            pid = self._pids[number]
        child = _Child(number, pid, self._told, self._ends, stdout)
        program = _Forked(name, child, files[2], lambda _pid: None)  # type: ignore[arg-type]
        self._started.append(program)
        return program

    def logging_in(self, programs: Programs) -> "Nursery":
        """Return this nursery with other folders for its children's logs; as a context it kills these children at its end."""
        other = copy(self)
        other._programs = programs
        other._started = []
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in self._started:
            program.kill()

    def run(self, *arguments: str, env: Mapping[str, str], deadline_s: float = 60) -> str:
        """Run a command to its end and return what it wrote; AssertionError unless it exits with 0."""
        done = self.call(*arguments, env=env, deadline_s=deadline_s)
        assert done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}"
        return done.stdout + done.stderr

    def call(
        self, *arguments: str, env: Mapping[str, str], stdin: str = "", deadline_s: float = 60
    ) -> "subprocess.CompletedProcess[str]":
        """Run `python -m worker ARGUMENTS` to its end, as `subprocess.run` does with what it is given to read."""
        folder = self.new_folder("command")
        files = folder / "stdin", folder / "stdout", folder / "stderr.log"
        files[0].write_text(stdin)
        argv = [sys.executable, "-m", "worker", *arguments]
        program = self._start(" ".join(arguments), argv, env, CHECKOUT, files)
        try:
            status = program.popen.wait(deadline_s)
        except subprocess.TimeoutExpired as error:
            error.add_note(f"{' '.join(arguments)} said: {files[2].read_text()[-2000:]}")
            raise
        finally:
            program.kill()
            self._started.remove(program)
        return subprocess.CompletedProcess(argv, status, files[1].read_text(), files[2].read_text())

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

    def __init__(
        self, number: int, pid: int, told: threading.Condition, ends: Mapping[int, int], stdout: io.TextIOWrapper | None
    ) -> None:
        self._number, self.pid, self._told, self._ends, self.stdout = number, pid, told, ends, stdout

    @property
    def returncode(self) -> int | None:
        return self._ends.get(self._number)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        with self._told:
            if not self._told.wait_for(lambda: self._number in self._ends, timeout):
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0.0)
        return self._ends[self._number]

    def send_signal(self, sign: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sign)


def _read_at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name == "TZ" or name.startswith(("PYTHON", "LD_", "LC_"))}


@cache
def shared() -> Nursery:
    """Return the nursery of this process; it ends with it, or at `close_shared`."""
    atexit.register(_closing.close)
    return Nursery(_closing.enter_context(Programs()))


def close_shared() -> None:
    """End what `shared` has started, if it has."""
    _closing.close()
    shared.cache_clear()


def serve(asking: int) -> None:
    """Fork a child for each line, until killed; children die with this process."""
    _import_everything()
    tells, told_by_signals = os.pipe()
    for end in (tells, told_by_signals):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(told_by_signals, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    waiting = selectors.DefaultSelector()
    waiting.register(asking, selectors.EVENT_READ)
    waiting.register(tells, selectors.EVENT_READ)
    left = b""
    numbers: dict[int, int] = {}  # of the children that run, by pid: a pid comes again, a number does not
    while True:
        for key, _ in waiting.select():
            piece = os.read(key.fd, 65_536)
            if key.fd == tells:
                _tell_ends(numbers)
                continue
            *lines, left = (left + piece).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                pid = _bear(asked, [asking, tells, told_by_signals, waiting.fileno()])
                numbers[pid] = asked["number"]
                _tell(f"born {asked['number']} {pid}")


def _import_everything() -> None:
    for module in pkgutil.walk_packages(importlib.import_module("worker").__path__, "worker."):
        importlib.import_module(module.name)
    importlib.import_module("sandbox.__main__")
    gc.freeze()  # what is here stays: a child that looks through it would copy it


def _tell_ends(numbers: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(f"ended {numbers.pop(pid)} {os.waitstatus_to_exitcode(status)}")


def _tell(line: str) -> None:
    os.write(1, line.encode() + b"\n")


def _bear(asked: dict[str, Any], own: list[int]) -> int:
    ready, is_ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        _live(asked, own, is_ready)
    os.close(is_ready)
    os.read(ready, 1)  # it leads its own group from now on, and a kill of the group finds it
    os.close(ready)
    return pid


def _live(asked: dict[str, Any], own: list[int], is_ready: int) -> None:
    """Be the worker or the sandbox; never returns."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    kinds = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ends = [os.open(path, kind, 0o644) for path, kind in zip(asked["files"], kinds, strict=True)]
    for target, end in enumerate(ends):
        os.dup2(end, target)
    for end in [*own, *ends]:
        os.close(end)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["ledger-worker", *asked["arguments"]]
    os.write(is_ready, b"1")
    os.close(is_ready)
    status = 1
    try:
        status = sys.modules[f"{asked['package']}.__main__"].main() or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the outermost report of this process
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined] # what a process of its own waits for before it ends
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(os.open(sys.argv[1], os.O_RDWR))  # to read; without a writer there would be an end
