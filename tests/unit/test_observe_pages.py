"""What is declared is what the pages, the rules and the runbooks say."""

import ast
from pathlib import Path

import pytest
import yaml
from prometheus_client import Counter

from tests.support.observed import names_in, panel_expressions, rules, series_of
from tests.support.pages import take_apart
from tests.support.runbooks import commands_of
from tests.support.worker import CHECKOUT
from worker.cli.pages import options_page
from worker.observe.declarations import Family, show
from worker.observe.events import EVENTS, found
from worker.observe.metrics import Metrics
from worker.observe.pages import events_page, metrics_page

RULES = {rule["alert"]: rule for rule in rules()}


@pytest.mark.parametrize(
    ("page", "made"),
    [("docs/metrics.md", metrics_page), ("docs/log-events.md", events_page), ("docs/options.md", options_page)],
    ids=["metrics", "events", "options"],
)
def test_a_page_that_is_made_from_code_is_current(page: str, made: "type[str]") -> None:
    assert (CHECKOUT / page).read_text() == made(), "run `make pages`"


def test_every_event_that_the_code_logs_is_declared_and_none_else() -> None:
    assert set(found(CHECKOUT / "worker")) == set(EVENTS)


@pytest.mark.parametrize(
    "line", ["log.info(f'{x}.done')", "log.info(name)", "log.info('a.done', **fields)", "self._log.error(NAME)"]
)
def test_an_event_that_cannot_be_listed_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "stage.py").write_text(line)
    with pytest.raises(ValueError, match="written where"):
        found(tmp_path)


def test_an_event_is_found_with_its_levels_and_fields(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("log.info('a.done', x=1)\nself._log.exception('a.done', **ids(command), y=2)\n")
    (tmp_path / "b.py").write_text(
        "log.warning('b.up' if up else 'b.down')\nmath.log(2)\nself._back_off('b.away', e)\n"
    )
    assert found(tmp_path) == {
        "a.done": ({"info", "error"}, {"x", "y", "command_id", "account_no", "trace_id"}),
        "b.up": ({"warning"}, set()),
        "b.down": ({"warning"}, set()),
        "b.away": ({"warning"}, {"error", "wait_s_max"}),
    }


def test_rules_and_panels_name_only_what_is_declared_and_each_alert_is_beside_its_metrics() -> None:
    metrics = Metrics()
    known = series_of(metrics.render().decode())
    for expression in [*panel_expressions(), *(rule["expr"] for rule in RULES.values())]:
        assert names_in(expression) - known == set(), expression
        assert names_in(expression), expression
    declared = {(one.name, one.alert) for one in metrics.declared() if one.alert}
    bare = {name: name.removesuffix("_count") for name in known}
    looked_at = {(bare[name], alert) for alert, rule in RULES.items() for name in names_in(rule["expr"])}
    assert declared == looked_at


def test_every_alert_has_a_runbook_whose_commands_exist() -> None:
    index = (CHECKOUT / "docs/runbooks/README.md").read_text()
    for alert, rule in RULES.items():
        page = CHECKOUT / rule["annotations"]["runbook"]
        assert f"({page.name})" in index, f"{page.name} of {alert} is not in the list of runbooks"
        commands = list(commands_of(page))
        assert commands or page.name in {"engine-stuck.md", "event-loop-late.md"}, page.name
        for arguments in commands:
            take_apart(arguments)


def test_the_rules_are_tested_where_it_matters_most() -> None:
    tests = yaml.safe_load((CHECKOUT / "deploy/prometheus/alerts_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test.get("alert_rule_test", []) if one.get("exp_alerts")}
    assert {
        "LedgerRelayDead",
        "LedgerDoubtOld",
        "LedgerDoubtsGrow",
        "LedgerTimerOverdue",
        "LedgerIntakeStopped",
    } <= fired
    assert fired <= set(RULES)


def test_a_child_is_looked_up_once_and_a_gauge_shows_no_more_than_it_is_told() -> None:
    metrics = Metrics()
    assert metrics.records_read.labels("t") is metrics.records_read.labels("t")
    show(metrics.lanes, {("idle",): 3, ("ready",): 1})
    show(metrics.lanes, {("idle",): 2})
    text = metrics.render().decode()
    assert 'ledger_lanes{state="idle"} 2.0' in text
    assert 'state="ready"' not in text
    show(metrics.lanes, {("ready",): 4})
    assert 'ledger_lanes{state="ready"} 4.0' in metrics.render().decode()


def test_a_hot_path_does_not_ask_prometheus_client_for_a_child_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    labels = Counter.labels

    def counted(self: Counter, *values: str) -> Counter:
        asked.append(values)
        return labels(self, *values)

    monkeypatch.setattr(Counter, "labels", counted)
    family: Family[Counter] = Metrics().records_read
    for _ in range(100):
        family.labels("t").inc()
    assert asked == [("t",)]


def test_no_stage_clears_a_metric_behind_its_kept_children() -> None:
    for path in (CHECKOUT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "clear" and isinstance(node.value, ast.Attribute):
                assert "metrics" not in ast.unparse(node.value), f"{path.name}:{node.lineno}: use `show`"
