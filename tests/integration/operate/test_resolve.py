"""A person's decision about a doubt: every form, every refusal, and what follows in the lane."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, OpenDesk
from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.decide import SIGNATURE_ALONE, Known
from worker.ledger.verdicts import Confirmed, InDoubt, NotSent, Numbers, Refused
from worker.operate.resolve import Applied, NotApplied, Said, preview, resolve
from worker.store.engine import transaction
from worker.store.listings import list_doubts
from worker.timers.resolve import tell_doubts

UNSIGNED = NotSent(SIGNATURE_ALONE, "the signature of this command alone is refused")
POOR = Refused("INSUFFICIENT", "not enough", "http_400_envelope")


async def say(
    desk: Desk, command_id: UUID, answer: Applied | NotApplied, *, expiry: bool = False, actor: str = "ann"
) -> Any:
    return await resolve(desk.engine, desk.settings, Said(command_id, answer, actor, "seen in the back office", expiry))


async def test_applied_with_its_number_succeeds_books_the_adjustment_and_arms_its_timer(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    await say(desk, command_id, Applied("TA77"))
    told = await desk.last(command_id)
    assert told["type"] == "command.succeeded"
    assert told["decided_by"] == "ann"
    assert told["result"]["adjust_no"] == "TA77"
    assert told["result"]["basis"] == "person"
    timer = await desk.one("SELECT * FROM timers WHERE command_id = :id", id=command_id)
    booked = await desk.one("SELECT * FROM temp_adjustments WHERE command_id = :id", id=command_id)
    assert (timer["kind"], timer["state"], timer["due_at"]) == ("expire", "armed", booked["expires_at"])
    for table in ("parked", "doubts", "watches"):
        assert await desk.rows(f"SELECT 1 FROM {table} WHERE command_id = :id", id=command_id) == []
    await desk.gapless()


async def test_applied_without_a_number_that_can_be_had_is_watched_instead_of_ended(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    await say(desk, command_id, Applied(number_unknown=True))
    timer = await desk.one("SELECT kind, due_at = wake_at AS waits FROM timers WHERE command_id = :id", id=command_id)
    assert timer == {"kind": "watch", "waits": True}
    assert (await desk.last(command_id))["result"]["adjust_no"] is None


@pytest.mark.parametrize(("type_", "kind"), [("cash.freeze", "serial_num"), ("position.adjust", "serial_num")])
async def test_applied_without_a_number_is_refused_where_the_operation_makes_one(
    desk: Desk, type_: str, kind: str
) -> None:
    command_id = await desk.parked(type_)
    with pytest.raises(RefusedByGuardError, match=kind):
        await say(desk, command_id, Applied())
    await say(desk, command_id, Applied("SN9"))
    assert (await desk.last(command_id))["result"][kind] == "SN9"
    numbered = await desk.one("SELECT command_id FROM numbers WHERE kind = :kind AND number = 'SN9'", kind=kind)
    assert numbered["command_id"] == command_id


async def test_a_number_of_another_command_is_refused(desk: Desk) -> None:
    await desk.send("cash.freeze")
    await desk.answer(DONE)
    command_id = await desk.parked("cash.freeze")
    with pytest.raises(RefusedByGuardError, match="S1 is that of command"):
        await say(desk, command_id, Applied("S1"))
    assert await desk.state(command_id) == "parked"


async def test_an_operation_that_makes_no_number_takes_none_and_needs_none(desk: Desk) -> None:
    adjusting = await desk.booked("TA5")
    command_id = await desk.parked("temp.expire", payload={"adjust": {"command_id": str(adjusting)}})
    with pytest.raises(RefusedByGuardError, match="makes no number"):
        await say(desk, command_id, Applied("TA5"))
    await say(desk, command_id, Applied())
    assert (await desk.last(command_id))["type"] == "command.succeeded"
    ended = (await desk.outcomes(adjusting))[-1]
    assert (ended["type"], ended["result"]["ended_by"], ended["result"]["basis"], ended["decided_by"]) == (
        "temp_adjustment.expired",
        "command",
        "person",
        "ann",
    )
    assert await desk.rows("SELECT 1 FROM timers") == []
    await desk.gapless()


async def test_not_applied_ends_as_rejected_and_clears_the_call(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    await say(desk, command_id, NotApplied())
    told = await desk.last(command_id)
    assert told["type"] == "command.rejected"
    assert (told["error"]["code"], told["error"]["origin"]) == ("NOT_APPLIED", "policy")
    assert told["decided_by"] == "ann"
    assert await desk.known(command_id) == [Known.CLEARED]
    assert await desk.rows("SELECT 1 FROM temp_adjustments") == []
    assert await desk.rows("SELECT 1 FROM doubts") == []


async def test_a_tagged_order_that_was_judged_not_applied_is_still_looked_for(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
    command_id = await desk.send("order.place")
    await desk.answer(TIMEOUT)
    await say(desk, command_id, NotApplied())
    assert await desk.rows("SELECT command_id FROM watches") == [{"command_id": command_id}]
    lane = await desk.one("SELECT state, wake_at FROM lanes")
    assert lane == {"state": "idle", "wake_at": None}


async def test_a_resend_takes_a_place_at_the_tail_with_the_same_bytes(desk: Desk) -> None:
    command_id = await desk.parked("cash.adjust")
    waiting = await desk.send("cash.freeze")
    first = await desk.one("SELECT method, path, body FROM attempts WHERE command_id = :id", id=command_id)
    told = await say(desk, command_id, NotApplied(resend=True))
    assert told["state"] == "queued"
    assert [one["type"] for one in await desk.outcomes(command_id)] == ["command.parked"]
    assert (await desk.answer(DONE)).command.command_id == waiting
    turn = await desk.claim()
    assert (turn.command.command_id, turn.number) == (command_id, 2)
    assert turn.request is not None
    assert {"method": turn.request.method, "path": turn.request.path, "body": turn.request.body} == first
    assert json.loads(turn.request.body)["request_id"] == str(command_id)
    await desk.finish(turn, Confirmed(Numbers(serial_num="S2"), "inner_success"))
    assert (await desk.last(command_id))["result"]["serial_num"] == "S2"
    await desk.gapless()


async def test_a_resend_is_not_rejected_for_what_was_refused_before_it(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
    command_id = await desk.send("cash.adjust")
    await desk.answer(TIMEOUT)
    await desk.ten_seconds_pass()
    await desk.answer(POOR)
    assert await desk.state(command_id) == "in_doubt"
    await say(desk, command_id, NotApplied(resend=True))
    assert await desk.known(command_id) == [Known.CLEARED, Known.CLEARED]
    assert (await desk.answer(DONE)).number == 3
    assert await desk.state(command_id) == "succeeded"


async def test_a_resend_past_not_after_is_rejected_as_too_late(desk: Desk) -> None:
    command_id = await desk.parked("cash.adjust")
    await desk.do("UPDATE commands SET not_after = now() - interval '1 s'")
    await say(desk, command_id, NotApplied(resend=True))
    await desk.claim_nothing()
    assert (await desk.last(command_id))["error"]["code"] == "TOO_LATE"


async def test_a_resend_wakes_a_lane_that_its_own_doubt_held(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
    command_id = await desk.send("cash.adjust")
    await desk.answer(TIMEOUT)
    waiting = await desk.send("cash.freeze")
    assert (await desk.one("SELECT state FROM lanes"))["state"] == "held"
    await say(desk, command_id, NotApplied(resend=True))
    assert (await desk.answer(DONE)).command.command_id == waiting
    assert (await desk.claim()).command.command_id == command_id


async def test_a_resend_leaves_a_lane_alone_that_another_command_holds(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
    parked = await desk.parked("temp.adjust")
    await desk.send("cash.adjust")
    await desk.answer(TIMEOUT)
    before = await desk.one("SELECT state, wake_at, head_position FROM lanes")
    await say(desk, parked, NotApplied(resend=True))
    assert await desk.one("SELECT state, wake_at, head_position FROM lanes") == before
    assert before["state"] == "held"


async def test_nothing_is_decided_while_a_call_is_under_way(desk: Desk) -> None:
    command_id = await desk.send("temp.adjust")
    turn = await desk.claim()
    with pytest.raises(RefusedByGuardError, match="under way"):
        await say(desk, command_id, NotApplied())
    await desk.finish(turn, TIMEOUT)
    await say(desk, command_id, NotApplied())


async def test_nothing_is_decided_while_a_call_may_still_take_effect(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_LATE_APPLY_S="60")
    command_id = await desk.send("temp.adjust")
    await desk.answer(TIMEOUT)
    with pytest.raises(RefusedByGuardError, match="may still take effect until"):
        await say(desk, command_id, Applied("TA1"))
    await desk.do("UPDATE attempts SET horizon_at = now()")
    await say(desk, command_id, Applied("TA1"))
    assert await desk.state(command_id) == "succeeded"


async def test_where_nothing_is_in_doubt_nothing_is_decided(desk: Desk) -> None:
    done = await desk.booked()
    queued = await desk.send("cash.adjust")
    for command_id, told in ((done, "is succeeded already"), (queued, "nothing of cash.adjust")):
        with pytest.raises(RefusedByGuardError, match=told):
            await say(desk, command_id, NotApplied())
    with pytest.raises(NothingMatchedError):
        await say(desk, clock.new_id(), NotApplied())


async def test_of_two_persons_at_once_one_decides_and_the_other_is_told_who(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    said = [
        say(desk, command_id, Applied("TA1"), actor="ann"),
        say(desk, command_id, NotApplied(), actor="ben"),
    ]
    one, other = await asyncio.gather(*said, return_exceptions=True)
    winner, loser = (one, other) if isinstance(one, dict) else (other, one)
    assert isinstance(loser, RefusedByGuardError)
    assert f"{winner['decided_by']} decided" in str(loser)
    kinds = [told["type"] for told in await desk.outcomes(command_id)]
    assert len([kind for kind in kinds if kind in ("command.succeeded", "command.rejected")]) == 1
    assert len(await desk.rows("SELECT 1 FROM audit")) == 1
    await desk.gapless()


async def test_a_decision_is_evidence_and_audit_in_one(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    await say(desk, command_id, Applied("TA1"))
    noted = await desk.one("SELECT kind, actor, reason, detail FROM evidence")
    assert (noted["kind"], noted["actor"], noted["reason"]) == ("person", "ann", "seen in the back office")
    audit = await desk.one("SELECT * FROM audit")
    value = json.loads(bytes(audit["value"]))
    assert (value["action"], value["subject"], value["after"]["state"]) == (
        "in-doubt.resolve",
        str(command_id),
        "succeeded",
    )
    assert value["before"]["state"] == "parked"
    assert value["recorded_at"].endswith("Z")
    published = await desk.rows("SELECT ref_id FROM outbox WHERE kind = 'audit'")
    assert published == [{"ref_id": audit["audit_id"]}]


async def test_a_late_answer_after_a_verdict_by_a_person_corrects_it(desk: Desk) -> None:
    command_id = await desk.send("temp.adjust")
    turn = await desk.claim()
    await desk.do("UPDATE attempts SET known = 'in_doubt', rule = 'owner_silent', horizon_at = now()")
    await desk.do("UPDATE commands SET state = 'in_doubt'")
    await desk.do(
        "UPDATE lanes SET state = 'ready', owner = NULL, lease_until = NULL, ready_at = now(), fence = fence + 1"
    )
    await say(desk, command_id, NotApplied())
    await desk.finish(turn, Confirmed(Numbers(adjust_no="TA9"), "adjust_no"))
    told = await desk.last(command_id)
    assert told["type"] == "command.corrected"
    assert told["result"]["adjust_no"] == "TA9"
    assert len(await desk.rows("SELECT 1 FROM timers WHERE kind = 'expire'")) == 1
    await desk.gapless()


@pytest.mark.parametrize("type_", ["temp.adjust", "cash.adjust"])
@pytest.mark.parametrize("found", [TIMEOUT, UNSIGNED, POOR], ids=["no answer", "signature refused", "refused"])
async def test_a_silent_owner_that_comes_back_does_not_undo_a_persons_resend(
    desk: Desk, type_: str, found: InDoubt | NotSent | Refused
) -> None:
    command_id = await desk.send(type_)
    turn = await desk.claim()
    await desk.falls_silent()
    await say(desk, command_id, NotApplied(resend=True))
    await desk.finish(turn, found)
    assert [told["type"] for told in await desk.outcomes(command_id)] == ["command.parked"]
    assert await desk.state(command_id) == "queued"
    assert await desk.known(command_id) == [Known.CLEARED]
    told = await desk.one("SELECT rule, http_status, trace_id FROM attempts WHERE command_id = :id", id=command_id)
    assert told == {"rule": found.rule, "http_status": 200, "trace_id": "trace-1"}
    assert (await desk.answer(TIMEOUT)).number == 2
    parked = await desk.outcomes(command_id)
    assert [told["type"] for told in parked] == ["command.parked", "command.parked"]
    assert [told["attempts"] for told in parked] == [1, 2]
    assert parked[0]["event_id"] != parked[1]["event_id"]
    await desk.gapless()


async def test_an_owner_that_comes_back_without_an_answer_does_not_undo_a_persons_word_about_an_expiry(
    desk: Desk,
) -> None:
    command_id = await desk.booked()
    await desk.lapse(command_id)
    turn = await desk.claim()
    await desk.falls_silent()
    assert await tell_doubts(desk.engine, desk.settings) == 1
    await say(desk, command_id, NotApplied(), expiry=True)
    await desk.finish(turn, TIMEOUT)
    assert await desk.known(command_id, "expiry") == [Known.CLEARED]
    assert await desk.rows("SELECT 1 FROM doubts") == []
    assert await tell_doubts(desk.engine, desk.settings) == 0
    await desk.gapless()


async def test_an_expiry_that_was_applied_ends_the_adjustment_by_the_timer(desk: Desk) -> None:
    command_id = await desk.expiry_in_doubt()
    await say(desk, command_id, Applied(), expiry=True)
    told = await desk.last(command_id)
    assert told["type"] == "temp_adjustment.expired"
    assert (told["result"]["ended_by"], told["result"]["basis"], told["decided_by"]) == ("timer", "person", "ann")
    assert await desk.rows("SELECT 1 FROM timers") == []
    assert await desk.rows("SELECT 1 FROM doubts") == []
    with pytest.raises(RefusedByGuardError, match=r"is over, ended by timer; ann decided applied"):
        await say(desk, command_id, Applied(), expiry=True)
    await desk.gapless()


async def test_an_expiry_that_was_not_applied_is_tried_again_at_once(desk: Desk) -> None:
    command_id = await desk.expiry_in_doubt()
    await say(desk, command_id, NotApplied(), expiry=True)
    assert await desk.known(command_id, "expiry") == [Known.CLEARED]
    assert await desk.rows("SELECT 1 FROM doubts") == []
    await desk.lapse(command_id)
    turn = await desk.answer(Confirmed(Numbers(), "inner_success"))
    assert (turn.kind, turn.number) == ("expiry", 2)
    assert (await desk.last(command_id))["result"]["ended_by"] == "timer"


async def test_an_expiry_is_not_decided_while_it_is_asked_for(desk: Desk) -> None:
    command_id = await desk.booked()
    await desk.lapse(command_id)
    turn = await desk.claim()
    with pytest.raises(RefusedByGuardError, match="under way"):
        await say(desk, command_id, Applied(), expiry=True)
    await desk.finish(turn, TIMEOUT)
    with pytest.raises(RefusedByGuardError, match="is succeeded already"):
        await say(desk, command_id, NotApplied())


async def test_a_preview_changes_nothing(desk: Desk) -> None:
    command_id = await desk.parked("temp.adjust")
    told = await preview(desk.engine, desk.settings, Said(command_id, Applied("TA1"), "ann", "why"))
    assert "ends as succeeded with TA1, and a timer is armed" in told
    assert await desk.state(command_id) == "parked"


async def test_what_may_be_decided_from_when_on_is_listed(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_LATE_APPLY_S="60")
    command_id = await desk.send("temp.adjust")
    await desk.answer(TIMEOUT)
    async with transaction(desk.engine) as connection:
        [doubt] = await list_doubts(connection, account_no=desk.account_no, limit=5)
        assert await list_doubts(connection, account_no="H1", limit=5) == []
    assert doubt["command_id"] == command_id
    assert doubt["since_at"] < doubt["decidable_at"]
    assert doubt["parked_at"] is None
