"""Every log event with its meaning, and where the code logs which: the page docs/log-events.md is made of both."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accept.quarantined": "the database refused a record for its data; it is a dead letter now",
        "accept.stored": "a record whose identity could be read is a row",
        "claim.concluded": "a command needed no call: too late, not allowed, or nothing more can be known",
        "claim.paused": "too much of an operation is in doubt: its calls wait until `resume`",
        "claim.put_off": "what a claim would write of this account is refused; it is tried again in a minute, others go on",
        "claim.unavailable": "Postgres is away: nothing is claimed",
        "claim.unbuildable": "no request can be made of a command; it is parked. A fault of this program",
        "effect.ended": "one call or look has ended; `found` is the verdict about it",
        "effect.paused": "the brokerage lets nobody in, or cannot be reached: nothing is claimed until it does",
        "effect.resumed": "the brokerage lets us in again",
        "engine.unavailable": "Kafka or Postgres is away: this engine waits and tries again",
        "finish.abandoned": "answers could not be recorded before the end; reclaim finds their calls in doubt",
        "finish.contradicted": "an answer proves a recorded rejection wrong; `command.corrected` says so",
        "finish.quarantined": "the database refused an answer for its data; the call is in doubt",
        "finish.unavailable": "Postgres is away: answers wait in memory to be recorded",
        "http.unavailable": "a question at /commands or /accounts could not be answered: Postgres is away",
        "intake.accept_unavailable": "a batch could not be stored; it is read again",
        "intake.assigned": "Kafka gave this worker partitions",
        "intake.commit_refused": "Kafka did not take our offsets; only lag tools need them",
        "intake.full": "so many commands wait that no more are read (LEDGER_QUEUE_DEPTH_MAX)",
        "intake.goes_on": "fewer commands wait; reading goes on",
        "intake.kafka_unavailable": "Kafka answers for no topic",
        "intake.place_lost": "another worker has stored these partitions further; they are placed anew",
        "intake.placed": "where a partition is read from",
        "intake.poll_refused": "Kafka refused a poll; it is tried again",
        "intake.positions_unavailable": "Postgres cannot say how far partitions were read",
        "intake.read_past": "a batch cannot be decoded by the client; our own reader goes on with it",
        "intake.refused": "a partition is not read; `reason` says why and what to do",
        "intake.session_ended": "the connection to Kafka is opened anew",
        "intake.stop_unclean": "Kafka's client did not close in time",
        "intake.topic_hidden": "Kafka does not let this user see a topic, or read it",
        "intake.topic_missing": "a command topic is not there",
        "intake.topic_unavailable": "Kafka does not answer for a topic",
        "prune.ended": "what was old and done is gone; `counts` says how many of each sort",
        "prune.unavailable": "Postgres is away: pruning waits and tries again",
        "publish.close_unclean": "Kafka's producer did not close cleanly",
        "publish.left_behind": "rows were left in the outbox at the end; another relay, or the next start, sends them",
        "publish.set_aside": "Kafka refused a row for good; its account's outcomes wait behind it",
        "reclaim.taken": "lanes whose worker fell silent were taken back",
        "resolve.contradicted": "a look proves a recorded rejection wrong; `command.corrected` says so",
        "run.drained": "all engines but the relay have ended",
        "run.level_set": "a signal changed how much is logged",
        "run.paused": "calls are paused, by a person or by too many doubts",
        "run.resumed": "nothing is paused any more",
        "run.started": "the worker runs",
        "run.stopped": "the worker has ended",
        "secrets.renewed": "secrets were read again from their files and are in use",
        "secrets.unusable": "the files of secrets hold what cannot be used; those in use stay",
        "traces.abandoned": "the last spans were not delivered in the time that the end of the worker has for it",
        "traces.failed": "what was done could not be told as spans; it is done all the same. A fault of this program",
        "traces.resumed": "the receiver takes spans again",
        "traces.unavailable": "the receiver of spans is away or refuses them: they are lost, and nothing else waits; said once until it is back",
    }
)
Places = Mapping[str, tuple[set[str], set[str]]]

_LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
_LOGGERS = {"log", "_log"}
_OF_IDS = ("command_id", "account_no", "trace_id")
_WAITS = "_back_off"  # intake's own: it logs what it is given, and waits
_OF_WAITS = ("error", "wait_s_max")


def found(folder: Path) -> Places:
    """Return what the modules below a folder log: by event, its levels and its fields."""
    events: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for path in sorted(folder.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                for name, level, fields in _logged(call, call.func):
                    events[name][0].add(level)
                    events[name][1].update(fields)
    return dict(events)


def _logged(call: ast.Call, method: ast.Attribute) -> Iterator[tuple[str, str, list[str]]]:
    if method.attr == _WAITS:
        for name in _texts(call.args[0]):
            yield name, "warning", list(_OF_WAITS)
    elif method.attr in _LEVELS and _is_log(method.value):
        for name in _texts(call.args[0]):
            yield name, _LEVELS[method.attr], list(_fields(call))


def _is_log(value: ast.expr) -> bool:
    return (isinstance(value, ast.Name) and value.id in _LOGGERS) or (
        isinstance(value, ast.Attribute) and value.attr in _LOGGERS
    )


def _texts(name: ast.expr) -> Iterator[str]:
    """Give the event's name, or both of a choice; a name that is only known at run time is an error."""
    match name:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)
        case ast.Name(id="event"):  # within `_back_off`: its callers name it
            return
        case _:
            raise ValueError(f"an event's name is written where it is logged, not {ast.unparse(name)}")


def _fields(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        match keyword:
            case ast.keyword(arg=str(name)):
                yield name
            case ast.keyword(value=ast.Call(func=ast.Name(id="ids"))):
                yield from _OF_IDS
            case _:
                raise ValueError(f"fields are written where they are logged, not {ast.unparse(keyword.value)}")
