"""A lane is one account's queue; these are its states.

    idle ──a command, a due expiry──► ready ──claim──► leased ──finish──► idle, ready or held
                                        ▲                 │
                                        │                 └── lease ran out: reclaim ──► held (in doubt)
                                        └──── wake_at ──── held (why, until)

A due expiry is the next turn of a lane even while a command holds it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class LaneState(StrEnum):
    """Where a lane is between two turns."""

    IDLE = "idle"
    READY = "ready"
    LEASED = "leased"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Rest:
    """How a lane waits for its next turn; `wake_at` is set when it is held."""

    state: LaneState
    urgent: bool
    wake_at: datetime | None


def rest(
    *, expiry_due: bool, hold_until: datetime | None, hold_urgent: bool, has_head: bool, head_urgent: bool, now: datetime
) -> Rest:
    """Say how a lane rests after a turn.

    `hold_until` is when its head command may go on; `has_head` whether a command waits in it at all.
    """
    held = hold_until is not None and hold_until > now
    if expiry_due:
        return Rest(LaneState.READY, urgent=True, wake_at=hold_until if held else None)
    if held:
        return Rest(LaneState.HELD, urgent=hold_urgent, wake_at=hold_until)
    if has_head:
        return Rest(LaneState.READY, urgent=head_urgent or (hold_until is not None and hold_urgent), wake_at=None)
    return Rest(LaneState.IDLE, urgent=False, wake_at=None)
