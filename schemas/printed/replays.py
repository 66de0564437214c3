"""`replay`: plans of what a range would be today, and their runs."""

from schemas.printed import states
from schemas.printed.fragments import (
    AMOUNT,
    COUNT,
    COUNTS,
    HASH,
    ID,
    INSTANT,
    NUMBER,
    OPERATION,
    TEXT,
    TOPIC,
    Schema,
    an,
    is_,
    listed,
    maybe,
    one_of,
    rows,
    told,
)

_SUMS: dict[str, Schema] = {
    "plan_id": ID,
    "actor": TEXT,
    "topic": TOPIC,
    "records": told(NUMBER, "how many match"),
    "to_feed": told(COUNT, "how many of them a run feeds"),
    "forgotten": told(COUNT, "more than 0: the plan will not run"),
}
_BOUND = told({"anyOf": [COUNT, INSTANT, {"type": "null"}]}, "an offset or an instant")
_FILTERS = an(
    {
        "partition": maybe(COUNT),
        "from": _BOUND,
        "to": _BOUND,
        "account": maybe(TEXT),
        "type": maybe(OPERATION),
        "ids": told(maybe(NUMBER), "how many ids were given"),
    }
)
_SPAN = told({"type": "array", "prefixItems": [COUNT, COUNT], "minItems": 2, "items": False}, "from, to (left out)")
_END = told({"type": "array", "prefixItems": [COUNT, HASH], "minItems": 2, "items": False}, "offset, digest")
_RANGE: dict[str, Schema] = {
    "partition": COUNT,
    "epoch": NUMBER,
    "from_offset": COUNT,
    "to_offset": told(COUNT, "itself left out"),
    "skipped": told(listed(_SPAN), "what `topics adopt` passed over"),
    "ends": told(listed(_END), "the first and the last record, to tell a topic that was made again"),
}
_OF: dict[str, Schema] = {"type": OPERATION, "direction": told(maybe(TEXT), "CREDIT, DEBIT, or an order's side")}
_CLASS = an(
    {
        "count": COUNT,
        "fed": told(COUNT, "how many of them a run feeds"),
        "money": rows({**_OF, "currency": TEXT, "amount": AMOUNT}),
        "quantities": rows({**_OF, "symbol": told(maybe(TEXT), "or counter_id"), "quantity": AMOUNT}),
    }
)
_PLAN: dict[str, Schema] = {
    **_SUMS,
    "filters": _FILTERS,
    "ranges": rows(_RANGE),
    "classes": an(dict.fromkeys(states.CLASS, _CLASS)),
}
_DOES = one_of(("feed", "republish"))
_TO_TOPIC = told(maybe(TOPIC), "of republish")
_RUN: dict[str, Schema] = {
    "does": _DOES,
    "to_topic": _TO_TOPIC,
    "actor": TEXT,
    "reason": TEXT,
    "begun_at": INSTANT,
    "ended_at": told(maybe(INSTANT), "null while it runs, and when it was interrupted"),
    "progress": told(COUNTS, "by partition the next offset; of republish the number of the last"),
    "counts": told(COUNTS, "what became of how many"),
}
_PLANNED: dict[str, Schema] = {"planned_at": INSTANT, "state": one_of(states.PLAN)}

COMMANDS: dict[str, Schema] = {
    "replay plan": an({**_PLAN, "state": is_("planned")}),
    "replay status": an({**_PLAN, **_PLANNED, "runs": rows(_RUN)}),
    "replay list": rows({**_SUMS, **_PLANNED}),
    "replay run": an(
        {"plan_id": ID, "does": _DOES, "to_topic": _TO_TOPIC, "counts": told(COUNTS, "what became of how many")}
    ),
}
