"""A receiver of traces as others run it: OTLP over HTTP, its requests read by OpenTelemetry's own protobuf."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.waiting import wait_until


class SpanSeen(NamedTuple):
    """One span as it came; ids in hex, `parent` empty at a root, `links` as (trace, span)."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    links: tuple[tuple[str, str], ...]
    began_ns: int
    ended_ns: int
    attributes: dict[str, str | int | float]
    is_error: bool
    resource: dict[str, str | int | float]


class Receiver:
    """Keeps what it was sent, on a port of loopback."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[SpanSeen] = []
        self.raw = b""

    def until(self, found: Callable[[Sequence[SpanSeen]], bool]) -> list[SpanSeen]:
        """Wait until the spans that came satisfy `found`, and return them."""
        wait_until(lambda: found(list(self.spans)), message=lambda: f"only {[one.name for one in self.spans]} came")
        return list(self.spans)

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.raw += body
        for of_resource in request.resource_spans:
            resource = _values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                for span in of_scope.spans:
                    self.spans.append(
                        SpanSeen(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            _values(span.attributes),
                            span.status.code == 2,
                            resource,
                        )
                    )


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """Receive spans until the block ends."""

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.take(self.rfile.read(int(self.headers["Content-Length"])))
            body = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Taking) as server:
        taken = Receiver(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield taken
        finally:
            server.shutdown()
            serving.join()


def _values(attributes: Sequence[Message]) -> dict[str, str | int | float]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
