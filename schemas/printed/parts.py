"""Settings, topics, the parts' health, what is sent, set aside, recovered, signed, and the audit of all of it."""

from schemas.printed import states
from schemas.printed.fragments import (
    COUNT,
    COUNTS,
    FLAG,
    ID,
    INSTANT,
    NUMBER,
    OBJECT,
    PUBLISHED,
    TEXT,
    TOPIC,
    Schema,
    an,
    listed,
    maybe,
    one_of,
    rows,
    told,
)

_SETTING: Schema = {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, listed(TEXT)]}
_DIFFERENCES = rows(
    {
        "topic": TOPIC,
        "step": told(one_of(states.STEP), "how `topics apply` mends it, or mended it"),
        "what": TEXT,
        "wanted": TEXT,
        "found": TEXT,
        "loses": told(FLAG, "whether order or data can be lost: `run` does not start then"),
    }
)
_ASIDE: dict[str, Schema] = {
    "outbox_id": NUMBER,
    "kind": one_of(states.OUTBOX),
    "ref_id": told(ID, "the event_id, dead_letter_id or audit_id"),
    "ordered_by": told(maybe(TEXT), "what waits behind it is of the same: an account, or the audit"),
}
_FAULT: dict[str, Schema] = {
    "seq": told(COUNT, "the row's number; 0 where it has none"),
    "side": one_of(states.SIDE),
    "fault": one_of(states.FAULT),
    "audit_id": maybe(TEXT),
    "sentence": TEXT,
}
_RECOVERED = (
    *("records_forgotten", "outcomes_forgotten", "commands_answered", "commands_in_doubt", "commands_parked"),
    *("records_refused", "adjustments_in_doubt", "ids_without_record", "audit_forgotten", "accounts"),
)

COMMANDS: dict[str, Schema] = {
    "settings show": rows(
        {
            "variable": {"type": "string", "pattern": "^LEDGER_[A-Z0-9_]+$"},
            "value": told(_SETTING, "the value in effect; secrets are masked"),
            "default": _SETTING,
            "required_for": told(maybe(TEXT), "the part that cannot do without it"),
            "meaning": TEXT,
        }
    ),
    "topics plan": _DIFFERENCES,
    "topics apply": _DIFFERENCES,
    "topics verify": _DIFFERENCES,
    "topics adopt": rows(
        {
            "topic": TOPIC,
            "partition": COUNT,
            "why": one_of(states.NOT_READ),
            "from_offset": told(COUNT, "the stored place, which does not hold"),
            "to_offset": told(COUNT, "where reading goes on"),
            "epoch": told(NUMBER, "from then on"),
            "does": TEXT,
        }
    ),
    "doctor": rows({"check": TEXT, "ok": FLAG, "says": TEXT, "do": told(TEXT, "empty where it is in order")}),
    "send": an({"sent": COUNT, "of": NUMBER, "topics": told(COUNTS, "how many went to which")}),
    "outbox list": rows(
        {**_ASIDE, "recorded_at": INSTANT, "reason": told(TEXT, "why Kafka refused it"), "behind": COUNT}
    ),
    "outbox redrive": an(_ASIDE),
    "recover": told(rows(dict.fromkeys(_RECOVERED, COUNT)), "one row"),
    "prune": rows(
        {"what": one_of(states.AGED), "before": told(INSTANT, "what is older goes"), "count": COUNT, "note": TEXT}
    ),
    "audit list": rows(
        {
            "audit_seq": told(COUNT, "its number in the chain; 0 for a row from before it"),
            "audit_id": ID,
            "recorded_at": INSTANT,
            "actor": told(TEXT, "who the command was run for"),
            "database_role": told(TEXT, "whom Postgres knew"),
            "action": TEXT,
            "subject": maybe(TEXT),
            "reason": TEXT,
            "taken_back": told(FLAG, "whether `recover` found it on the topic"),
            **PUBLISHED,
            "before": told(maybe(OBJECT), "null where somebody has altered it"),
            "after": told(maybe(OBJECT), "null where somebody has altered it"),
        }
    ),
    "audit verify": an(
        {
            "table": told(COUNT, "rows in the table"),
            "topic": told(COUNT, "rows on the topic"),
            "compared": COUNT,
            "waiting": told(COUNT, "still to be published"),
            "kept_no_more": told(COUNT, "older than the topic keeps"),
            "differences": rows(_FAULT),
        }
    ),
    "whale sign": an(
        {
            "canonical_text": TEXT,
            "string_to_sign": TEXT,
            "signature": TEXT,
            "headers": {**OBJECT, "additionalProperties": TEXT},
        }
    ),
}
