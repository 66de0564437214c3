"""A few workers under one supervisor, which starts again what ended by itself."""

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.nursery import Nursery
from tests.support.worker import WorkerProcess

_LOOK_EVERY_S = 0.2
_STARTED = "run.started"


@dataclass
class Slot:
    """A place for one worker; `wanted` says whether one shall be there."""

    worker: WorkerProcess | None = None
    wanted: bool = False


@dataclass
class Fleet:
    """Workers by slot. `died` tells of each that had started and ended by an error of its own."""

    nursery: Nursery
    env: Mapping[str, str]
    slots: list[Slot]
    died: list[str] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)

    def start(self, slot: int) -> None:
        """Start a worker in an empty slot."""
        place = self.slots[slot]
        place.worker, place.wanted = WorkerProcess(self.nursery, self.env), True  # type: ignore[arg-type]
        self.logs.append(place.worker.program.log)

    def kill(self, slot: int) -> None:
        self.slots[slot].wanted = False
        if (worker := self.slots[slot].worker) is not None:
            worker.sigkill()

    def freeze(self, slot: int) -> None:
        if (worker := self.slots[slot].worker) is not None:
            worker.sigstop()

    def thaw(self, slot: int) -> None:
        if (worker := self.slots[slot].worker) is not None:
            worker.sigcont()

    def stop(self, slot: int) -> None:
        """Ask a worker to drain and wait until it has; one that has to be killed for it is told in `died`."""
        self.slots[slot].wanted = False
        worker = self.slots[slot].worker
        if worker is not None and worker.program.is_running() and worker.sigterm() == -signal.SIGKILL:
            self.died.append(f"worker {slot} did not end within 45 s of SIGTERM")

    async def supervise(self) -> None:
        """Until cancelled: start again what ended by itself. A start that a fault spoiled is no story, a death is."""
        while True:
            for number, slot in enumerate(self.slots):
                if slot.wanted and slot.worker is not None and not slot.worker.program.is_running():
                    if _STARTED in slot.worker.log:
                        ended = slot.worker.program
                        self.died.append(f"worker {number} ended with {ended.popen.returncode}{ended.last_lines()}")
                    self.start(number)
            await asyncio.sleep(_LOOK_EVERY_S)

    def close(self) -> None:
        """Kill all."""
        for slot in self.slots:
            slot.wanted = False
            if slot.worker is not None:
                slot.worker.sigkill()
