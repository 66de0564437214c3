"""Medians of the runs, printed, and the file of results."""

import json
import os
import platform
from datetime import UTC, datetime
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
    memory = results["memory"]
    if memory:
        console.print(
            f"memory of one worker, {memory['queued']:.0f} of {memory['accepted']:.0f} commands queued: "
            f"{memory['mib']:.0f} MiB, at most {memory['most_mib']:.0f}"
        )


def _speeds(speeds: list[dict[str, Any]]) -> Table:
    table = Table("brokerage", "in flight", "bare calls/s", "commands/s", "ratio", "min-max", "load", "cpu ms/command")
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
            f"{median(run['load'] for run in runs):.1f}",
            ", ".join(f"{part} {_ms(runs, part)}" for part in PARTS),
        )
    return table


def _ms(runs: list[dict[str, Any]], part: str) -> str:
    found = [run["cpu_ms_per_command"][part] for run in runs if run["cpu_ms_per_command"][part] is not None]
    return f"{median(found):.2f}" if found else "?"


def write(results: dict[str, Any]) -> Path:
    """Write the results to a file named by the time."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{results['machine']['at'].replace(':', '')}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path
