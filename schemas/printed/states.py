"""The words for states that are printed; a test compares each with the code's own."""

from typing import Final, get_args

from schemas.outcomes import Basis, EndedBy

COMMAND: Final = ("queued", "sending", "in_doubt", "parked", "succeeded", "rejected")
LANE: Final = ("idle", "ready", "leased", "held")
DISPOSITION: Final = ("accepted", "duplicate", "conflict", "refused", "malformed", "quarantined")
ATTEMPT: Final = ("write", "expiry", "look")
KNOWN: Final = ("open", "confirmed", "refused", "in_doubt", "not_sent", "cleared", "redriven")
SIGHT: Final = ("seen", "absent", "ended", "unreadable")
TIMER: Final = ("expire", "watch")
TIMER_STATE: Final = ("armed", "due")
ENDED_BY: Final[tuple[str, ...]] = get_args(EndedBy)
BASIS: Final[tuple[str, ...]] = get_args(Basis)
LETTER: Final = ("new", "seen", "ignored", "redriven")
WOULD: Final = (
    *("accepted", "duplicate", "refused", "malformed", "quarantined"),
    *("ended", "conflict", "taken", "forgotten", "other_topic", "redacted", "done"),
)
AGED: Final = (
    *("attempt-bodies", "record-bodies", "dead-letter-bodies", "attempts", "outcomes", "commands"),
    *("dead-letters", "new-dead-letters", "replays"),
)
OUTBOX: Final = ("outcome", "dead_letter", "audit")
STEP: Final = ("create", "configure", "add partitions", "cannot be mended")
NOT_READ: Final = ("stopped", "range_lost", "not_the_same_topic", "unreadable", "not_allowed")
CLASS: Final = (
    *("done", "in_flight", "not_yet_read", "skipped"),
    *("forgotten", "conflicting", "malformed", "too_late"),
)
PLAN: Final = ("planned", "running", "interrupted", "done")
BOOK: Final = ("cash", "freezes", "positions", "orders", "temporary")
DIFFERENCE: Final = (
    *("ours_without_theirs", "theirs_without_ours", "different_amount", "different_terms", "rejected_but_there"),
    *("in_doubt", "unfinished", "outcome_missing", "outcome_twice", "outcome_differs", "command_missing"),
    *("unpublished", "gap"),
)
SIDE: Final = ("table", "topic")
FAULT: Final = ("altered", "removed", "inserted", "forgotten")
