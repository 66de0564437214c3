"""The one door to OpenTelemetry: spans with the times they had, handed to a thread of its own that exports them.

Imported only where LEDGER_TRACES is true, for the packages are an optional extra. Nothing here waits for the receiver.

A command's spans are made in several processes, days apart at worst, so two things are derived from what all of them
know rather than handed on: the span of a record's acceptance, from its command_id and place, and the trace of a command
that came without a `traceparent`, from its command_id.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from typing import NamedTuple
from uuid import UUID

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from structlog.typing import FilteringBoundLogger
from typing_extensions import override

FLUSH_S = 2.0
"""How long the end of the worker waits for the last spans to be delivered."""

Attributes = Mapping[str, str | int | float | None]
"""Names of the semantic conventions, or `ledger.…`; what is None is left out."""


class Origin(NamedTuple):
    """Which record a command came from, and what `traceparent` it carried."""

    command_id: UUID
    traceparent: str | None
    topic: str
    partition: int
    offset: int


class Told(NamedTuple):
    """What a span says; `began_s` and `ended_s` are Unix seconds, `error` is the class of what went wrong."""

    name: str
    kind: SpanKind
    began_s: float
    ended_s: float
    attributes: Attributes
    error: str | None = None


class Traces:
    """Makes spans and exports them. Use it from one thread."""

    def __init__(self, instance_id: UUID, log: FilteringBoundLogger) -> None:
        """Raise ValueError where OpenTelemetry's own variables say what cannot be."""
        resource = Resource.create().merge(
            Resource(
                {
                    SERVICE_NAME: "ledger-worker",
                    "service.version": version("ledger-worker"),
                    "service.instance.id": str(instance_id),
                }
            )
        )
        self._ids, self._log = _Ids(), log
        self._provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Telling(OTLPSpanExporter(), log)))
        self._tracer = self._provider.get_tracer("ledger-worker")
        _quieten()

    def close(self) -> None:
        """Export what is left and stop; blocks for FLUSH_S at most, whatever the receiver does."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(FLUSH_S)
        if closing.is_alive():
            self._log.warning("traces.abandoned")

    def accepted(self, origin: Origin, told: Told) -> None:
        """Tell of the acceptance of a record: a child of the producer's span, or the root of its trace."""
        self._ids.trace_id, self._ids.span_id = _trace_of(origin.command_id), _accept_of(origin)
        producer = _producer(origin)
        self._end(self._start(producer, told, ()), told)
        self._ids.trace_id = self._ids.span_id = None

    def later(self, origin: Origin, told: Told, waited_s: float | None = None) -> Span:
        """Tell of what came after a wait: in the same trace, with a link to the acceptance that says how long it was."""
        accept = self._accept(origin)
        link = Link(accept, None if waited_s is None else {"ledger.waited_s": round(waited_s, 6)})
        span = self._start(_producer(origin) or accept, told, (link,))
        self._end(span, told)
        return span

    def at_once(self, parent: Span, told: Told) -> None:
        """Tell of what followed a span without a wait."""
        self._end(self._start(parent.get_span_context(), told, ()), told)

    def _start(self, parent: SpanContext | None, told: Told, links: Sequence[Link]) -> Span:
        return self._tracer.start_span(
            told.name,
            context=None if parent is None else set_span_in_context(NonRecordingSpan(parent)),
            kind=told.kind,
            attributes={name: value for name, value in told.attributes.items() if value is not None},
            links=links,
            start_time=_ns(told.began_s),
        )

    def _end(self, span: Span, told: Told) -> None:
        if told.error is not None:
            span.set_attribute("error.type", told.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(_ns(max(told.began_s, told.ended_s)))

    def _accept(self, origin: Origin) -> SpanContext:
        """Say under which ids the record's acceptance was told, here or in another process."""
        producer = _producer(origin)
        if producer is not None:
            return SpanContext(producer.trace_id, _accept_of(origin), is_remote=True, trace_flags=producer.trace_flags)
        trace_id = _trace_of(origin.command_id)
        # samplers that go by the trace's id say the same in every process
        decision = self._provider.sampler.should_sample(None, trace_id, "accept").decision
        flags = TraceFlags(decision is Decision.RECORD_AND_SAMPLE)
        return SpanContext(trace_id, _accept_of(origin), is_remote=True, trace_flags=flags)


class _Ids(RandomIdGenerator):
    """Random ids, but for the span of an acceptance."""

    trace_id: int | None = None
    span_id: int | None = None

    @override
    def generate_trace_id(self) -> int:
        return self.trace_id or super().generate_trace_id()

    @override
    def generate_span_id(self) -> int:
        return self.span_id or super().generate_span_id()


class _Telling(SpanExporter):
    """An exporter that says once that the receiver is away, and once that it is back."""

    def __init__(self, exporter: SpanExporter, log: FilteringBoundLogger) -> None:
        self._exporter, self._log, self._away = exporter, log, False

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._away:
                self._log.info("traces.resumed")
            self._away = False
        elif not self._away:
            self._away = True
            self._log.warning("traces.unavailable", lost=len(spans))
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _quieten() -> None:
    """Let `_Telling` speak for the exporter, which would log each try, with the address and what the receiver answered."""
    exporters = logging.getLogger("opentelemetry.exporter")
    exporters.propagate = False
    exporters.addHandler(logging.NullHandler())


def _producer(origin: Origin) -> SpanContext | None:
    if origin.traceparent is None:
        return None
    _, trace_id, span_id, flags = origin.traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _accept_of(origin: Origin) -> int:
    place = f"accept {origin.topic} {origin.partition} {origin.offset}".encode()
    return _hashed(origin.command_id.bytes + place, 8)


def _trace_of(command_id: UUID) -> int:
    return _hashed(b"trace" + command_id.bytes, 16)


def _hashed(text: bytes, size: int) -> int:
    """Return a number of so many bytes that is not 0, as evenly spread as samplers ask for."""
    return int.from_bytes(blake2b(text, digest_size=size).digest()) or 1


def _ns(unix_s: float) -> int:
    return int(unix_s * 1_000_000_000)
