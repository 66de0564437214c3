"""What a metric is declared by, and the children that a hot path moves: looked up once, not at every event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

Labels = tuple[str, ...]
Child = TypeVar("Child", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class Declared:
    """What is said of one metric; `alert` is a rule of deploy/prometheus/alerts.yml, empty where none looks at it."""

    name: str
    kind: str
    unit: str
    meaning: str
    alert: str
    labels: Mapping[str, str]


class Family(Generic[Child]):
    """A metric with labels. prometheus_client looks a child up anew each time, under a lock; here each is kept."""

    def __init__(self, made: Child) -> None:
        self._made: Child = made
        self._children: dict[Labels, Child] = {}

    def labels(self, *values: str) -> Child:
        """Return the child of these label values, in the sequence of the declaration."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._made.labels(*values)
        return child

    def forget(self, but: Sequence[Labels]) -> None:
        """Show no other series than these from now on."""
        for values in self._children.keys() - set(but):
            self._made.remove(*values)
            del self._children[values]


def show(family: Family[Gauge], values: Mapping[Labels, float]) -> None:
    """Let a gauge show these values and no others."""
    for labels, value in values.items():
        family.labels(*labels).set(value)
    family.forget(list(values))


class Declarations:
    """Declares metrics in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each, which nobody asks for
        self._registry = CollectorRegistry()
        self._declared: list[Declared] = []
        ProcessCollector(registry=self._registry)

    def declared(self) -> Sequence[Declared]:
        """Return the declarations, in the sequence of the page."""
        return tuple(self._declared)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text form."""
        return generate_latest(self._registry)

    def _note(self, kind: str, name: str, unit: str, meaning: str, alert: str, labels: Mapping[str, str]) -> None:
        self._declared.append(Declared(name, kind, unit, meaning, alert, labels))

    def _counter(self, name: str, unit: str, meaning: str, alert: str = "", **labels: str) -> Counter:
        self._note("counter", f"{name}_total", unit, meaning, alert, labels)
        return Counter(name, meaning, list(labels), registry=self._registry)

    def _counters(self, name: str, unit: str, meaning: str, alert: str = "", **labels: str) -> Family[Counter]:
        return Family(self._counter(name, unit, meaning, alert, **labels))

    def _gauge(self, name: str, unit: str, meaning: str, alert: str = "", **labels: str) -> Gauge:
        self._note("gauge", name, unit, meaning, alert, labels)
        return Gauge(name, meaning, list(labels), registry=self._registry)

    def _gauges(self, name: str, unit: str, meaning: str, alert: str = "", **labels: str) -> Family[Gauge]:
        return Family(self._gauge(name, unit, meaning, alert, **labels))

    def _histogram(
        self, name: str, unit: str, meaning: str, buckets: Sequence[float], alert: str = "", **labels: str
    ) -> Histogram:
        self._note("histogram", name, unit, meaning, alert, labels)
        return Histogram(name, meaning, list(labels), buckets=buckets, registry=self._registry)

    def _histograms(
        self, name: str, unit: str, meaning: str, buckets: Sequence[float], alert: str = "", **labels: str
    ) -> Family[Histogram]:
        return Family(self._histogram(name, unit, meaning, buckets, alert, **labels))
