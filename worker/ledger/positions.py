"""How far each partition of a command topic is stored, and whether what Kafka shows is still the topic we read."""

from dataclasses import dataclass
from enum import StrEnum

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Position:
    """One row of intake's progress: `next_offset` is the first offset that is not stored.

    `last_offset` and `last_digest` name the last stored record; both are None where none was stored in this epoch.
    `stopped_reason` is one sentence, where a person or the quarantine stopped this partition.
    """

    next_offset: int
    last_offset: int | None = None
    last_digest: bytes | None = None
    epoch: int = 0
    stopped_reason: str | None = None


class ReasonKind(StrEnum):
    """Why a partition is not read."""

    STOPPED = "stopped"  # until `resume`
    RANGE_LOST = "range_lost"  # until `topics adopt`
    NOT_THE_SAME_TOPIC = "not_the_same_topic"  # until `topics adopt`
    UNREADABLE = "unreadable"  # a record batch is damaged; tried again
    NOT_ALLOWED = "not_allowed"  # Kafka does not let this user read it; tried again


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a partition is not read, with one sentence for a person."""

    kind: ReasonKind
    sentence: str


def last_is_kept(position: Position, log_start: int, log_end: int) -> bool:
    """Tell whether the last stored record must still be in the log, so that its digest can be compared."""
    return position.last_offset is not None and log_start <= position.last_offset < log_end


def judge_position(
    position: Position | None, log_start: int, log_end: int, digest: bytes | None, name: str = "the partition"
) -> Reason | None:
    """Return why reading must not go on from `position`, or None if it may.

    `digest` is that of the record now at `position.last_offset`, None where no such record was found; it counts only
    where `last_is_kept`. `name` goes into the sentence. A position of None was never read and is always in order.
    """
    if position is None:
        return None
    if position.stopped_reason is not None:
        return Reason(ReasonKind.STOPPED, f"intake of {name} is stopped: {position.stopped_reason}")
    if log_start > position.next_offset:
        lost = f"offsets {position.next_offset} to {log_start - 1} of {name} were removed before they were read"
        return Reason(ReasonKind.RANGE_LOST, f"{lost}; `ledger-worker topics adopt` accepts that")
    if log_end < position.next_offset:
        told = f"{name} ends at offset {log_end} but was read up to {position.next_offset}"
        return Reason(ReasonKind.NOT_THE_SAME_TOPIC, _not_the_same(told))
    if last_is_kept(position, log_start, log_end) and digest != position.last_digest:
        told = f"offset {position.last_offset} of {name} does not hold the record that was stored from there"
        return Reason(ReasonKind.NOT_THE_SAME_TOPIC, _not_the_same(told))
    return None


def _not_the_same(told: str) -> str:
    return f"{told}: not the same topic; `ledger-worker topics adopt` accepts that"
