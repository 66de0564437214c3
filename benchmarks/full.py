"""`python -m benchmarks.full`: speed and scale, each figure against its goal; an hour and more for all of them.

Each figure has a database and topics of its own, on one Kafka and one Postgres; what is a ratio is measured by turns. The
results go to a table, a JSON file and a plot in `benchmarks/results/`.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Plot
from rich.console import Console
from rich.table import Table

from benchmarks import table
from benchmarks.figures import Figure, clocks, delays, fleet, rates, volume
from benchmarks.ground import KEYS
from sandbox.parts import Parts, running

FIGURES: Mapping[str, Callable[[Parts, float, int], Figure]] = {
    "plain": rates.over_plain,
    "processes": fleet.processes,
    "idle": fleet.idle,
    "intake": rates.intake,
    "start": rates.start,
    "latency": delays.added,
    "hot": delays.hot_account,
    "stuck": delays.stuck_accounts,
    "armed": clocks.armed,
    "lateness": clocks.lateness,
    "rate": clocks.rate_limit,
    "backlog": volume.backlog,
    "growth": volume.growth,
}


def main() -> int:
    """Read the arguments, measure, print, write; 1 where a goal is not reached."""
    given = _arguments()
    results: dict[str, Any] = {"machine": table.machine(), "speed": [], "memory": None, "figures": []}
    found: list[Figure] = []
    with running(_say, brokerage_options=KEYS) as parts:
        for name in given.figures or FIGURES:
            began_s = time.monotonic()
            found.append(FIGURES[name](parts, given.scale, given.runs))
            _say(name, f"{found[-1].said} ({time.monotonic() - began_s:.0f} s)")
    results["figures"] = [asdict(one) for one in found]
    _show(found)
    path = table.write(results)
    _say("results", f"{path}, {_plot(found, path.with_suffix('.png'))}")
    return 1 if any(one.reached is False for one in found) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full", description=(__doc__ or "").partition("\n")[0].partition(": ")[2]
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", choices=[[], *FIGURES], help=", ".join(FIGURES))
    parser.add_argument("--runs", type=int, default=3, help="of what is measured by turns (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full counts and times (1)")
    return parser.parse_args()


def _show(found: Sequence[Figure]) -> None:
    shown = Table("figure", "measured", "goal", "reached")
    for one in found:
        shown.add_row(one.name, one.said, one.goal, "" if one.reached is None else "yes" if one.reached else "no")
    Console(highlight=False).print(shown)


def _plot(found: Sequence[Figure], path: Path) -> Path:
    """Draw every series of numbers that the figures hold, one below the other."""
    series = [
        (f"{one.name}: {name}", values) for one in found for name, values in one.data.items() if _drawable(values)
    ]
    plot = Plot(figsize=(8, 2 * max(1, len(series))), layout="constrained")
    for place, (name, values) in enumerate(series, 1):
        axes = plot.add_subplot(len(series), 1, place)
        axes.plot(values, marker=".", linestyle="" if len(values) > 50 else "-")
        axes.set_title(name, fontsize=8)
        axes.set_ylim(bottom=0)
    plot.savefig(path)
    return path


def _drawable(values: object) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(one, int | float) for one in values)


def _say(part: str, text: str) -> None:
    sys.stderr.write(f"{part}: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
