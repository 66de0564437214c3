"""What a worker shows of itself, read as Prometheus would, and the rules and panels that are made for it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.worker import CHECKOUT

_NAME = re.compile(r"\b(?:ledger|process)_\w+")
_TERM = re.compile(r"max\((\w+)\) > ([0-9.]+)")
Labels = Mapping[str, str]


def rules() -> list[dict[str, Any]]:
    """The alert rules of the release."""
    read = yaml.safe_load((CHECKOUT / "deploy/prometheus/alerts.yml").read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


def panel_expressions() -> list[str]:
    """What the dashboard asks."""
    dashboard = json.loads((CHECKOUT / "deploy/grafana/dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def names_in(expression: str) -> set[str]:
    """The series that an expression names."""
    return set(_NAME.findall(expression))


def families(text: str) -> dict[str, list[tuple[str, Labels, float]]]:
    """Series of each metric, by the metric's name as its declaration has it."""
    read = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        read[name] = [(sample.name, sample.labels, sample.value) for sample in family.samples]
    return read


def series_of(text: str) -> set[str]:
    """Names that an expression may use: those of the series, and of a metric that has none yet."""
    named: set[str] = set()
    for family in text_string_to_metric_families(text):
        suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
        named |= {family.name + suffix for suffix in suffixes}
    return named


def is_true(expression: str, text: str) -> bool:
    """Evaluate `max(metric) > number [or …]` over one scrape; what else promql can say is not tried here."""
    shown = families(text)
    return any(_exceeds(term, shown) for term in expression.split(" or "))


def _exceeds(term: str, shown: Mapping[str, list[tuple[str, Labels, float]]]) -> bool:
    found = _TERM.fullmatch(term)
    assert found, f"{term} is more than this can evaluate"
    return max(value for _, _, value in shown[found[1]]) > float(found[2])


def texts_of(value: object) -> Iterator[str]:
    """Every text and number within a value, as a log might have it."""
    match value:
        case dict():
            for inner in value.values():
                yield from texts_of(inner)
        case list():
            for inner in value:
                yield from texts_of(inner)
        case str():
            yield value
        case _:
            return
