"""How late the event loop is: long synchronous work delays every lane, and shows nowhere else."""

import asyncio
from typing import Protocol

EVERY_S = 0.5


class Lag(Protocol):
    """Where the measure goes: a gauge."""

    def set(self, value: float, /) -> None:
        """Take the lag in seconds."""


async def measure_loop_lag(lag_s: Lag, every_s: float = EVERY_S) -> None:
    """Sleep again and again and set the gauge to how much too late each wake-up came; runs until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        wanted_s = loop.time() + every_s
        await asyncio.sleep(every_s)
        lag_s.set(max(0.0, loop.time() - wanted_s))
