"""What a dead letter would become if it were put back now: decided from its judgement of today and what its id stands for."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, assert_never
from uuid import UUID

from worker.ledger.commands import Command, Malformed, Refusal

Judged = Command | Refusal | Malformed
TAKEN = ("accepted", "duplicate")
"""What a record is that was taken."""


class Would(StrEnum):
    """What would become of it."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    MALFORMED = "malformed"
    QUARANTINED = "quarantined"  # nobody foresees it: the database refuses the record again
    ENDED = "ended"
    CONFLICT = "conflict"
    TAKEN = "taken"
    FORGOTTEN = "forgotten"
    OTHER_TOPIC = "other_topic"
    REDACTED = "redacted"
    DONE = "done"


GUARDED = frozenset({Would.ENDED, Would.CONFLICT, Would.TAKEN, Would.FORGOTTEN, Would.OTHER_TOPIC, Would.REDACTED})
"""What the guard refuses: nothing of it is changed."""
BACK = frozenset({Would.REFUSED, Would.MALFORMED, Would.QUARANTINED})
"""What would be a dead letter again."""


class IdUse(NamedTuple):
    """What a command id stands for already; `verdict` is None while its command is unfinished."""

    account_no: str
    content_hash: bytes
    verdict: str | None


class Foreseen(NamedTuple):
    """What would become of a dead letter, and why."""

    would: Would
    why: str


def foresee(
    *,
    taken: bool,
    judged: Judged,
    uses: Mapping[UUID, IdUse],
    edited_from: Judged | None = None,
    forgotten: str | None = None,
) -> Foreseen:
    """Say what a record that was not taken would become; `uses` says what ids stand for already.

    `forgotten` says who put it back before the database was restored: it may have been sent, under whichever id.

    `edited_from` is the judgement of what was read, where `judged` is that of a person's edit: it must be right, under
    the record's own id while nothing has used that, else under one that nothing has used.
    """
    if taken:
        return Foreseen(Would.TAKEN, "it was taken already")
    if forgotten is not None:
        told = "before the database was restored, which has forgotten it: it may have been sent"
        return Foreseen(Would.FORGOTTEN, f"{forgotten}, {told}; see the runbook of a restored database")
    match judged:
        case Malformed():
            return Foreseen(Would.MALFORMED, judged.message)
        case Command() | Refusal():
            use = uses.get(judged.command_id)
            return _identified(judged, use) if edited_from is None else _edited(judged, use, edited_from, uses)
        case _:
            assert_never(judged)


def _identified(judged: Command | Refusal, use: IdUse | None) -> Foreseen:
    if use is None:
        if isinstance(judged, Refusal):
            return Foreseen(Would.REFUSED, f"{judged.code}: {judged.message}")
        return Foreseen(Would.ACCEPTED, f"{judged.command_type} of account {judged.account_no}")
    name = f"command_id {judged.command_id}"
    if (use.account_no, use.content_hash) != (judged.account_no, judged.content_hash):
        return Foreseen(Would.CONFLICT, f"{name} was used before with other content; edit it under a new id")
    if use.verdict is not None:
        return Foreseen(Would.ENDED, f"{name} has its terminal outcome, {use.verdict}; edit it under a new id")
    return Foreseen(Would.DUPLICATE, f"{name} is the same command, unfinished")


def _edited(judged: Command | Refusal, use: IdUse | None, edited_from: Judged, uses: Mapping[UUID, IdUse]) -> Foreseen:
    if use is not None:
        return Foreseen(Would.CONFLICT, f"command_id {judged.command_id} is used already; give it a new one")
    if not isinstance(edited_from, Malformed):
        own = edited_from.command_id
        if own != judged.command_id and own not in uses:
            return Foreseen(Would.CONFLICT, f"nothing has used its own command_id {own}; keep that one")
    return _identified(judged, use)
