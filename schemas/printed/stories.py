"""`explain`: the story of a command, or how an account stands."""

from schemas.outcomes import OutcomeType
from schemas.printed import states
from schemas.printed.fragments import (
    ACCOUNT,
    AMOUNT,
    AMOUNT_OF,
    COUNT,
    COUNTS,
    FLAG,
    ID,
    INSTANT,
    OBJECT,
    OPERATION,
    TEXT,
    TOPIC,
    Schema,
    an,
    either,
    is_,
    listed,
    maybe,
    one_of,
    rows,
    told,
)
from schemas.printed.waiting import ADJUSTMENT, DOUBT, PARKED

_WAITS: dict[str, Schema] = {
    "waits_for": told(maybe(TEXT), "null when nothing is unfinished"),
    "waits_until": maybe(INSTANT),
    "moved_by": told(
        rows({"command": TEXT, "from_at": told(maybe(INSTANT), "null: now")}), "what to type to move it, and from when"
    ),
}
_COMMAND: dict[str, Schema] = {
    "kind": is_("command"),
    "summary": TEXT,
    "command_id": ID,
    "account_no": ACCOUNT,
    "command_type": told(maybe(TEXT), "as given; of what was refused it may be no type at all"),
    "state": told(maybe(one_of(states.COMMAND)), "null where nothing but the id is known"),
    "position": told(maybe(COUNT), "its place in the lane; null, as what follows, where it was not accepted"),
    "amount": AMOUNT_OF,
    "result": told(maybe(OBJECT), "that of its outcome"),
    "error": told(maybe(OBJECT), "that of its outcome"),
    "payload": maybe(OBJECT),
    "issued_by": maybe(TEXT),
    "issued_at": maybe(INSTANT),
    "correlation_id": maybe(TEXT),
    "not_after": maybe(INSTANT),
    "expires_at": maybe(INSTANT),
    "accepted_at": maybe(INSTANT),
    "attempts": told(maybe(COUNT), "how many calls were begun"),
    "first_sent_at": maybe(INSTANT),
    "finished_at": maybe(INSTANT),
    "terminal_event_id": told(maybe(ID), "that of the outcome that ended it"),
    "pruned_at": told(maybe(INSTANT), "when all but its identity, hash and verdict was pruned"),
    "topic": maybe(TOPIC),
    "partition": maybe(COUNT),
    "offset": maybe(COUNT),
    "parked_at": maybe(INSTANT),
    "parked_reason": maybe(TEXT),
    "parked_in_doubt": maybe(FLAG),
    "doubt_reason": maybe(TEXT),
    "doubt_since_at": maybe(INSTANT),
    **_WAITS,
    "adjustment": told(maybe(an(ADJUSTMENT)), "what a temp.adjust has booked"),
    "events": rows(
        {
            "at": INSTANT,
            "event": told(TEXT, "such as record.read, write.began, person.decided"),
            "detail": TEXT,
            "data": told(OBJECT, "the row it was told from"),
            "series": told(maybe(TEXT), "what it is one of many of, if of any"),
            "nth": told(COUNT, "which of its series, from 1; 0 outside of any"),
        }
    ),
    "left_out": told(COUNTS, "by series, how many lie between those that are there"),
}
_NEXT: dict[str, Schema] = {
    "command_id": ID,
    "command_type": OPERATION,
    "position": COUNT,
    "state": one_of(states.COMMAND),
    "accepted_at": INSTANT,
    "not_after": maybe(INSTANT),
    "payload": OBJECT,
    "amount": AMOUNT_OF,
}
_BALANCE: dict[str, Schema] = {
    "operation": OPERATION,
    "expiry": FLAG,
    "unit": told(maybe(TEXT), "the currency or security"),
    "count": COUNT,
    "oldest_at": INSTANT,
    "amount": told(maybe(AMOUNT), "their sum"),
}
_TIMER: dict[str, Schema] = {
    "command_id": ID,
    "adjust_no": maybe(TEXT),
    "timer": one_of(states.TIMER),
    "timer_state": one_of(states.TIMER_STATE),
    "expires_at": INSTANT,
    "wake_at": INSTANT,
    "overdue": FLAG,
    "payload": OBJECT,
    "amount": AMOUNT_OF,
}
_OUTCOME: dict[str, Schema] = {
    "event_id": ID,
    "account_no": ACCOUNT,
    "account_seq": COUNT,
    "type": one_of(OutcomeType),
    "command_id": ID,
    "recorded_at": INSTANT,
    "published_at": maybe(INSTANT),
    "published_partition": maybe(COUNT),
    "published_offset": maybe(COUNT),
    "set_aside_reason": told(maybe(TEXT), "why Kafka refused it for good"),
    "code": told(maybe(TEXT), "of its error"),
}
_ACCOUNT: dict[str, Schema] = {
    "kind": is_("account"),
    "summary": TEXT,
    "account_no": ACCOUNT,
    "state": told(one_of(states.LANE), "its lane's"),
    "hold_reason": maybe(TEXT),
    "wake_at": maybe(INSTANT),
    "ready_at": maybe(INSTANT),
    "owner": told(maybe(ID), "the worker that has it"),
    "lease_until": maybe(INSTANT),
    "fence": COUNT,
    "account_seq": told(COUNT, "of its last outcome"),
    "head_position": COUNT,
    "next_position": COUNT,
    "head_command_id": maybe(ID),
    "head_command_type": maybe(OPERATION),
    "head_state": maybe(one_of(states.COMMAND)),
    "waiting": COUNT,
    **_WAITS,
    "next": told(rows(_NEXT), "the first that wait"),
    "doubt_balance": rows(_BALANCE),
    "doubts": rows(DOUBT),
    "parked": rows(PARKED),
    "timers": rows(_TIMER),
    "last_outcomes": told(rows(_OUTCOME), "the latest first"),
}

COMMANDS: dict[str, Schema] = {
    "explain": either(
        a_command=an(_COMMAND),
        an_account=an(_ACCOUNT),
        several=told(
            listed({"anyOf": [an(_COMMAND), an(_ACCOUNT)]}),
            "where a number is that of several commands, or of an account too",
        ),
    )
}
