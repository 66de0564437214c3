"""What is told as spans is the same in every process, and an error in it stops nothing."""

from collections.abc import Iterator
from itertools import islice
from typing import cast
from uuid import UUID, uuid5

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from tests.unit.test_settings import COMPLETE
from worker.app.traced import Traced
from worker.observe import traces
from worker.observe.traces import Origin, Told, Traces
from worker.settings import Settings
from worker.store.outbox import Acknowledged, Waiting

OWNER = UUID(int=1)
TOLD = Told("a step", SpanKind.INTERNAL, 1.0, 2.0, {"here": 1, "not here": None})


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(exporter, "shutdown", lambda: None)  # one of the two that end must not close it for the other
    monkeypatch.setattr(traces, "OTLPSpanExporter", lambda: exporter)
    return exporter


@pytest.fixture
def log() -> CapturingLogger:
    return CapturingLogger()


def making(log: CapturingLogger) -> Traces:
    return Traces(OWNER, cast("FilteringBoundLogger", log))


def origins(traceparent: str | None = None) -> Iterator[Origin]:
    for offset in range(1000):
        yield Origin(uuid5(OWNER, str(offset)), traceparent, "a-topic", 3, offset)


def test_two_processes_keep_the_same_part_of_traces_that_nobody_began(
    exported: InMemorySpanExporter, log: CapturingLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    intake, lanes = making(log), making(log)
    for origin in islice(origins(), 200):
        intake.accepted(origin, TOLD)
        lanes.later(origin, TOLD, 5.0)
    intake.close()
    lanes.close()
    roots = {one.context.span_id: one.context.trace_id for one in exported.get_finished_spans() if one.parent is None}
    children = [one for one in exported.get_finished_spans() if one.parent is not None]
    assert 20 < len(roots) == len(children) < 80
    assert {one.parent.span_id: one.parent.trace_id for one in children if one.parent} == roots
    assert all(dict(one.links[0].attributes or {}) == {"ledger.waited_s": 5.0} for one in children)
    assert all(dict(one.attributes or {}) == {"here": 1} for one in children)


def test_two_records_of_one_id_are_two_acceptances(exported: InMemorySpanExporter, log: CapturingLogger) -> None:
    telling, [first, second] = making(log), islice(origins(f"00-{5:032x}-{6:016x}-01"), 2)
    again = first._replace(offset=second.offset)
    for origin in (first, again):
        telling.accepted(origin, TOLD)
    telling.close()
    one, other = exported.get_finished_spans()
    assert one.context.trace_id == other.context.trace_id == 5
    assert one.context.span_id != other.context.span_id


def test_an_outcome_that_cannot_be_told_is_published_all_the_same(
    exported: InMemorySpanExporter, log: CapturingLogger
) -> None:
    traced = Traced(Settings.from_env(COMPLETE), OWNER, cast("FilteringBoundLogger", log))
    row = Waiting(1, "outcome", OWNER, "H1", b"H1", b"not JSON", (), 0)
    traced.published([row], [Acknowledged(1, "outcome", OWNER, 0, 0)])
    traced.close()
    assert [(one.method_name, one.args) for one in log.calls] == [("exception", ("traces.failed",))]
    assert exported.get_finished_spans() == ()


def test_a_receiver_that_is_away_is_told_once_until_it_is_back(log: CapturingLogger) -> None:
    answers = [SpanExportResult.FAILURE, SpanExportResult.FAILURE, SpanExportResult.SUCCESS, SpanExportResult.FAILURE]

    class Answering(InMemorySpanExporter):
        def export(self, _: object) -> SpanExportResult:
            return answers.pop(0)

    telling = traces._Telling(Answering(), cast("FilteringBoundLogger", log))
    for answer in tuple(answers):
        assert telling.export([]) is answer
    assert [one.args[0] for one in log.calls] == ["traces.unavailable", "traces.resumed", "traces.unavailable"]
