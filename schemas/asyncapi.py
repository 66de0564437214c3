"""The AsyncAPI 3.0 document: which topic carries what, keyed how, kept how long, written by whom.

FastStream writes the skeleton (channels, operations); what it cannot know of records that are read as bytes (messages by
type, keys, headers, the topics' configuration) is put in here. Schemas are referred to as files beside the document.
"""

from dataclasses import dataclass
from typing import Any, Literal

from faststream.kafka import KafkaBroker
from faststream.specification import AsyncAPI

from schemas import examples
from schemas.commands import ADJUSTMENTS, FREEZES, MODELS, ORDERS, VALUE_BYTES_MAX
from schemas.text import ACCOUNT_NO_PATTERN

Json = dict[str, Any]

_BINDING = "0.5.0"
_DAY_MS = 86_400_000
_RECORD_BYTES_MAX = 1_048_576
_DEAD_LETTER = "dead-letter"
_ACCOUNT = {"type": "string", "description": "account_no, UTF-8", "pattern": f"^{ACCOUNT_NO_PATTERN}$"}


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic as the manifest wants it; `retention_ms` -1 is for ever. The worker receives from it or sends to it."""

    name: str
    topic: str
    action: Literal["receive", "send"]
    messages: tuple[str, ...]
    description: str
    partitions: int
    retention_ms: int
    bytes_max: int = _RECORD_BYTES_MAX


def _commands(name: str, types: frozenset[str]) -> Channel:
    told = (
        f"Commands, at most {VALUE_BYTES_MAX} bytes each; upstream writes. Whoever may write here may move money. One "
        "account's commands keep their sequence if all producers use one partitioner: murmur2, as the Java clients do."
    )
    return Channel(name, f"ledger.commands.{name}.v1", "receive", tuple(sorted(types)), told, 12, 14 * _DAY_MS)


CHANNELS = (
    _commands("adjustments", ADJUSTMENTS),
    _commands("freezes", FREEZES),
    _commands("orders", ORDERS),
    Channel(
        "outcomes",
        "ledger.outcomes.v1",
        "send",
        ("outcome",),
        "Facts about commands, at least once, with stable ids and bytes: drop repeats by event_id. An account's are "
        "numbered 1, 2, 3, … in account_seq. Partitions are never added.",
        12,
        30 * _DAY_MS,
    ),
    Channel(
        "dead_letters",
        "ledger.dead-letters.v1",
        "send",
        (_DEAD_LETTER,),
        "Records that were not taken, byte for byte with key and headers; the reason is in further headers.",
        3,
        30 * _DAY_MS,
        _RECORD_BYTES_MAX + 65_536,
    ),
    Channel("audit", "ledger.audit.v1", "send", ("audit",), "What operators changed, as a chain of hashes.", 1, -1),
)


def document() -> Json:
    """Build the document. Topic names are the defaults."""
    told = _skeleton()
    channels, operations = told["channels"], told["operations"]
    return told | {  # FastStream's sequence is that of a set
        "channels": {channel.name: channels[channel.name] | _of_channel(channel) for channel in CHANNELS},
        "operations": {channel.name: operations[channel.name] | _of_operation(channel) for channel in CHANNELS},
        "components": {"messages": _messages()},
    }


def _of_channel(channel: Channel) -> Json:
    return {
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in channel.messages},
        "bindings": {"kafka": _topic_binding(channel)},
    }


def _of_operation(channel: Channel) -> Json:
    return {
        "summary": "The worker reads it." if channel.action == "receive" else "The worker publishes it.",
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{name}"} for name in channel.messages],
    }


def _skeleton() -> Json:
    """Let FastStream write channels and operations. It names no server: whose cluster it is, is not known here."""
    broker = KafkaBroker()
    for channel in CHANNELS:
        if channel.action == "receive":
            broker.subscriber(channel.topic, title=channel.name, description=channel.description)(_read)
        else:
            broker.publisher(channel.topic, title=channel.name, description=channel.description, schema=bytes)
    described = AsyncAPI(
        broker,
        title="Ledger Worker",
        version="1",
        description="Commands go in, outcomes come out; what cannot be understood goes to the dead letters. "
        "Topic names are defaults and configurable.",
        schema_version="3.0.0",
    )
    told: Json = described.to_specification().to_jsonable()
    del told["servers"]
    for channel in told["channels"].values():
        del channel["servers"]
    return {"asyncapi": told.pop("asyncapi"), **told}


async def _read(value: bytes) -> None:
    """Stand for intake, which reads bytes."""


def _topic_binding(channel: Channel) -> Json:
    return {
        "topic": channel.topic,
        "partitions": channel.partitions,
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "retention.ms": channel.retention_ms,
            "retention.bytes": -1,
            "max.message.bytes": channel.bytes_max,
        },
        "bindingVersion": _BINDING,
    }


def _messages() -> Json:
    found = {name: _of_command(name, model.__doc__ or "") for name, model in MODELS.items()}
    outcome = _message("outcome", "A fact about a command.", _ACCOUNT, {"$ref": "./outcome.json"})
    dead_letter = _message(
        _DEAD_LETTER,
        "A record as it came.",
        {"description": "The original key, byte for byte; may be absent."},
        {"description": "The original value, byte for byte; may be null."},
    )
    actor = {"type": "string", "description": "The actor, UTF-8."}
    return found | {
        "outcome": outcome
        | {
            "headers": {"$ref": "./outcome-headers.json"},
            "correlationId": {"location": "$message.header#/ce_causationid", "description": "The command_id."},
            "tags": [{"name": "CloudEvents 1.0, binary mode"}],
            "examples": [{"payload": one} for one in examples.OUTCOMES],
        },
        _DEAD_LETTER: dead_letter
        | {"contentType": "application/octet-stream", "headers": {"$ref": "./dead-letter-headers.json"}},
        "audit": _message("audit", "A change by an operator.", actor, {"$ref": "./audit.json"}),
    }


def _of_command(name: str, summary: str) -> Json:
    return _message(name, summary, _ACCOUNT, {"$ref": f"./{name}.json"}) | {
        "headers": _TRACED,
        "examples": [{"payload": one} for one in examples.of_command(name)],
    }


_TRACED = {
    "type": "object",
    "description": "Headers never decide anything.",
    "properties": {"traceparent": {"type": "string", "description": "A W3C trace context, carried into outcomes."}},
}


def _message(name: str, summary: str, key: Json, payload: Json) -> Json:
    return {
        "name": name,
        "summary": summary,
        "contentType": "application/json",
        "payload": payload,
        "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING}},
    }
