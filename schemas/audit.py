"""What the audit topic carries, as a JSON Schema: one change by an operator, in a chain."""

from typing import Any

_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_MEMBERS: dict[str, dict[str, Any]] = {
    "audit_id": {"type": "string", "format": "uuid", "description": "Names the change."},
    "audit_seq": {"type": "integer", "minimum": 1, "description": "Its number in the chain: 1, 2, 3, … without a gap."},
    "previous_hash": {
        **_HASH,
        "description": "SHA-256 of the bytes of the row before it, so that no row can be altered unseen.",
    },
    "actor": {"type": "string", "description": "Who acted, as they said; also the record's key."},
    "database_role": {"type": "string", "description": "Under which role of the database, which cannot be claimed."},
    "action": {
        "type": "string",
        "pattern": r"^[a-z]+(-[a-z]+)*(\.[a-z]+)?$",
        "description": "What was done, such as accounts.hold.",
    },
    "reason": {"type": "string", "description": "Why, in the actor's words."},
    "subject": {"type": ["string", "null"], "description": "What it was done to: an id, an account, a plan."},
    "before": {"type": "object", "description": "What was so."},
    "after": {"type": "object", "description": "What is so now."},
    "recorded_at": {"type": "string", "format": "date-time", "description": "When, UTC."},
}
_EXAMPLE = {
    "audit_id": "9b2f7f3e-6f0c-4a4e-9d55-0a1c9c0e5b21",
    "audit_seq": 12,
    "previous_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "actor": "ana",
    "database_role": "ledger_operator",
    "action": "accounts.hold",
    "reason": "the desk asked for it",
    "subject": "H10240001",
    "before": {"held": False},
    "after": {"held": True},
    "recorded_at": "2026-11-22T08:30:00.130001Z",
}


def document() -> dict[str, Any]:
    """Return the schema; members may be added."""
    return {
        "title": "audit",
        "description": "One change by an operator, written in the database transaction that changed it.",
        "type": "object",
        "properties": _MEMBERS,
        "required": list(_MEMBERS),
        "additionalProperties": True,
        "examples": [_EXAMPLE],
    }
