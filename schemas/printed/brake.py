"""`pause`, `resume`, `accounts`, `commands cancel`: what stands still, and what is taken back."""

from schemas.printed import states
from schemas.printed.fragments import (
    ACCOUNT,
    AMOUNT,
    COUNT,
    FLAG,
    ID,
    INSTANT,
    OPERATION,
    TEXT,
    TOPIC,
    Schema,
    an,
    either,
    is_,
    maybe,
    one_of,
    rows,
    told,
)
from schemas.printed.waiting import DOUBT, PARKED, TIMER

_KIND: dict[str, Schema] = {"kind": one_of(("all", "operation", "partition"))}
_NAMED: dict[str, Schema] = {
    "operation": told(OPERATION, "with kind operation"),
    "topic": told(TOPIC, "with kind partition"),
    "partition": told(COUNT, "with kind partition"),
}
_DUE = an({"now": COUNT, "within_the_hour": COUNT})
_HELD: dict[str, Schema] = {"kind": is_("account"), "account_no": ACCOUNT, "by": TEXT}
_NAME = told(TEXT, "what it is called, in words")
_WOKEN = told(COUNT, "accounts that waited for it and may go on")
_ACCOUNT: dict[str, Schema] = {
    "account_no": ACCOUNT,
    "held": told(FLAG, "by a person"),
    "held_by": maybe(TEXT),
    "held_since": maybe(INSTANT),
    "held_reason": maybe(TEXT),
    "lane": told(maybe(one_of(states.LANE)), "null where it never had a command, as what follows"),
    "hold_reason": told(maybe(TEXT), "why its lane rests"),
    "wake_at": maybe(INSTANT),
    "account_seq": told(maybe(COUNT), "of its last outcome"),
    "waiting": told(COUNT, "commands in its lane"),
}

COMMANDS: dict[str, Schema] = {
    "pause": either(
        stopped=an(
            {"stopped": _NAME, **_KIND, "by": TEXT},
            {**_NAMED, "expiries_due": told(_DUE, "where expiries stop, too")},
        ),
        listed=rows(
            {
                **_KIND,
                "subject": _NAME,
                "since_at": told(maybe(INSTANT), "null for a partition"),
                "by": told(maybe(TEXT), "null for a partition: its reason says so"),
                "reason": TEXT,
                "lanes_waiting": told(maybe(COUNT), "accounts that wait for it; null for a partition"),
            },
            _NAMED,
        ),
    ),
    "resume": an({"released": _NAME, **_KIND, "by": TEXT, "lanes_woken": _WOKEN}, _NAMED),
    "accounts list": rows(_ACCOUNT),
    "accounts show": an(
        {
            **_ACCOUNT,
            "doubts": rows(DOUBT),
            "parked": rows(PARKED),
            "timers": rows(TIMER),
            "used_today": told(
                rows({"operation": OPERATION, "unit": told(TEXT, "the currency, or quantity"), "used": AMOUNT}),
                "what counts towards its limits on this UTC day",
            ),
        }
    ),
    "accounts hold": an({"stopped": _NAME, **_HELD}),
    "accounts release": an({"released": _NAME, **_HELD, "lanes_woken": _WOKEN}),
    "commands cancel": rows(
        {
            "command_id": ID,
            "account_no": told(maybe(ACCOUNT), "null for an id that is not known"),
            "cancelled": FLAG,
            "why": told(TEXT, "why not; empty where it was"),
        }
    ),
}
