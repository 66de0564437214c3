"""What is fired, cancelled, held and paused, step by step, as the command line says it."""

import json
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, OpenDesk
from tests.support.quickest import quickest_s
from worker.errors import PartUnavailableError, RefusedByGuardError
from worker.ledger.verdicts import NotSent, Refused
from worker.operate.brake import By
from worker.operate.fire import fire
from worker.store import engine as engine_module
from worker.store.accounts import list_accounts
from worker.store.brakes import read_brakes
from worker.store.conclude import STILL_AT_WORK
from worker.store.engine import create_engine, transaction
from worker.timers.due import wake_due

WHY = ("--reason", "looked into", "--yes")
NOBODY = str(UUID(int=7))
FAILED = Refused("FAILED", "cannot be ended", "inner_code_final")
UNSENT = NotSent("connect_before_send", "refused connection")


async def timer(desk: Desk) -> dict[str, object]:
    return await desk.one("SELECT state, due_at, wake_at, fired_at FROM timers")


class TestFire:
    @pytest.mark.prints("timers fire")
    async def test_an_adjustment_fired_before_its_hour_ends_by_command_by_that_person(self, desk: Desk) -> None:
        command_id = await desk.booked()
        done = await desk.cli("timers", "fire", str(command_id), *WHY)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["early"] is True
        assert (await desk.answer(DONE)).kind == "expiry"
        told = await desk.last(command_id)
        assert (told["type"], told["result"]["ended_by"], told["result"]["basis"], told["decided_by"]) == (
            "temp_adjustment.expired", "command", "person", "ann",
        )  # fmt: skip
        assert (await desk.one("SELECT action, subject FROM audit")) == {
            "action": "timers.fire",
            "subject": str(command_id),
        }
        assert (await desk.cli("timers", "fire", str(command_id), *WHY)).returncode == 5
        assert (await desk.cli("timers", "fire", NOBODY, *WHY)).returncode == 3

    async def test_failed_before_the_hour_is_no_end_and_the_timer_goes_back_to_its_hour(self, desk: Desk) -> None:
        command_id = await desk.booked()
        await fire(desk.engine, command_id, By("ann", "why"))
        await desk.answer(FAILED)
        found = await timer(desk)
        assert (found["state"], found["wake_at"], found["fired_at"]) == ("armed", found["due_at"], None)
        assert (await wake_due(desk.engine))[0] == 0
        await fire(desk.engine, command_id, By("bob", "again"))
        await desk.answer(DONE)
        assert (await desk.last(command_id))["decided_by"] == "bob"

    async def test_a_failed_before_the_hour_says_nothing_of_the_brokerages_own_sweep(self, open_desk: OpenDesk) -> None:
        desk = open_desk(LEDGER_SWEEP_GRACE_S="0")
        command_id = await desk.booked()
        await fire(desk.engine, command_id, By("ann", "why"))
        await desk.answer(FAILED)
        await desk.lapse(command_id)
        await desk.do("UPDATE attempts SET opened_at = now() - interval '1 h', reported_at = now() - interval '1 h'")
        await desk.answer(FAILED)
        assert (await timer(desk))["state"] == "armed", "one FAILED since the hour is not two"

    async def test_a_doubt_about_it_is_asked_again_before_the_hour(self, desk: Desk) -> None:
        command_id = await desk.booked()
        await fire(desk.engine, command_id, By("ann", "why"))
        await desk.answer(TIMEOUT)
        early = "SELECT state, wake_at < due_at AS early, fired_at IS NOT NULL AS fired FROM timers"
        assert await desk.one(early) == {"state": "armed", "early": True, "fired": True}
        await desk.ten_seconds_pass()
        await desk.do("UPDATE timers SET wake_at = now(), fired_at = fired_at - interval '10 s'")
        assert (await wake_due(desk.engine))[0] == 1
        await desk.answer(DONE)
        assert (await desk.last(command_id))["result"]["ended_by"] == "command"

    async def test_one_whose_hour_has_come_ends_by_the_timer(self, desk: Desk) -> None:
        command_id = await desk.booked()
        await desk.lapse(command_id)
        await desk.do("UPDATE timers SET state = 'armed'")
        await fire(desk.engine, command_id, By("ann", "why"))
        await desk.answer(DONE)
        assert (await desk.last(command_id))["result"]["ended_by"] == "timer"

    async def test_it_is_refused_while_a_call_is_under_way_or_due(self, desk: Desk) -> None:
        command_id = await desk.booked()
        await fire(desk.engine, command_id, By("ann", "why"))
        with pytest.raises(RefusedByGuardError, match="next turn"):
            await fire(desk.engine, command_id, By("bob", "too"))
        await desk.claim()
        with pytest.raises(RefusedByGuardError, match="under way"):
            await fire(desk.engine, command_id, By("bob", "too"))

    async def test_while_expiries_are_paused_it_waits_and_is_not_forgotten(self, desk: Desk) -> None:
        command_id = await desk.booked()
        paused = await desk.cli("pause", "--operation", "temp.expire", *WHY)
        assert json.loads(paused.stdout)["expiries_due"] == {"now": 0, "within_the_hour": 1}
        told = await desk.cli("timers", "fire", str(command_id), "--reason", "why")
        assert "paused" in told.stderr
        await fire(desk.engine, command_id, By("ann", "why"))
        await desk.claim_nothing()
        assert (await wake_due(desk.engine)) == (0, None)
        assert (await desk.cli("resume", "--operation", "temp.expire", *WHY)).returncode == 0
        assert (await wake_due(desk.engine))[0] == 1
        await desk.answer(DONE)
        assert (await desk.last(command_id))["result"]["basis"] == "person"


class TestCancel:
    @pytest.mark.prints("commands cancel")
    async def test_what_may_have_left_is_not_cancelled_and_the_exit_says_so(self, open_desk: OpenDesk) -> None:
        desk = open_desk(LEDGER_WHALE_KEY_LIFE_S="600")
        doubted = await desk.send("cash.freeze")
        await desk.answer(TIMEOUT)
        waits = [await desk.send("cash.freeze") for _ in range(3)]
        assert (await desk.cli("commands", "cancel", str(doubted), *WHY)).returncode == 5
        assert (await desk.cli("commands", "cancel", NOBODY, *WHY)).returncode == 3
        some = await desk.cli("commands", "cancel", str(waits[1]), NOBODY, *WHY)
        assert some.returncode == 4
        assert "no command has this id" in some.stdout
        partly = await desk.cli("commands", "cancel", "--account", desk.account_no, *WHY, "--output", "json")
        assert partly.returncode == 4
        assert {one["command_id"]: one["cancelled"] for one in json.loads(partly.stdout)} == {
            str(doubted): False,
            str(waits[0]): True,
            str(waits[2]): True,
        }
        assert [await desk.state(one) for one in (doubted, *waits)] == ["in_doubt", *["rejected"] * 3]
        await desk.ten_seconds_pass()
        assert (await desk.answer(DONE)).command.command_id == doubted
        assert (await desk.one("SELECT state FROM lanes"))["state"] == "idle"
        assert (await desk.cli("commands", "cancel", "--account", desk.account_no, *WHY)).returncode == 3
        await desk.gapless()

    async def test_a_head_that_was_not_sent_and_waits_frees_its_lane_at_once(self, desk: Desk) -> None:
        head, behind = await desk.send("cash.freeze"), await desk.send("cash.freeze")
        await desk.answer(UNSENT)
        assert (await desk.one("SELECT state FROM lanes"))["state"] == "held"
        assert (await desk.cli("commands", "cancel", str(head), *WHY)).returncode == 0
        assert (await desk.claim()).command.command_id == behind

    async def test_the_wait_for_a_late_effect_of_the_command_before_outlives_a_cancelled_head(self, desk: Desk) -> None:
        head, _ = await desk.send("cash.freeze"), await desk.send("cash.freeze")
        given = {"why": STILL_AT_WORK, "a": desk.account_no}
        await desk.do(
            "UPDATE lanes SET state = 'held', ready_at = NULL, wake_at = now() + interval '1 min', hold_reason = :why "
            "WHERE account_no = :a",
            **given,
        )
        held = await desk.one("SELECT state, hold_reason, wake_at FROM lanes")
        assert (await desk.cli("commands", "cancel", str(head), *WHY)).returncode == 0
        assert await desk.one("SELECT state, hold_reason, wake_at FROM lanes") == held
        await desk.claim_nothing()

    async def test_a_person_s_resend_has_left_before_and_is_not_cancelled(self, desk: Desk) -> None:
        command_id = await desk.parked("temp.adjust")
        resent = await desk.cli("in-doubt", "resolve", str(command_id), "--not-applied", "--resend", *WHY)
        assert resent.returncode == 0, resent.stderr
        assert await desk.state(command_id) == "queued"
        assert (await desk.cli("commands", "cancel", str(command_id), *WHY)).returncode == 5

    async def test_without_ids_or_with_both_forms_it_is_a_usage_error(self, desk: Desk) -> None:
        for arguments in ((), (NOBODY, "--account", "H1")):
            assert (await desk.cli("commands", "cancel", *arguments, *WHY)).returncode == 2


@pytest.mark.prints("accounts list", "accounts hold", "accounts release")
async def test_a_held_account_is_listed_shown_and_let_go_and_all_of_it_is_in_the_audit(desk: Desk) -> None:
    assert (await desk.cli("accounts", "release", desk.account_no, *WHY)).returncode == 3
    assert (await desk.cli("accounts", "hold", desk.account_no, "--reason", "why")).returncode == 5
    assert (await desk.cli("accounts", "hold", desk.account_no, *WHY)).returncode == 0
    assert (await desk.cli("accounts", "hold", desk.account_no, *WHY)).returncode == 5
    await desk.send("cash.freeze")
    await desk.claim_nothing()
    [listed] = await desk.cli_json("accounts", "list", "--held")
    assert (listed["account_no"], listed["held_by"], listed["waiting"]) == (desk.account_no, "ann", 1)
    shown = await desk.cli_json("accounts", "show", desk.account_no)
    assert shown["hold_reason"] == f"account {desk.account_no} is held: looked into"
    doctor = await desk.cli("doctor", "--output", "json")
    brake = {one["check"]: one for one in json.loads(doctor.stdout)}["brake"]
    assert (brake["ok"], brake["says"]) == (True, "nothing is paused; 1 accounts are held")
    assert (await desk.cli("accounts", "release", desk.account_no, *WHY)).returncode == 0
    await desk.answer(DONE)
    actions = await desk.rows("SELECT action, actor FROM audit ORDER BY recorded_at")
    assert [(one["action"], one["actor"]) for one in actions] == [("accounts.hold", "ann"), ("accounts.release", "ann")]
    assert (await desk.cli("accounts", "show", "NOBODY")).returncode == 3
    assert (await desk.cli("accounts", "hold", "no account", *WHY)).returncode == 2


async def test_accounts_are_listed_page_by_page_at_any_number_of_them(desk: Desk) -> None:
    await desk.do("INSERT INTO lanes (account_no) SELECT 'A' || i FROM generate_series(100001, 200000) i")
    await desk.do("INSERT INTO brakes (kind, subject, set_by, reason) VALUES ('account', 'A100002x', 'ann', 'why')")
    assert await quickest_s(desk.engine, lambda c: list_accounts(c, held=False, after="", limit=101)) < 1
    first = await desk.cli_json("accounts", "list", "--limit", "2")
    second = await desk.cli_json("accounts", "list", "--limit", "2", "--after", first[-1]["account_no"])
    assert [one["account_no"] for one in first + second] == ["A100001", "A100002", "A100002x", "A100003"]
    assert [one["held"] for one in first + second] == [False, False, True, False]


async def test_a_pause_that_a_worker_set_is_lifted_by_a_person_like_any_other(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_OPEN_DOUBTS_MAX="0", LEDGER_WHALE_KEY_LIFE_S="600")
    await desk.send("cash.freeze")
    await desk.answer(TIMEOUT)
    other = open_desk(LEDGER_OPEN_DOUBTS_MAX="0")
    await other.send("cash.freeze")
    await other.claim_nothing()
    [listed] = await desk.cli_json("pause", "--list")
    assert (listed["subject"], listed["by"], listed["lanes_waiting"]) == ("cash.freeze", "ledger-worker", 1)
    assert (listed["kind"], listed["operation"]) == ("operation", "cash.freeze")
    lifted = json.loads((await desk.cli("resume", "--operation", "cash.freeze", *WHY)).stdout)
    assert (lifted["kind"], lifted["operation"], lifted["lanes_woken"]) == ("operation", "cash.freeze", 1)
    assert (await other.claim()).command.account_no == other.account_no


@pytest.mark.parametrize(
    "arguments",
    [
        ("pause", "--operation", "no.such", *WHY),
        ("pause", "--topic", "t", *WHY),
        ("pause", "--operation", "cash.freeze", "--topic", "t", "--partition", "0", *WHY),
        ("pause", "--yes"),
        ("resume", "--yes"),
    ],
)
async def test_what_a_pause_cannot_mean_is_a_usage_error(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert (await desk.cli(*arguments)).returncode == 2


async def test_what_a_frozen_claim_keeps_locked_is_waited_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres ends the database transaction of a worker that stands still; a person's command waits for that."""
    monkeypatch.setattr(engine_module, "LOCK_TIMEOUT_MS", 100)
    monkeypatch.setattr(engine_module, "IDLE_IN_TRANSACTION_TIMEOUT_MS", 1000)
    assert (await desk.cli("pause", *WHY)).returncode == 0
    worker = create_engine(desk.env["LEDGER_DATABASE_URL"])

    async def stand_still() -> None:
        async with transaction(worker) as frozen:
            assert (await read_brakes(frozen, [])).found
            done = await desk.cli("resume", *WHY)
            assert done.returncode == 0, done.stderr
            await read_brakes(frozen, [])  # it goes on, and finds that its database transaction is over

    async def wait_in_vain() -> None:
        async with transaction(desk.engine) as other, transaction(worker) as claim:
            await other.execute(text("LOCK TABLE lanes"))
            await claim.execute(text("LOCK TABLE lanes"))

    with pytest.raises(PartUnavailableError, match="idle-in-transaction timeout"):
        await stand_still()
    with pytest.raises(PartUnavailableError, match="somebody else keeps what must be locked"):
        await wait_in_vain()
    await worker.dispose()
