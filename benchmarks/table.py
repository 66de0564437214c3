"""Medians of the runs, printed, and the file of results."""

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PARTS = ("worker", "postgres", "kafka", "brokerage")


def machine() -> dict[str, Any]:
    """Say what kind of machine this is and how busy it was before."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def show(results: dict[str, Any]) -> None:
    """Print the tables."""
    console = Console(highlight=False)
    about = results["machine"]
    console.print(
        f"{about['processors']} processors, {about['system']}, Python {about['python']}, load {about['load_before']:.1f} before"
    )
    if results["speed"]:
        console.print(_speeds(results["speed"]))
        console.print(_processors(results["speed"]))
    memory = results["memory"]
    if memory:
        console.print(
            f"memory of one worker, {memory['queued']:.0f} of {memory['accepted']:.0f} commands queued: "
            f"{memory['mib']:.0f} MiB, at most {memory['most_mib']:.0f}"
        )


def _speeds(speeds: list[dict[str, Any]]) -> Table:
    table = Table("brokerage", "in flight", "bare calls/s", "commands/s", "ratio", "min-max", "of processor", "load")
    for one in speeds:
        runs = one["runs"]
        ratios = [run["ratio"] for run in runs]
        table.add_row(
            f"{one['latency_ms']:g} ms",
            str(one["in_flight"]),
            f"{median(run['bare_per_s'] for run in runs):,.0f}",
            f"{median(run['commands_per_s'] for run in runs):,.0f}",
            f"{median(ratios):.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}",
            _median_of(runs, _processor_ratio),
            f"{median(run['load'] for run in runs):.1f}",
        )
    return table


def _processors(speeds: list[dict[str, Any]]) -> Table:
    table = Table("ms of processor", "bare client", *(f"{part}, a command" for part in PARTS))
    for one in speeds:
        runs = one["runs"]
        used = [_median_of([run["cpu_ms_per_command"] for run in runs], itemgetter(part)) for part in PARTS]
        table.add_row(f"{one['latency_ms']:g} ms", f"{median(run['bare_cpu_ms_per_call'] for run in runs):.2f}", *used)
    return table


def _processor_ratio(run: dict[str, Any]) -> float | None:
    """Return the bare client's processor time for a call over the worker's for a command: what is left of a core's speed."""
    used = run["cpu_ms_per_command"]["worker"]
    return run["bare_cpu_ms_per_call"] / used if used else None


def _median_of(runs: list[dict[str, Any]], figure: Callable[[dict[str, Any]], float | None]) -> str:
    found = [value for run in runs if (value := figure(run)) is not None]
    return f"{median(found):.2f}" if found else "?"


def write(results: dict[str, Any]) -> Path:
    """Write the results to a file named by the time."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{results['machine']['at'].replace(':', '')}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path
