"""Every `error.code`, what it means, and what upstream should do about it. `docs/codes.md` is written from here."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Origin = Literal["validation", "policy", "brokerage"]


class Advice(StrEnum):
    """What upstream does next."""

    NEW_ID = "new id: correct it, or decide anew, and send it under a new `command_id`"
    SAME_ID = "same id: send it again, corrected where it could not be read; it is never done twice"
    WAIT = "wait: another event follows by itself"
    CALL_US = "call us: a person must look"
    NOTHING = "nothing: what was asked for is already so"


class Code(StrEnum):
    """A stable upper-case name; names are added, never changed. `BROKERAGE_…` codes are open, see `brokerage_code`."""

    KEY_MISSING = "KEY_MISSING"
    KEY_MISMATCH = "KEY_MISMATCH"
    TYPE_UNKNOWN = "TYPE_UNKNOWN"
    WRONG_TOPIC = "WRONG_TOPIC"
    FIELD_MISSING = "FIELD_MISSING"
    FIELD_UNKNOWN = "FIELD_UNKNOWN"
    FIELD_TYPE = "FIELD_TYPE"
    FIELD_CONFLICT = "FIELD_CONFLICT"
    VALUE_UNKNOWN = "VALUE_UNKNOWN"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    CONTROL_CHARACTER = "CONTROL_CHARACTER"
    TEXT_EMPTY = "TEXT_EMPTY"
    TEXT_TOO_LONG = "TEXT_TOO_LONG"
    FORMAT_INVALID = "FORMAT_INVALID"
    DECIMAL_INVALID = "DECIMAL_INVALID"
    DECIMALS_TOO_MANY = "DECIMALS_TOO_MANY"
    NOT_POSITIVE = "NOT_POSITIVE"
    TIME_INVALID = "TIME_INVALID"
    DATE_INVALID = "DATE_INVALID"
    ID_CONFLICT = "ID_CONFLICT"
    QUARANTINED = "QUARANTINED"
    TOO_LATE = "TOO_LATE"
    EXPIRES_AT_UNUSABLE = "EXPIRES_AT_UNUSABLE"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    REFERENCE_UNDECIDED = "REFERENCE_UNDECIDED"
    REFERENCE_INVALID = "REFERENCE_INVALID"
    SYMBOL_UNUSABLE = "SYMBOL_UNUSABLE"
    COUNTER_ID_UNUSABLE = "COUNTER_ID_UNUSABLE"
    ALREADY_ENDED = "ALREADY_ENDED"
    NOT_APPLIED = "NOT_APPLIED"
    CANCELLED = "CANCELLED"
    DISCARDED = "DISCARDED"
    IN_DOUBT = "IN_DOUBT"
    PARKED = "PARKED"
    CORRECTED = "CORRECTED"
    ORDER_ENDED = "ORDER_ENDED"


@dataclass(frozen=True, slots=True)
class About:
    """Who refuses, what it means in one line, and what upstream does."""

    origin: Origin
    meaning: str
    advice: Advice


def _validation(meaning: str, advice: Advice = Advice.NEW_ID) -> About:
    return About("validation", meaning, advice)


def _policy(meaning: str, advice: Advice = Advice.NEW_ID) -> About:
    return About("policy", meaning, advice)


ABOUT: dict[Code, About] = {
    Code.KEY_MISSING: _validation("The record has no key, so it would keep no place among its account's commands."),
    Code.KEY_MISMATCH: _validation("The record's key is not its `account_no`."),
    Code.TYPE_UNKNOWN: _validation("`type` names none of the ten command types."),
    Code.WRONG_TOPIC: _validation("The command type belongs on another topic."),
    Code.FIELD_MISSING: _validation("A required field is absent or null, or one that another field makes necessary."),
    Code.FIELD_UNKNOWN: _validation("A field that this command does not have."),
    Code.FIELD_TYPE: _validation("The field has another JSON type than it must have, such as a number for an amount."),
    Code.FIELD_CONFLICT: _validation("Two fields are given of which only one may be."),
    Code.VALUE_UNKNOWN: _validation("The value is not among those that the field knows."),
    Code.OUT_OF_RANGE: _validation("The integer lies outside its range."),
    Code.CONTROL_CHARACTER: _validation("A string contains a control character (U+0000 to U+001F)."),
    Code.TEXT_EMPTY: _validation("A required name, code or symbol is the empty string."),
    Code.TEXT_TOO_LONG: _validation("The text is longer than the brokerage takes, the worker's tag included."),
    Code.FORMAT_INVALID: _validation("The text has not the form of such an id, number or symbol."),
    Code.DECIMAL_INVALID: _validation(
        "Not a plain decimal: sign, exponent, blank, underscore, leading zero, or too many digits."
    ),
    Code.DECIMALS_TOO_MANY: _validation("A cash amount with more than two decimals."),
    Code.NOT_POSITIVE: _validation("The amount, quantity or price is zero."),
    Code.TIME_INVALID: _validation("Not an RFC 3339 date-time with offset, or not a whole second where one is needed."),
    Code.DATE_INVALID: _validation("Not a calendar day, YYYY-MM-DD."),
    Code.ID_CONFLICT: _validation(
        "The `command_id` was used before with other content; that first command stands, this record did nothing."
    ),
    Code.QUARANTINED: _validation(
        "The database refuses this record for what it contains; a dead letter only.", Advice.CALL_US
    ),
    Code.TOO_LATE: _policy("`not_after` had passed when the call would have been made; no call was made."),
    Code.EXPIRES_AT_UNUSABLE: _policy("`expires_at` was too near, past, or too far ahead when the call would be made."),
    Code.LIMIT_EXCEEDED: _policy("A limit per command, or per account and day, would be exceeded; no call was made."),
    Code.REFERENCE_UNDECIDED: _policy("The command referred to is in doubt or parked: try again when it is decided."),
    Code.REFERENCE_INVALID: _policy(
        "The reference names a rejected, unknown, later or wrongly typed command, or another account's number."
    ),
    Code.SYMBOL_UNUSABLE: _policy("The route of Temp Adjust in use takes no `symbol`: name the stock by `counter_id`."),
    Code.COUNTER_ID_UNUSABLE: _policy(
        "The route of Temp Adjust in use takes symbols, and the `counter_id` is not TYPE/MARKET/CODE."
    ),
    Code.ALREADY_ENDED: _policy("The temporary adjustment had already ended.", Advice.NOTHING),
    Code.NOT_APPLIED: _policy("Evidence or a person showed that the call in doubt was not applied."),
    Code.CANCELLED: _policy("An operator cancelled it before any call was made."),
    Code.DISCARDED: _policy("An operator discarded it while it was parked without a call in doubt."),
    Code.IN_DOUBT: About(
        "brokerage",
        "The call may or may not have been applied; resolution goes on. In a `command.parked` (origin `policy`) the machine"
        " gave up on it: then a person decides, and an outcome follows.",
        Advice.WAIT,
    ),
    Code.PARKED: _policy(
        "Resolution by the machine gave up; a person decides, and an outcome follows.", Advice.CALL_US
    ),
    Code.CORRECTED: About(
        "brokerage", "An earlier verdict proved wrong; the event tells what is now known.", Advice.CALL_US
    ),
    Code.ORDER_ENDED: About(
        "brokerage",
        "The order ended otherwise (filled, refused, expired) before it could be withdrawn.",
        Advice.NOTHING,
    ),
}

WITHOUT_OUTCOME = (
    (
        "nothing within the time that you expect",
        "It waits behind others of its account, or never arrived.",
        Advice.SAME_ID,
    ),
    (
        "dead letter `MALFORMED`",
        "Its identity could not be read, so nobody could be told; the id is not used.",
        Advice.SAME_ID,
    ),
    ("dead letter `TOO_LARGE`", "It has more than 65,536 bytes and was not read; the id is not used.", Advice.SAME_ID),
    ("dead letter `QUARANTINED`", "The database refuses it for what it contains.", Advice.CALL_US),
)
"""What may come of a record instead of an outcome; `REFUSED` and `ID_CONFLICT` dead letters have one besides."""

BROKERAGE_PREFIX = "BROKERAGE_"
_BROKERAGE_CODE_MAX = 48
_not_a_name = re.compile(r"[^A-Z0-9]+")


def brokerage_code(code: str) -> str:
    """Name a refusal by the brokerage: `BROKERAGE_` and its own code in upper case, so `PARAM_ERROR`, `400` and the like.

    Whatever is neither letter nor digit becomes one underscore, so the same refusal has the same name for ever.
    """
    name = _not_a_name.sub("_", code.upper()).strip("_")[:_BROKERAGE_CODE_MAX]
    return BROKERAGE_PREFIX + (name or "UNNAMED")


def as_markdown() -> str:
    """Write the table that is `docs/codes.md`."""
    lines = [
        "# Error codes",
        "",
        "Made from `schemas/codes.py` by `python -m schemas.export`; a test keeps it current.",
        "`error.field` names the field to blame as a dotted path from the root, or is null.",
        "A rejected command has used its id. What to do:",
        "",
        *(f"- {advice.value}" for advice in Advice),
        "",
        "| code | origin | meaning | what to do |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{code}` | {about.origin} | {about.meaning} | {about.advice.partition(':')[0]} |"
        for code, about in ABOUT.items()
    ]
    lines.append(
        f"| `{BROKERAGE_PREFIX}…` | brokerage | The brokerage refused; the rest is its own code in upper case"
        " (`BROKERAGE_PARAM_ERROR`, `BROKERAGE_STOCK_NOT_EXISTS`, `BROKERAGE_400`), `error.message` its own words. "
        f"| {Advice.NEW_ID.partition(':')[0]} |"
    )
    lines += [
        "",
        "## No outcome",
        "",
        "Each command whose identity can be read gets exactly one terminal outcome. Where none comes:",
        "",
        "| what there is instead | meaning | what to do |",
        "|---|---|---|",
        *(f"| {what} | {meaning} | {advice.partition(':')[0]} |" for what, meaning, advice in WITHOUT_OUTCOME),
    ]
    return "\n".join(lines) + "\n"
