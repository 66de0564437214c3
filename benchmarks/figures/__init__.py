"""What `python -m benchmarks.full` measures, each against its goal."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure as measured: what is said of it, its goal, and whether that is reached; None where none was set."""

    name: str
    said: str
    goal: str
    reached: bool | None
    data: dict[str, Any] = field(default_factory=dict)
