"""What is told of the path as spans, once each step is committed; imported only where LEDGER_TRACES is true.

Ids, types, verdicts and places, never a payload, a query, a body or an answer.
"""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from opentelemetry.trace import SpanKind
from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.ledger.commands import Malformed, Refusal
from worker.ledger.verdicts import InDoubt, NotSent
from worker.observe.traces import Attributes, Origin, Told, Traces
from worker.pipeline.turn import LOOK, Ended
from worker.settings import Settings
from worker.store.conclude import Conclusion
from worker.store.inbox import Judged
from worker.store.outbox import Acknowledged, Waiting
from worker.store.rows import CommandRow

HTTP_ERROR_MIN = 400
P = ParamSpec("P")


def _harmless(tell: Callable[Concatenate["Traced", P], None]) -> Callable[Concatenate["Traced", P], None]:
    """Let an error in what is told of a commit be told, too, and no more: it would end the engine, at each start again."""

    def told(self: "Traced", /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            tell(self, *args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever it is, the work that is told of is done
            self._log.exception("traces.failed")

    return told


class Traced:
    """Tells what accept, finish and publish have committed, each for a whole batch."""

    def __init__(self, settings: Settings, instance_id: UUID, log: FilteringBoundLogger) -> None:
        self._traces, self._log = Traces(instance_id, log), log
        address = urlsplit(settings.whale_base_url)
        self._base_url = settings.whale_base_url
        self._server: Attributes = {"server.address": address.hostname, "server.port": address.port or 443}
        self._outcomes, self._group_id = settings.topic_outcomes, settings.kafka_group_id

    def close(self) -> None:
        """Export what is left; blocks for a short while at most."""
        self._traces.close()

    @_harmless
    def accepted(self, kept: Sequence[Judged], began_s: float) -> None:
        """Tell of records that are rows now; `began_s` is in boot seconds."""
        unix_s = _unix_s()
        for record, judged in kept:
            if isinstance(judged, Malformed):
                continue
            origin = Origin(judged.command_id, judged.traceparent, record.topic, record.partition, record.offset)
            place = _place("accept", "process", record.topic, record.partition, record.offset)
            about = _about(judged.command_id, judged.account_no, judged.command_type)
            group = {"messaging.consumer.group.name": self._group_id}
            error = judged.code if isinstance(judged, Refusal) else None
            times = unix_s(began_s), clock.wall_s()
            told = Told(f"accept {record.topic}", SpanKind.CONSUMER, *times, {**place, **about, **group}, error)
            self._traces.accepted(origin, told)

    @_harmless
    def finished(self, ended: Sequence[Ended], concluded: Sequence[Conclusion]) -> None:
        """Tell of turns whose answers are recorded: of each its call or look, and how long recording took from there."""
        unix_s = _unix_s()
        decisions = {one.command.command_id: type(one.decision).__name__.lower() for one in concluded}
        for one in ended:
            turn, command = one.turn, one.turn.command
            began_s = unix_s(one.ended_s - (one.duration_ms or 0.0) / 1000)
            call = self._call(one, began_s, unix_s(one.ended_s))
            waited_s = turn.opened_at - command.accepted_at
            span = self._traces.later(_origin(command), call, waited_s.total_seconds())
            about = _about(command.command_id, command.account_no, turn.operation.command_type)
            decision = {"ledger.decision": decisions.get(command.command_id)}
            told = Told("finish", SpanKind.INTERNAL, call.ended_s, clock.wall_s(), {**about, **decision})
            self._traces.at_once(span, told)

    def _call(self, ended: Ended, began_s: float, ended_s: float) -> Told:
        turn, found = ended.turn, ended.found
        rule: str | None = getattr(found, "rule", None)  # what a look shows has none
        attributes: Attributes = {
            **_about(turn.command.command_id, turn.command.account_no, turn.operation.command_type),
            "ledger.attempt": turn.number,
            "ledger.verdict": type(found).__name__,
            "ledger.rule": rule,
            "ledger.whale_trace_id": ended.trace_id,
            "http.response.status_code": ended.http_status,
        }
        if turn.request is not None:
            sent = {"http.request.method": turn.request.method, "url.full": self._base_url + turn.request.path}
            again = {"http.request.resend_count": turn.number - 1 or None}
            attributes = {**attributes, **self._server, **sent, **again}
        error = rule if isinstance(found, InDoubt | NotSent) else None
        if error is None and (ended.http_status or 0) >= HTTP_ERROR_MIN:
            error = str(ended.http_status)
        name = "look" if turn.kind == LOOK else "call"
        return Told(f"{name} {turn.operation.command_type}", SpanKind.CLIENT, began_s, ended_s, attributes, error)

    @_harmless
    def published(self, waiting: Sequence[Waiting], acknowledged: Sequence[Acknowledged]) -> None:
        """Tell of outcomes that Kafka has, from when they were recorded on, by the database's clock."""
        rows = {row.outbox_id: row for row in waiting}
        for one in acknowledged:
            row = rows[one.outbox_id]
            if one.kind != "outcome" or row.value is None:
                continue
            outcome = orjson.loads(row.value)
            command_id, source = UUID(outcome["command_id"]), outcome["source"]
            place = _place("publish", "send", self._outcomes, one.partition, one.offset)
            about = _about(command_id, outcome["account_no"], outcome["command_type"])
            what = {"messaging.message.id": str(one.ref_id), "ledger.outcome": outcome["type"]}
            ended_s = clock.wall_s()
            began_s = min(ended_s, (row.timestamp_ms or 0) / 1000)
            name = f"publish {self._outcomes}"
            told = Told(name, SpanKind.PRODUCER, began_s, ended_s, {**place, **about, **what})
            carried = next((value for name, value in row.headers if name == b"traceparent"), None)
            traceparent = None if carried is None else carried.decode()
            origin = Origin(command_id, traceparent, source["topic"], source["partition"], source["offset"])
            self._traces.later(origin, told)


def _unix_s() -> Callable[[float], float]:
    """Make of boot seconds Unix seconds, as the clocks stand now."""
    ahead_s = clock.wall_s() - clock.boot_s()
    return lambda boot_s: boot_s + ahead_s


def _origin(command: CommandRow) -> Origin:
    return Origin(command.command_id, command.traceparent, command.topic, command.partition, command.offset)


def _about(command_id: UUID, account_no: str, command_type: str | None) -> dict[str, str | None]:
    return {
        "ledger.command_id": str(command_id),
        "ledger.account_no": account_no,
        "ledger.command_type": command_type,
    }


def _place(name: str, kind: str, topic: str, partition: int, offset: int) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(partition),
        "messaging.kafka.offset": offset,
    }
