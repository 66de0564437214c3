"""What a number of runs found: how many, how many steps, and how often each promise was broken."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.promises import FIGURES
from tests.simulation.runs import Ran, run_seed, shrink
from tests.simulation.scenario import Scenario
from tests.simulation.world import Action

KEPT_MAX = 3


@dataclass(slots=True)
class Tally:
    """Figures that can be added up; `broken` keeps the first few runs that broke a promise."""

    runs: int = 0
    steps: int = 0
    breaches: Counter[str] = field(default_factory=Counter)
    broken: list[Ran] = field(default_factory=list)

    def add(self, ran: Ran) -> None:
        """Count one run."""
        self.runs += 1
        self.steps += ran.steps
        if ran.breach is not None:
            self.breaches[ran.breach.figure] += 1
            self.broken = [*self.broken, ran][:KEPT_MAX]

    def merge(self, other: "Tally") -> None:
        """Count what another process counted."""
        self.runs += other.runs
        self.steps += other.steps
        self.breaches.update(other.breaches)
        self.broken = [*self.broken, *other.broken][:KEPT_MAX]

    def line(self) -> str:
        """One line of figures; zero in n runs bounds the rate at 3/n, with 95 % confidence."""
        figures = ", ".join(f"{name} {self.breaches[name]}" for name in FIGURES)
        return f"runs {self.runs:,}, steps {self.steps:,}: {figures}"


def tally(seeds: Iterable[int]) -> Tally:
    """Run these seeds, inside `doors.twin`."""
    found = Tally()
    for seed in seeds:
        found.add(run_seed(seed))
    return found


def told(ran: Ran) -> list[str]:
    """Tell of a run that broke a promise: its seed, what was broken, and the story, as short as it could be made."""
    if ran.breach is None:
        return []
    lines = [f"seed {ran.seed}: {ran.breach.figure}: {ran.breach.sentence}"]
    lines += _commands(ran.scenario)
    return lines + [f"  {_action(action)}" for action in shrink(ran.scenario, ran.story)]


def _commands(scenario: Scenario) -> list[str]:
    lines = [f"  under {scenario.profile}, {scenario.workers} workers"]
    for one in scenario.commands:
        about = " ".join(f"{name} {one.payload[name]}" for name in ("adjust", "order") if name in one.payload)
        hours = "".join(f" {name} {at}" for name, at in (("until", one.expires_at), ("not after", one.not_after)) if at)
        lines.append(f"  command {one.command_id.int} of {one.account_no}: {one.command_type} {about}{hours}".rstrip())
    return lines


def _action(action: Action) -> str:
    return f"{action[0]} {' '.join(str(part) for part in action[1:])}".rstrip()
