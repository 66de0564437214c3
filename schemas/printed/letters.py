"""`dead-letters`: records that were not taken, what a person thinks of them, and putting them back."""

from schemas.dead_letters import Reason
from schemas.printed import states
from schemas.printed.fragments import (
    COUNT,
    FINGERPRINT,
    HASH,
    ID,
    INSTANT,
    NUMBER,
    PLACE,
    PUBLISHED,
    TEXT,
    Schema,
    an,
    either,
    is_,
    maybe,
    one_of,
    rows,
    told,
)

_WHY: dict[str, Schema] = {
    "reason": one_of(Reason),
    "code": told(maybe(TEXT), "of a refusal, see docs/codes.md"),
    "field": told(maybe(TEXT), "of a refusal, a dotted path"),
}
_GROUP: dict[str, Schema] = {
    "fingerprint": FINGERPRINT,
    **_WHY,
    "count": NUMBER,
    **dict.fromkeys(states.LETTER, told(COUNT, "how many of them are in this state")),
    "first_at": INSTANT,
    "last_at": INSTANT,
    "sample": told(ID, "the last of them"),
    "message": told(TEXT, "the sample's"),
}
_LETTER: dict[str, Schema] = {
    "dead_letter_id": ID,
    "failed_at": INSTANT,
    **_WHY,
    "fingerprint": FINGERPRINT,
    **PLACE,
    "command_id": told(maybe(ID), "null where no identity could be read"),
    "account_no": maybe(TEXT),
    "message": TEXT,
    "state": one_of(states.LETTER),
    "triage_reason": maybe(TEXT),
    "triaged_by": maybe(TEXT),
    "triaged_at": maybe(INSTANT),
    "redrive_count": COUNT,
    **PUBLISHED,
}
_BYTES = an(
    {"hex": {"type": "string", "pattern": "^([0-9a-f]{2})*$"}, "text": told(TEXT, "what is not UTF-8 is escaped")}
)
_REDRIVE: dict[str, Schema] = {
    "number": NUMBER,
    "redriven_at": INSTANT,
    "actor": TEXT,
    "reason": TEXT,
    "disposition": one_of(states.DISPOSITION),
    "message": maybe(TEXT),
    "command_id": maybe(ID),
    "edited": told(maybe(TEXT), "the bytes that a person put in its place"),
}
_SORTED: dict[str, Schema] = {
    "changed": COUNT,
    "redriven": told(COUNT, "were put back already and stay so"),
    "unknown": told(COUNT, "ids that name nothing"),
}
_WOULD = {"type": "object", "properties": dict.fromkeys(states.WOULD, NUMBER), "additionalProperties": COUNT}

COMMANDS: dict[str, Schema] = {
    "dead-letters list": either(groups=rows(_GROUP), one_by_one=rows(_LETTER)),
    "dead-letters show": an(
        {
            **_LETTER,
            "epoch": told(NUMBER, "1 and up: how often the topic was made"),
            "disposition": one_of(states.DISPOSITION),
            "produced_at": told(INSTANT, "Kafka's timestamp"),
            "read_at": INSTANT,
            "redacted_at": told(maybe(INSTANT), "when its bytes were taken away"),
            "digest": told(maybe(HASH), "SHA-256 of the bytes that were taken away"),
            "key": maybe(_BYTES),
            "value": maybe(_BYTES),
            "headers": rows({"name": _BYTES, "value": maybe(_BYTES)}),
            "redrives": rows(_REDRIVE),
        }
    ),
    "dead-letters seen": an({"state": is_("seen"), **_SORTED}),
    "dead-letters ignore": an({"state": is_("ignored"), **_SORTED}),
    "dead-letters redrive": either(
        preview=an(
            {
                "of": told(COUNT, "dead letters that were selected"),
                "unknown": told(COUNT, "ids that name nothing"),
                "would": told(_WOULD, "how many would become what"),
                "shown": rows({"dead_letter_id": ID, **PLACE, "would": one_of(states.WOULD), "why": TEXT}),
            }
        ),
        done=an(
            {
                "run_id": ID,
                "of": told(COUNT, "dead letters that were selected"),
                "unknown": told(COUNT, "ids that name nothing"),
                "before": told(COUNT, "put back before this run was interrupted"),
                "became": told(_WOULD, "how many became what"),
            }
        ),
    ),
}
