"""What `explain --output json` prints, as a JSON Schema: the members that a machine may rely on; more may come."""

from typing import Any

_TEXT = {"type": "string"}
_INSTANT = {"type": "string", "format": "date-time"}
_COUNT = {"type": "integer", "minimum": 0}


def _maybe(kind: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [kind, {"type": "null"}]}


def _object(members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": True}


def _listed(members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(members)}


_WAITING = {
    "waits_for": _maybe(_TEXT),
    "waits_until": _maybe(_INSTANT),
    "moved_by": _listed({"command": _TEXT, "from_at": _maybe(_INSTANT)}),
}
_ID = {"type": "string", "format": "uuid"}
_COMMAND = {
    "kind": {"const": "command"},
    "summary": _TEXT,
    "command_id": _ID,
    "account_no": _TEXT,
    "command_type": _maybe(_TEXT),
    "state": {"enum": ["queued", "sending", "in_doubt", "parked", "succeeded", "rejected"]},
    "position": _maybe(_COUNT),
    "amount": _maybe(_TEXT),
    "result": _maybe({"type": "object"}),
    "error": _maybe({"type": "object"}),
    "payload": _maybe({"type": "object"}),
    "attempts": _maybe(_COUNT),
    **_WAITING,
    "adjustment": _maybe(
        _object(
            {"adjust_no": _maybe(_TEXT), "expires_at": _INSTANT, "ended_at": _maybe(_INSTANT), "timer": _maybe(_TEXT)}
        )
    ),
    "events": _listed({"at": _INSTANT, "event": _TEXT, "detail": _TEXT, "data": {"type": "object"}}),
}
_ACCOUNT = {
    "kind": {"const": "account"},
    "summary": _TEXT,
    "account_no": _TEXT,
    "state": {"enum": ["idle", "ready", "leased", "held"]},
    "owner": _maybe(_ID),
    "fence": _COUNT,
    "lease_until": _maybe(_INSTANT),
    "hold_reason": _maybe(_TEXT),
    "wake_at": _maybe(_INSTANT),
    "waiting": _COUNT,
    **_WAITING,
    "next": _listed({"command_id": _ID, "command_type": _TEXT, "state": _TEXT, "amount": _maybe(_TEXT)}),
    "doubt_balance": _listed({"operation": _TEXT, "count": _COUNT, "amount": _maybe(_TEXT), "unit": _maybe(_TEXT)}),
    "doubts": _listed({"command_id": _ID, "operation": _TEXT, "next": _TEXT, "next_at": _maybe(_INSTANT)}),
    "parked": _listed({"command_id": _ID, "command_type": _TEXT, "in_doubt": {"type": "boolean"}, "reason": _TEXT}),
    "timers": _listed({"command_id": _ID, "adjust_no": _maybe(_TEXT), "expires_at": _INSTANT, "timer": _TEXT}),
    "last_outcomes": _listed({"account_seq": _COUNT, "type": _TEXT, "command_id": _ID, "code": _maybe(_TEXT)}),
}


def document() -> dict[str, Any]:
    """Return the schema of one story, a command's or an account's."""
    return {"title": "explain", "oneOf": [_object(_COMMAND), _object(_ACCOUNT)]}
