"""`in-doubt`, `parked`, `timers`: what waits for a person or for an hour, and what was tried."""

from schemas.printed import states
from schemas.printed.fragments import (
    ACCOUNT,
    AGE,
    AMOUNT_OF,
    COUNT,
    FLAG,
    HASH,
    ID,
    INSTANT,
    LEFT_OUT,
    NTH,
    NUMBER,
    OBJECT,
    OPERATION,
    SECONDS,
    TEXT,
    Schema,
    an,
    is_,
    listed,
    maybe,
    one_of,
    rows,
    told,
)

ATTEMPT: dict[str, Schema] = {
    "kind": one_of(states.ATTEMPT),
    "nth": NTH,
    "number": told(COUNT, "1, 2, 3, … of its kind"),
    "operation": OPERATION,
    "opened_at": INSTANT,
    "send_before_at": told(INSTANT, "no byte left after it"),
    "horizon_at": told(INSTANT, "from when on it cannot take effect any more"),
    "method": maybe(TEXT),
    "path": maybe(TEXT),
    "query": maybe(TEXT),
    "body": told(maybe(TEXT), "the request's, as sent"),
    "verdict": told(one_of((*states.KNOWN, *states.SIGHT)), "of a call what is known of it, of a look what it showed"),
    "reported_at": told(maybe(INSTANT), "null while it is under way"),
    "retry_at": maybe(INSTANT),
    "duration_ms": maybe(SECONDS),
    "rule": told(maybe(TEXT), "the rule that gave the verdict"),
    "code": told(maybe(TEXT), "the brokerage's"),
    "message": maybe(TEXT),
    "numbers": told(maybe(OBJECT), "the brokerage's numbers: adjust_no, serial_num, order_id"),
    "http_status": maybe(COUNT),
    "answer": told(maybe(TEXT), "the answer's body; what is not UTF-8 is escaped"),
    "trace_id": maybe(TEXT),
    "redacted_at": told(maybe(INSTANT), "when the bodies were taken away"),
    "body_hash": told(maybe(HASH), "SHA-256 of the body that was taken away"),
    "answer_hash": told(maybe(HASH), "SHA-256 of the answer that was taken away"),
}
EVIDENCE: dict[str, Schema] = {
    "kind": told(TEXT, "person, or of which look"),
    "nth": NTH,
    "recorded_at": INSTANT,
    "actor": maybe(TEXT),
    "reason": maybe(TEXT),
    "detail": OBJECT,
}
_LEFT_OUT = {"attempts_left_out": LEFT_OUT, "evidence_left_out": LEFT_OUT}
DOUBT: dict[str, Schema] = {
    "command_id": ID,
    "account_no": ACCOUNT,
    "operation": OPERATION,
    "expiry": told(FLAG, "whether the end of that temp.adjust is in doubt, not its booking"),
    "command_type": maybe(OPERATION),
    "state": told(maybe(one_of(states.COMMAND)), "the command's"),
    "since_at": INSTANT,
    "age_s": SECONDS,
    "parked_at": told(maybe(INSTANT), "null while the worker still resolves it"),
    "decidable_at": told(maybe(INSTANT), "from when on a person may decide"),
    "decidable": maybe(FLAG),
    "reason": TEXT,
    "payload": maybe(OBJECT),
    "amount": AMOUNT_OF,
    "age": AGE,
    "no_evidence": told(TEXT, "why nobody knows"),
    "next": told(TEXT, "what happens without anybody's doing"),
    "next_at": maybe(INSTANT),
    "parks_at": told(maybe(INSTANT), "when the worker gives up; null where it does not, or has"),
}
PARKED: dict[str, Schema] = {
    "command_id": ID,
    "account_no": ACCOUNT,
    "command_type": OPERATION,
    "parked_at": INSTANT,
    "age_s": SECONDS,
    "in_doubt": told(FLAG, "whether a call of it may have been applied"),
    "reason": TEXT,
    "attempts": told(COUNT, "how many calls were begun"),
    "accepted_at": INSTANT,
    "first_sent_at": maybe(INSTANT),
    "issued_by": maybe(TEXT),
    "correlation_id": maybe(TEXT),
    "not_after": maybe(INSTANT),
    "expires_at": maybe(INSTANT),
    "payload": OBJECT,
    "amount": AMOUNT_OF,
    "age": AGE,
}
TIMER: dict[str, Schema] = {
    "command_id": told(ID, "the temp.adjust's"),
    "account_no": ACCOUNT,
    "adjust_no": told(maybe(TEXT), "null where it is not known: then nobody can end it"),
    "kind": one_of(states.TIMER),
    "state": one_of(states.TIMER_STATE),
    "due_at": told(INSTANT, "its hour"),
    "wake_at": told(INSTANT, "the next try"),
    "overdue": FLAG,
}
ADJUSTMENT: dict[str, Schema] = {
    "command_id": ID,
    "account_no": ACCOUNT,
    "adjust_no": maybe(TEXT),
    "op_user": TEXT,
    "expires_at": INSTANT,
    "booked_at": INSTANT,
    "ended_at": maybe(INSTANT),
    "ended_by": maybe(one_of(states.ENDED_BY)),
    "basis": maybe(one_of(states.BASIS)),
    "timer": told(maybe(one_of(states.TIMER)), "null when it has ended, as the four that follow"),
    "timer_state": maybe(one_of(states.TIMER_STATE)),
    "due_at": maybe(INSTANT),
    "wake_at": maybe(INSTANT),
    "overdue": maybe(FLAG),
}
_DECIDED: dict[str, Schema] = {"command_id": ID, "account_no": ACCOUNT, "decided_by": TEXT}

COMMANDS: dict[str, Schema] = {
    "in-doubt list": rows(DOUBT),
    "in-doubt show": an(DOUBT | {"attempts": rows(ATTEMPT), "evidence": rows(EVIDENCE), **_LEFT_OUT}),
    "in-doubt resolve": an(
        {
            **_DECIDED,
            "state": told(
                one_of(("succeeded", "rejected", "queued", "expired", "armed")),
                "what it is now: the command, or with --expiry the adjustment's end",
            ),
        },
        {
            "number": told(maybe(TEXT), "with succeeded: the brokerage's, as it was given"),
            "code": told(is_("NOT_APPLIED"), "with rejected"),
            "position": told(NUMBER, "with queued: its new place in the lane"),
            "ended_by": told(one_of(states.ENDED_BY), "with expired"),
        },
    ),
    "parked list": rows(PARKED),
    "parked show": an(PARKED | {"attempts_made": rows(ATTEMPT), "evidence": rows(EVIDENCE), **_LEFT_OUT}),
    "parked redrive": listed(
        an({**_DECIDED, "state": is_("queued"), "position": told(NUMBER, "its new place in the lane")})
    ),
    "parked discard": listed(an({**_DECIDED, "state": is_("rejected"), "code": is_("DISCARDED")})),
    "timers list": rows(TIMER),
    "timers show": an(
        ADJUSTMENT | {"expiry_attempts": told(rows(ATTEMPT), "the calls to end it"), "attempts_left_out": LEFT_OUT}
    ),
    "timers fire": an(
        {
            "command_id": ID,
            "account_no": ACCOUNT,
            "adjust_no": TEXT,
            "state": is_("due"),
            "early": told(FLAG, "whether its hour has not come yet"),
            "fired_at": INSTANT,
        }
    ),
}
