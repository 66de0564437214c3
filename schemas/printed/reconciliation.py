"""`reconcile`: the certificate, as `--output json` prints it and `--certificate FILE` writes it."""

from schemas.printed import states
from schemas.printed.fragments import (
    ACCOUNT,
    AMOUNT,
    COUNT,
    FLAG,
    HASH,
    ID,
    INSTANT,
    OPERATION,
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

_BOOK = told(maybe(one_of(states.BOOK)), "which history; null where it is about our outcomes")
_DIFFERENCE: dict[str, Schema] = {
    "kind": one_of(states.DIFFERENCE),
    "account_no": ACCOUNT,
    "book": _BOOK,
    "unit": told(maybe(TEXT), "the currency or symbol"),
    "number": told(maybe(TEXT), "the brokerage's"),
    "command_id": maybe(ID),
    "command_type": maybe(OPERATION),
    "at": maybe(INSTANT),
    "ours": told(maybe(TEXT), "what we say"),
    "theirs": told(maybe(TEXT), "what the brokerage says"),
    "note": maybe(TEXT),
}
_TOTAL: dict[str, Schema] = {
    "book": one_of(states.BOOK),
    "unit": TEXT,
    "ours": AMOUNT,
    "theirs": told(maybe(AMOUNT), "null for what the brokerage does not show"),
    "difference": maybe(AMOUNT),
}
_COUNTED = ("accounts", "commands", "outcomes", "lines", "matched", "not_comparable", "left_out", "differences")

COMMANDS: dict[str, Schema] = {
    "reconcile": an(
        {
            "format": is_("ledger-worker/reconciliation/1"),
            "made_at": INSTANT,
            "made_by": TEXT,
            "brokerage": told(TEXT, "its address"),
            "account": told(maybe(TEXT), "null: all that ever had a command"),
            "range": an({"from": INSTANT, "to": told(INSTANT, "itself left out")}),
            "compared": listed(TEXT),
            "not_compared": listed(TEXT),
            "left_out_codes": listed(TEXT),
            "complete": told(FLAG, "whether every history could be read whole"),
            "agrees": told(FLAG, "whether it is complete and nothing differs"),
            "counts": {**an(dict.fromkeys(_COUNTED, COUNT)), "additionalProperties": COUNT},
            "kinds": an(dict.fromkeys(states.DIFFERENCE, COUNT)),
            "totals": rows(_TOTAL),
            "differences": told(
                rows(_DIFFERENCE, {"account_seq": told(COUNT, "where it is about an outcome")}),
                "at most 10,000; the counts are whole",
            ),
            "not_read": rows({"account_no": ACCOUNT, "book": TEXT, "from": INSTANT, "to": INSTANT, "why": TEXT}),
            "signed_off": maybe(an({"by": TEXT, "at": INSTANT, "reason": TEXT, "audit_id": ID})),
            "sha256": told(HASH, "of all but this member, sorted, without blanks"),
        }
    )
}
