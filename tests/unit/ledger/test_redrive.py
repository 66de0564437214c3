"""What would become of a dead letter that is put back."""

from uuid import UUID

import pytest

from tests import factories
from worker.ledger.commands import Command, Malformed, Refusal
from worker.ledger.redrive import IdUse, Judged, Would, foresee
from worker.pipeline.check import check

MALFORMED = Malformed("MALFORMED", "the value is empty")


def judged(**changes: object) -> Command:
    found = check(factories.record(factories.command("cash.adjust", **changes)), factories.TOPIC_TYPES)
    assert isinstance(found, Command)
    return found


def refused(**changes: object) -> Refusal:
    wrong = factories.command("cash.adjust", payload=factories.payload("cash.adjust", amount=5), **changes)
    found = check(factories.record(wrong), factories.TOPIC_TYPES)
    assert isinstance(found, Refusal)
    return found


def used(by: Command | Refusal, verdict: str | None = None) -> dict[UUID, IdUse]:
    return {by.command_id: IdUse(by.account_no, by.content_hash, verdict)}


COMMAND, REFUSED = judged(), refused()
OTHER = judged(command_id=factories.EARLIER_ID)
ELSEWHERE = {COMMAND.command_id: IdUse("H9", COMMAND.content_hash, None)}


@pytest.mark.parametrize(
    ("now", "uses", "would"),
    [
        (COMMAND, {}, Would.ACCEPTED),
        (REFUSED, {}, Would.REFUSED),
        (MALFORMED, {}, Would.MALFORMED),
        (COMMAND, used(COMMAND), Would.DUPLICATE),
        (COMMAND, used(COMMAND, "succeeded"), Would.ENDED),
        (REFUSED, used(REFUSED, "rejected"), Would.ENDED),
        (COMMAND, used(REFUSED, "rejected"), Would.CONFLICT),
        (COMMAND, ELSEWHERE, Would.CONFLICT),
    ],
)
def test_as_it_was_read(now: Judged, uses: dict[UUID, IdUse], would: Would) -> None:
    assert foresee(taken=False, judged=now, uses=uses).would is would
    assert foresee(taken=True, judged=now, uses=uses).would is Would.TAKEN
    assert foresee(taken=False, judged=now, uses=uses, forgotten="put back").would is Would.FORGOTTEN


@pytest.mark.parametrize(
    ("was", "now", "uses", "would"),
    [
        (MALFORMED, COMMAND, {}, Would.ACCEPTED),
        (REFUSED, OTHER, used(REFUSED, "rejected"), Would.ACCEPTED),
        (REFUSED, COMMAND, used(REFUSED, "rejected"), Would.CONFLICT),
        (REFUSED, COMMAND, {}, Would.ACCEPTED),
        (COMMAND, OTHER, {}, Would.CONFLICT),
        (MALFORMED, COMMAND, used(COMMAND), Would.CONFLICT),
        (MALFORMED, MALFORMED, {}, Would.MALFORMED),
        (MALFORMED, REFUSED, {}, Would.REFUSED),
    ],
)
def test_edited(was: Judged, now: Judged, uses: dict[UUID, IdUse], would: Would) -> None:
    assert foresee(taken=False, judged=now, uses=uses, edited_from=was).would is would
    assert foresee(taken=False, judged=now, uses=uses, edited_from=was, forgotten="x").would is Would.FORGOTTEN
