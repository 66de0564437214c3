"""What other processes use, as Linux tells it; None elsewhere."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float | None:
    """Seconds of processor of a process and of its children, those that have ended included."""
    if not Path("/proc/self/stat").exists():
        return None
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(folder)
        if fields and pid in (int(folder.name), int(fields[1])):
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _TICKS_PER_S


def memory_mib(pid: int) -> tuple[float, float] | None:
    """MiB of memory that a process holds now, and the most it ever held."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    found = dict(line.split(":", 1) for line in status.read_text().splitlines())
    now, most = (int(found[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def _stat(folder: Path) -> list[str]:
    """Return the fields behind the name, which may hold blanks; empty when the process has just ended."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
