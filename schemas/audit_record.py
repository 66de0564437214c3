"""What lies on the audit topic, as a JSON Schema: one object for each change by an operator; more members may come."""

from typing import Any

_TEXT = {"type": "string"}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_MEMBERS: dict[str, dict[str, Any]] = {
    "audit_id": {"type": "string", "format": "uuid"},
    "audit_seq": {"type": "integer", "minimum": 1, "description": "1, 2, 3, … without a gap"},
    "previous_hash": {
        **_SHA256,
        "description": "SHA-256 over the bytes of the row before it; of the first, a digest of what there was before",
    },
    "actor": {**_TEXT, "description": "who it was done for: a claim, not checked"},
    "database_role": _TEXT,
    "action": {"type": "string", "pattern": r"^[a-z]+(-[a-z]+)*(\.[a-z]+)?$"},
    "reason": _TEXT,
    "subject": _TEXT,
    "before": {"type": "object"},
    "after": {"type": "object"},
    "recorded_at": {"type": "string", "format": "date-time"},
}


def document() -> dict[str, Any]:
    """Return the schema of one record's value."""
    return {
        "title": "audit-record",
        "type": "object",
        "properties": _MEMBERS,
        "required": list(_MEMBERS),
        "additionalProperties": True,
    }
