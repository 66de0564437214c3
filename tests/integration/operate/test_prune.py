"""What is old and done goes, once and at a rate; what is not finished or still asked for stays."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
import structlog

from tests.factories import ADJUSTMENTS_TOPIC
from tests.integration.operate.aged import OLD, WHY, counts, finished, publish, stored, years_pass
from tests.integration.operate.conftest import TIMEOUT, Desk, OpenDesk
from tests.integration.operate.typed import typed
from tests.support.runbooks import commands_of
from tests.support.waiting import wait_until_async
from tests.support.worker import CHECKOUT
from worker.app.pruning import Prunes
from worker.ledger.retention import Aged
from worker.ledger.verdicts import Refused
from worker.store.engine import transaction

COUNT = 1500
FINISHED = f"""
INSERT INTO command_ids (command_id, account_no, command_type, content_hash, hash_version, verdict, terminal_event_id)
SELECT gen_random_uuid(), 'A' || i % 50, 'cash.adjust', '', 1, 'succeeded', gen_random_uuid() FROM generate_series(1, {COUNT}) i;
INSERT INTO commands (command_id, account_no, position, command_type, urgent, payload, issued_at, topic, epoch, partition,
                      "offset", accepted_at, state, finished_at)
SELECT command_id, account_no, row_number() OVER (), command_type, false, '{{}}', now(), 't', 1, 0, 0, now() - interval '99 d',
       'succeeded', now() - interval '98 d' FROM command_ids
"""
POOR = Refused("403112", "insufficient balance", "http_400_envelope")


async def test_what_is_not_finished_or_still_asked_for_stays_to_the_last_byte(open_desk: OpenDesk) -> None:
    desk, unheard, watched, corrected, parked, lapsing, queued = (open_desk() for _ in range(7))
    doubtful = open_desk(LEDGER_LATE_APPLY_S="600")
    [silent], [seen] = await finished(unheard), await finished(watched)
    await desk.do("UPDATE attempts SET known = 'in_doubt', rule = 'owner_silent' WHERE command_id = :id", id=silent)
    await desk.do("INSERT INTO watches VALUES (:id, 'A', now(), now() + interval '11000 d', 0)", id=seen)
    contradicted = await corrected.send("cash.adjust")
    await corrected.answer(POOR)
    await desk.do("UPDATE commands SET state = 'succeeded' WHERE command_id = :id", id=contradicted)
    await parked.parked()
    in_doubt = await doubtful.send("cash.adjust")
    await doubtful.answer(TIMEOUT)
    assert await desk.state(in_doubt) == "in_doubt"
    await lapsing.booked("TA7")
    await desk.read(ADJUSTMENTS_TOPIC, b"{")
    await publish(desk)
    await finished(desk)  # not published
    await desk.do(
        "INSERT INTO replay_plans SELECT gen_random_uuid(), now(), 'ann', 't', '{}', NULL, '[]', '{}', 1, 1, 0"
    )
    await desk.do("INSERT INTO replay_runs SELECT plan_id, '', 'ann', 'why', now(), NULL, '{}', '{}' FROM replay_plans")
    await desk.do("INSERT INTO redrive_runs SELECT gen_random_uuid(), '', 'ann', 'why', now()")
    waits = await queued.send("cash.adjust")
    await years_pass(desk)
    before = await stored(desk)
    spared = ("new-dead-letters", "record-bodies")
    asked = [part for what in Aged if what not in spared for part in ("--only", what.value)]
    done = await desk.cli("prune", *asked, "--older-than", "2d", *WHY)
    assert (done.returncode, "nothing is as old" in done.stderr) == (3, True), done.stderr
    assert await stored(desk) == before
    await desk.cli("prune", *OLD[1:], *WHY)
    emptied = {r["command_id"] for r in await desk.rows("SELECT command_id FROM records WHERE redacted_at IS NOT NULL")}
    assert emptied.isdisjoint({in_doubt, waits})
    assert silent in emptied
    assert len(await desk.rows("SELECT 1 FROM commands")) == len(before["commands"])
    assert (await desk.rows("SELECT 1 FROM dead_letters")) == []  # the new one, asked for by its own name


@pytest.mark.prints("prune")
async def test_a_dry_run_counts_what_then_goes_and_changes_nothing(desk: Desk) -> None:
    await finished(desk, 5)
    for value in (b"{", b"[]"):
        await desk.read(ADJUSTMENTS_TOPIC, value)
    await desk.do("UPDATE dead_letters SET state = 'seen' WHERE \"offset\" = 5")
    await publish(desk)
    await years_pass(desk)
    before, audited = await stored(desk), await desk.rows("SELECT 1 FROM audit")
    foreseen = await counts(desk, *OLD, "--dry-run")
    assert (await stored(desk), await desk.rows("SELECT 1 FROM audit")) == (before, audited)
    assert foreseen["commands"] == foreseen["attempts"] == foreseen["attempt-bodies"] == 5
    assert await counts(desk, *OLD, *WHY) == foreseen | {"commands": 5}
    assert (await desk.cli(*OLD, "--dry-run")).returncode == 3


async def test_what_redacting_has_moved_behind_the_tables_first_end_goes_too(desk: Desk) -> None:
    await finished(desk, 40)
    await publish(desk)
    await years_pass(desk)
    await desk.do("CLUSTER attempts USING pk_attempts")  # no room is left in its pages
    bodies, rows = Aged.ATTEMPT_BODIES.value, Aged.ATTEMPTS.value
    done = await counts(desk, "prune", "--older-than", "400d", "--only", bodies, "--only", rows, *WHY)
    assert done == {bodies: 40, rows: 40}
    assert await desk.rows("SELECT 1 FROM attempts") == []


async def test_what_may_go_is_only_what_is_as_old_as_was_said(open_desk: OpenDesk) -> None:
    old, young = open_desk(LEDGER_RETENTION_COMMANDS_DAYS="4500"), open_desk(LEDGER_RETENTION_COMMANDS_DAYS="3900")
    await finished(old)
    await publish(old)
    await years_pass(old)
    [fresh] = await finished(young)
    await publish(young)
    assert (await old.cli("prune", *WHY)).returncode == 3
    assert await counts(young, "prune", *WHY) == {"commands": 1}
    assert [r["command_id"] for r in await young.rows("SELECT command_id FROM commands")] == [fresh]


async def test_a_prune_is_asked_for_with_an_age_a_reason_and_a_yes(desk: Desk) -> None:
    unset = await desk.cli("prune", *WHY)
    assert unset.returncode == 3
    assert "LEDGER_RETENTION_ATTEMPT_BODIES_DAYS" in unset.stderr
    asked = ("prune", "--only", "attempts", "--older-than")
    assert (await desk.cli("prune", "--older-than", "90d", *WHY)).returncode == 2
    assert (await desk.cli(*asked, "90d", "--yes")).returncode == 5
    unconfirmed = await desk.cli(*asked, "90d", "--reason", "why")
    assert unconfirmed.returncode == 5
    assert "attempts older than 90 days" in unconfirmed.stderr
    assert (await desk.cli(*asked, "1d", *WHY)).returncode == 5
    assert await desk.rows("SELECT 1 FROM audit") == []


async def test_of_two_prunes_at_once_the_second_is_refused(desk: Desk) -> None:
    async with transaction(desk.engine) as connection:
        await connection.exec_driver_sql("SELECT pg_advisory_lock(hashtext('prune'))")
        beside = await desk.cli(*OLD, *WHY)
        await connection.exec_driver_sql("SELECT pg_advisory_unlock(hashtext('prune'))")
    assert (beside.returncode, "somebody else prunes" in beside.stderr) == (5, True)
    assert (await desk.cli(*OLD, *WHY)).returncode == 3


async def test_a_prune_that_was_killed_goes_on_with_what_is_left(desk: Desk) -> None:
    for statement in FINISHED.split(";"):
        await desk.do(statement)
    only = ("prune", "--only", "commands", "--older-than", "9d", *WHY)
    command = [sys.executable, "-m", "worker", *only, "--rate", "50"]

    async def gone() -> int:
        return COUNT - len(await desk.rows("SELECT 1 FROM commands"))

    with subprocess.Popen(command, cwd=CHECKOUT, env=desk.env, stdout=-3, stderr=-3) as first:  # noqa: ASYNC220
        await wait_until_async(gone, deadline_s=90)
        first.send_signal(signal.SIGKILL)
    cut_off = await gone()
    assert 0 < cut_off < COUNT

    async def goes_on() -> bool:  # the database notices a moment later that whoever held the lock is gone
        done = await desk.cli(*only)
        assert done.returncode in (0, 5), done.stderr
        return done.returncode == 0

    await wait_until_async(goes_on)
    assert (await gone(), await desk.rows("SELECT count FROM prunings")) == (COUNT, [{"count": COUNT}])
    assert len(await desk.rows("SELECT 1 FROM command_ids WHERE pruned_at IS NOT NULL")) == COUNT
    actions = [row["action"] for row in await desk.cli_json("audit", "list")]
    assert actions == ["prune.end", "prune.begin", "prune.begin"]


async def test_the_runbook_is_walked_to_its_end(open_desk: OpenDesk) -> None:
    ages = {f"LEDGER_{what.setting.upper()}": "400" for what in Aged}
    desk = open_desk(**ages)
    await finished(desk, 2)
    await publish(desk)
    await years_pass(desk)
    walked = []
    for arguments in commands_of(CHECKOUT / "docs/runbooks/prune.md"):
        changes = "--reason" in arguments
        if changes:
            assert (await desk.cli(*arguments)).returncode == 5
        done = await desk.cli(*arguments, *(("--yes",) if changes else ()))
        # `doctor` misses Kafka and the brokerage here
        assert done.returncode == (1 if arguments == ["doctor"] else 0), f"{arguments}: {done.stderr}"
        walked.append(arguments[0])
    assert walked == ["settings", "prune", "prune", "prune", "prune", "audit", "doctor"]
    assert await desk.rows("SELECT 1 FROM commands") == []


async def test_nothing_of_outcomes_that_go_out_again_is_pruned_meanwhile(desk: Desk) -> None:
    await finished(desk, 3)
    await publish(desk)
    await years_pass(desk)
    await desk.do("INSERT INTO replay_outcomes SELECT gen_random_uuid(), 't', 1, event_id FROM outcomes LIMIT 1")
    [row] = await desk.cli_json("prune", "--only", "outcomes", "--older-than", "9d", "--dry-run")
    assert row["count"] == 2
    left = await desk.cli("prune", "--only", "outcomes", "--older-than", "9d", *WHY, "--output", "json")
    assert "replay list" in json.loads(left.stdout)[0]["note"]
    assert len(await desk.rows("SELECT 1 FROM outcomes")) == 3


async def test_a_worker_prunes_by_itself_only_where_it_is_told_how_often(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_RETENTION_COMMANDS_DAYS="9", LEDGER_PRUNE_EVERY_H="24")
    await finished(desk, 2)
    await publish(desk)
    await years_pass(desk)
    stopping = asyncio.Event()
    prunes = Prunes(desk.engine, desk.settings, 24, structlog.get_logger())
    running = asyncio.create_task(prunes.run(stopping))  # noqa: TID251

    async def is_done() -> bool:
        return not await desk.rows("SELECT 1 FROM commands")

    await wait_until_async(is_done)
    stopping.set()
    await running
    await finished(desk)
    await publish(desk)
    await years_pass(desk)
    assert 0 < await prunes._once(asyncio.Event()) <= 86_400  # done lately: not again
    assert not await is_done()


async def test_pruning_needs_its_own_group_role_beside_the_operator_s(desk: Desk, login: Callable[..., str]) -> None:
    await finished(desk, 3)
    for value in (b"{", b"[]"):
        await desk.read(ADJUSTMENTS_TOPIC, value)
    await publish(desk)
    await years_pass(desk)
    before = await stored(desk)
    alone, both = login("ledger_operator"), login("ledger_operator", "ledger_pruner")
    refused = await typed({**desk.env, "LEDGER_DATABASE_URL": alone}, *OLD, *WHY)
    assert (refused.returncode, "the database role lacks a right" in refused.stderr) == (1, True), refused.stderr
    assert await stored(desk) == before
    done = await typed({**desk.env, "LEDGER_DATABASE_URL": both}, *OLD, *WHY)
    assert done.returncode == 0, done.stderr
    assert await desk.rows("SELECT 1 FROM commands UNION ALL SELECT 1 FROM dead_letters") == []
