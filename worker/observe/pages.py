"""The pages docs/metrics.md and docs/log-events.md, made from what the code declares: `python -m worker.observe.pages`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.observe.declarations import Declared
from worker.observe.events import EVENTS, found
from worker.observe.metrics import Metrics

CHECKOUT = Path(__file__).parents[2]
_METRICS = """# Metrics

What `/metrics` shows, in Prometheus' text form. Made from `worker/observe/metrics.py` by `make pages`; a test keeps it current.
Beside these stand the `process_…` metrics of Prometheus' own client.

- Gauges over Postgres (lanes, doubts, parked, timers, the outbox, stopped intake, invariants) are read every five
  seconds and are the same in every worker: take the `max` of them, not the sum. Counters and histograms are of one
  process: take the `sum` of their rates.
- A label is never an account, a command or anything else that a stranger names: the table says what bounds each.
- An alert is a rule of `deploy/prometheus/alerts.yml`, with a [runbook](runbooks/README.md). `deploy/grafana/dashboard.json`
  is a dashboard over the same metrics.
- Golden signals, by stage: latency `ledger_stage_duration_seconds`, and of calls `ledger_call_duration_seconds`;
  traffic `ledger_flush_commands_sum`; errors `ledger_unavailable_rounds_total`, and of calls the verdicts; saturation
  `ledger_oldest_ready_lane_seconds`, `ledger_limiter_wait_seconds_total`, `ledger_calls_in_flight` of `_max`,
  `ledger_database_connections_in_use` of `_max`, `ledger_event_loop_lag_seconds`.
"""
_EVENTS = """# Log events

One line each on stderr: JSON with `LEDGER_LOG_FORMAT=json`, or where stderr is no terminal. Made from `worker/observe/events.py`
and from the places that log, by `make pages`; a test keeps it current. Every line has `event`, `level` and `timestamp`; where a line is about a command it has
`command_id`, `account_no` and `trace_id` (of the command's `traceparent`, null where it had none). No line holds a payload
or a secret. Lines of libraries, warnings and worse, come in the same form with `logger`.

`LEDGER_LOG_LEVEL` says how much is said. At run time `SIGUSR1` begins to say everything (`debug`: a line for each batch, call
and look), `SIGUSR2` goes back to the setting. At `debug` libraries say no more than before: they would log what they carry.

| event | level | beside it | means |
|---|---|---|---|
"""


def metrics_page() -> str:
    """Return docs/metrics.md."""
    return "\n".join([_METRICS, *_tables(Metrics().declared()), ""])


def _tables(declared: Sequence[Declared]) -> Iterator[str]:
    yield "| metric | kind | unit | meaning | labels | alert |"
    yield "|---|---|---|---|---|---|"
    for one in declared:
        labels = "<br>".join(f"`{name}`: {bound}" for name, bound in one.labels.items())
        yield f"| `{one.name}` | {one.kind} | {one.unit} | {one.meaning} | {labels} | {one.alert} |"


def events_page() -> str:
    """Return docs/log-events.md; raises KeyError for an event that is not declared."""
    rows = [
        f"| `{name}` | {', '.join(sorted(levels))} | {', '.join(f'`{one}`' for one in sorted(fields))} | {EVENTS[name]} |"
        for name, (levels, fields) in sorted(found(CHECKOUT / "worker").items())
    ]
    return _EVENTS + "\n".join([*rows, ""])


def main() -> None:
    """Write both pages."""
    (CHECKOUT / "docs/metrics.md").write_text(metrics_page())
    (CHECKOUT / "docs/log-events.md").write_text(events_page())


if __name__ == "__main__":
    main()
