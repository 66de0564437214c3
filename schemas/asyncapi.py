"""The AsyncAPI 3.0 document: which topic carries what, keyed how, written by whom."""

from typing import Any

from schemas.commands import ADJUSTMENTS, FREEZES, MODELS, ORDERS, VALUE_BYTES_MAX

_KEY = {"type": "string", "description": "account_no, UTF-8", "pattern": "^[A-Za-z0-9._-]{1,32}$"}
_COMMAND_TOPICS = {
    "adjustments": ("ledger.commands.adjustments.v1", ADJUSTMENTS),
    "freezes": ("ledger.commands.freezes.v1", FREEZES),
    "orders": ("ledger.commands.orders.v1", ORDERS),
}


def document() -> dict[str, Any]:
    """Build the document; schemas are referred to as files beside it. Topic names are the defaults."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ledger Worker",
            "version": "1",
            "description": "Commands go in, outcomes come out; what cannot be understood goes to the dead letters. "
            "Topic names are defaults and configurable.",
        },
        "defaultContentType": "application/json",
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages()},
    }


def _channels() -> dict[str, Any]:
    channels = {
        name: _channel(topic, sorted(types), f"Commands, at most {VALUE_BYTES_MAX} bytes each; upstream writes.")
        for name, (topic, types) in _COMMAND_TOPICS.items()
    }
    channels["outcomes"] = _channel("ledger.outcomes.v1", ["outcome"], "Facts about commands; the worker writes.")
    channels["dead_letters"] = _channel(
        "ledger.dead-letters.v1",
        ["dead-letter"],
        "Records as they came, with the reason in headers; the worker writes.",
    )
    return channels


def _channel(topic: str, messages: list[str], description: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
    }


def _operations() -> dict[str, Any]:
    operations = {
        f"receive_{name}": {"action": "receive", "channel": {"$ref": f"#/channels/{name}"}} for name in _COMMAND_TOPICS
    }
    for name in ("outcomes", "dead_letters"):
        operations[f"send_{name}"] = {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
    return operations


def _messages() -> dict[str, Any]:
    messages: dict[str, Any] = {
        name: {"name": name, "payload": {"$ref": f"./{name}.json"}, "bindings": _bindings(_KEY)} for name in MODELS
    }
    messages["outcome"] = {
        "name": "outcome",
        "payload": {"$ref": "./outcome.json"},
        "headers": {"$ref": "./outcome-headers.json"},
        "bindings": _bindings(_KEY),
    }
    messages["dead-letter"] = {
        "name": "dead-letter",
        "contentType": "application/octet-stream",
        "headers": {"$ref": "./dead-letter-headers.json"},
        "bindings": _bindings({"description": "the original key, byte for byte; may be absent"}),
    }
    return messages


def _bindings(key: dict[str, Any]) -> dict[str, Any]:
    return {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
