"""The simulated brokerage as a process of its own, as contract section 8 describes it."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox.parts.errors import PartsError
from sandbox.parts.programs import Program, Programs

_START_DEADLINE_S = 30
_CHECKOUT = Path(__file__).parents[2]


def _silent(_: str) -> None:
    pass


class Brokerage:
    """`python -m sandbox serve OPTIONS`; its ledger lives in memory and ends with it."""

    def __init__(self, programs: Programs, options: Sequence[str] = (), say: Callable[[str], None] = _silent) -> None:
        self._programs = programs
        self._options = tuple(options)
        self._say = say
        self._folder = programs.new_folder("brokerage")
        self._program: Program | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Its address, known after `start`: `http://127.0.0.1:PORT`."""
        if not self._url:
            raise PartsError("the brokerage was not started")
        return self._url

    @property
    def log(self) -> Path:
        """The file that it writes to."""
        return self._folder / "brokerage.log"

    @property
    def program(self) -> Program:
        """The running sandbox; PartsError before the first start."""
        if self._program is None:
            raise PartsError("the brokerage was not started")
        return self._program

    def start(self) -> None:
        """Start and block until it has told its address. PartsError says why it could not."""
        began = time.monotonic()
        self._say("starting")
        argv = [sys.executable, "-m", "sandbox", "serve", *self._options]
        path = os.pathsep.join(filter(None, [str(_CHECKOUT), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, "PYTHONPATH": path}
        self._program = self._programs.start("the brokerage", argv, self.log, env=env, pipe=True)
        told: list[str] = []
        reader = threading.Thread(target=_read_first_line, args=(self._program, told), daemon=True)
        reader.start()
        self._program.wait_ready(lambda: bool(told and told[0]), _START_DEADLINE_S)
        try:
            self._url = str(json.loads(told[0])["url"])
        except (ValueError, KeyError, TypeError) as error:
            raise PartsError(f"the brokerage told no address but {told[0]!r}") from error
        self._say(f"ready on {self._url} after {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """End in order, as SIGTERM does."""
        self.program.stop()

    def kill(self) -> None:
        """Kill -9."""
        self.program.kill()


def _read_first_line(program: Program, told: list[str]) -> None:
    if program.popen.stdout is not None:
        told.append(program.popen.stdout.readline().strip())
