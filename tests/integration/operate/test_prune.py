"""What is old and done goes; what is not finished, and what any promise asks for later, stays."""

import asyncio
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
import structlog

from tests.factories import ADJUSTMENTS_TOPIC
from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, OpenDesk
from tests.integration.operate.history import History
from tests.integration.operate.typed import typed
from tests.support.commands import new_command
from tests.support.kafka import produce
from tests.support.runbooks import commands_of
from tests.support.waiting import wait_until_async
from tests.support.worker import CHECKOUT
from worker.app.pruning import Prunes
from worker.errors import RefusedByGuardError
from worker.kafka.past import open_past
from worker.ledger.records import RawRecord
from worker.ledger.retention import Aged
from worker.ledger.verdicts import Confirmed, Numbers, Refused
from worker.operate.reconcile import ask
from worker.operate.witnesses import find_witnesses
from worker.settings import Settings
from worker.store.blobs import unpack_headers
from worker.store.engine import transaction
from worker.store.reconciling import read_faults, read_last_seq

WHY = ("--reason", "agreed with compliance", "--yes")
YEARS = timedelta(days=4000)
EVERYTHING = tuple(part for what in Aged for part in ("--only", what.value))
OLD = ("prune", *EVERYTHING, "--older-than", "400d")
FOR_EVER = {"command_ids", "numbers", "offsets", "skipped_ranges", "temp_adjustments", "lanes", "records"}
OF_PRUNE_ITSELF = {"prunings", "audit", "audit_head", "outbox"}
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


async def tables(desk: Desk) -> dict[str, list[str]]:
    """Each table with its columns that are instants."""
    rows = await desk.rows("""
        SELECT table_name, array_agg(column_name::text) FILTER (WHERE data_type = 'timestamp with time zone') AS instants
        FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1
    """)
    return {r["table_name"]: r["instants"] or [] for r in rows if r["table_name"] not in ("alembic_version", "rate")}


async def publish(desk: Desk) -> None:
    """Let Kafka have all that waits."""
    await desk.do("""
        INSERT INTO publications (event_id, published_at, partition, "offset")
        SELECT ref_id, now(), 0, outbox_id FROM outbox WHERE kind = 'outcome'
    """)
    await desk.do("UPDATE dead_letters SET published_at = now(), published_partition = 0, published_offset = 0")
    await desk.do("DELETE FROM outbox")


async def years_pass(desk: Desk) -> None:
    """Let everything that is stored lie years further back."""
    for table, instants in (await tables(desk)).items():
        if instants and table not in OF_PRUNE_ITSELF:
            changes = ", ".join(f"{name} = {name} - CAST(:years AS interval)" for name in instants)
            await desk.do(f"UPDATE {table} SET {changes}", years=YEARS)


async def stored(desk: Desk) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table but those that a prune itself writes."""
    found = {}
    for table in (await tables(desk)).keys() - OF_PRUNE_ITSELF:
        found[table] = sorted(await desk.rows(f"SELECT * FROM {table}"), key=str)
    return found


async def counts(desk: Desk, *arguments: str) -> dict[str, int]:
    return {row["what"]: row["count"] for row in await desk.cli_json(*arguments)}


async def finished(desk: Desk, count: int = 1) -> list[UUID]:
    """Let commands be done, each with a number of its own."""
    done = []
    for _ in range(count):
        done.append(await desk.send("cash.adjust"))
        await desk.answer(Confirmed(Numbers(serial_num=f"S{done[-1].hex[:12]}"), "inner_success"))
    return done


async def test_a_command_that_comes_again_after_years_is_a_duplicate_still(desk: Desk) -> None:
    one = new_command("cash.adjust", desk.account_no)
    await desk.read(ADJUSTMENTS_TOPIC, json.dumps(one).encode())
    await desk.answer(DONE)
    await finished(desk, 2)
    first = await desk.last(UUID(one["command_id"]))
    await publish(desk)
    await years_pass(desk)
    assert await counts(desk, *OLD, *WHY) | {"replays": 0} == {
        **dict.fromkeys(map(str, Aged), 0),
        "attempt-bodies": 3,
        "record-bodies": 3,
        "attempts": 3,
        "outcomes": 2,  # the last one shows where the account's sequence stands
        "commands": 3,
    }
    for table in ("commands", "attempts"):
        assert await desk.rows(f"SELECT 1 FROM {table}") == []
    assert len(await desk.rows("SELECT 1 FROM command_ids WHERE pruned_at IS NOT NULL AND verdict = 'succeeded'")) == 3
    assert len(await desk.rows("SELECT 1 FROM numbers")) == 3
    await desk.read(ADJUSTMENTS_TOPIC, json.dumps(one).encode())
    await desk.read(ADJUSTMENTS_TOPIC, json.dumps(one | {"issued_by": "somebody else"}).encode())
    await desk.claim_nothing()
    told = {o["type"]: o for o in await desk.outcomes(UUID(one["command_id"]))}
    assert [told[kind]["account_seq"] for kind in ("command.duplicate", "command.conflicted")] == [4, 5]
    assert told["command.duplicate"]["refers_to"] == first["event_id"]
    assert told["command.duplicate"]["result"] == first["result"]
    for subject in (one["command_id"], first["result"]["serial_num"]):
        story = (await desk.cli("explain", subject)).stdout
        assert "was pruned on" in story
        assert "only its identity, hash and verdict are kept" in " ".join(story.split())
    for refused in (("parked", "discard"), ("in-doubt", "resolve", "--not-applied")):
        said = await desk.cli(*refused, one["command_id"], *WHY)
        assert said.returncode == 5
        assert "succeeded and was pruned on" in said.stderr
    assert await desk.cli_json("audit", "list", "--action", "prune.end")
    assert (await desk.rows("SELECT count FROM prunings WHERE what = 'commands'")) == [{"count": 3}]


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
    command = [sys.executable, "-m", "worker", *only, "--rate", "200"]

    async def gone() -> int:
        return COUNT - len(await desk.rows("SELECT 1 FROM commands"))

    with subprocess.Popen(command, cwd=CHECKOUT, env=desk.env, stdout=-3, stderr=-3) as first:  # noqa: ASYNC220
        await wait_until_async(gone, deadline_s=90)
        assert (await desk.cli(*only)).returncode == 5
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


async def test_a_reference_to_a_pruned_command_is_good_still_and_an_ended_adjustment_has_ended(
    open_desk: OpenDesk,
) -> None:
    desk = open_desk(LEDGER_SWEEP_GRACE_S="0")
    freeze = await desk.send("cash.freeze")
    await desk.answer(Confirmed(Numbers(serial_num="F1"), "inner_success"))
    adjusted = await desk.booked("TA9")
    await desk.lapse(adjusted)
    await desk.answer(Confirmed(Numbers(), "SUCCESS"))
    assert await desk.rows("SELECT 1 FROM timers") == []
    await publish(desk)
    await years_pass(desk)
    assert (await counts(desk, *OLD, *WHY))["commands"] == 1
    await desk.send("cash.unfreeze", {"freeze": {"command_id": str(freeze)}})
    turn = await desk.answer(DONE)
    assert "F1" in str(turn.request)
    ending = await desk.send("temp.expire", {"adjust": {"command_id": str(adjusted)}})
    await desk.claim_nothing()
    assert (await desk.last(ending))["error"]["code"] == "ALREADY_ENDED"


async def test_an_accounts_outcomes_go_from_the_oldest_on_and_leave_no_gap(open_desk: OpenDesk) -> None:
    desk, other = open_desk(), open_desk()
    await finished(desk, 2)
    await desk.parked()
    await finished(desk, 2)
    await finished(other, 4)
    await publish(desk)
    await years_pass(desk)
    assert (await counts(desk, *OLD, *WHY))["outcomes"] == 2 + 3
    left = "SELECT account_seq FROM outcomes WHERE account_no = :a ORDER BY 1"
    assert [r["account_seq"] for r in await desk.rows(left, a=desk.account_no)] == [3, 4, 5]
    assert [r["account_seq"] for r in await desk.rows(left, a=other.account_no)] == [4]
    await finished(other)
    await publish(other)
    now = datetime.now(UTC)  # noqa: TID251
    async with transaction(desk.engine) as connection:
        for one, last in ((desk, 5), (other, 5)):
            assert await read_faults(connection, one.account_no, now - YEARS * 2, now + YEARS) == []
            assert await read_last_seq(connection, one.account_no) == (last, last)
    with pytest.raises(RefusedByGuardError, match="were pruned"):
        await ask(desk.engine, None, now - YEARS, now, ())
    assert (await ask(desk.engine, None, now - timedelta(days=300), now, ())).start == now - timedelta(days=300)


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


async def test_of_redacted_calls_and_records_the_hashes_tell_what_was_there(desk: Desk) -> None:
    [command_id] = await finished(desk)
    [sent] = await desk.rows("SELECT body, answer, known, method, path FROM attempts")
    [read] = await desk.rows("SELECT * FROM records")
    await publish(desk)
    await years_pass(desk)
    only = ("--only", "attempt-bodies", "--only", "record-bodies")
    assert await counts(desk, "prune", *only, "--older-than", "9d", *WHY) == {"attempt-bodies": 1, "record-bodies": 1}
    [left] = await desk.rows("SELECT * FROM attempts")
    assert (left["body"], left["answer"], left["query"]) == (None, None, None)
    assert (left["known"], left["method"], left["path"]) == (sent["known"], sent["method"], sent["path"])
    assert (bytes(left["body_hash"]), bytes(left["answer_hash"])) == (
        sha256(bytes(sent["body"])).digest(),
        sha256(bytes(sent["answer"])).digest(),
    )
    [emptied] = await desk.rows("SELECT * FROM records")
    record = RawRecord("", 0, 0, 0, bytes(read["key"]), bytes(read["value"]))
    assert (emptied["key"], emptied["value"], bytes(emptied["digest"])) == (None, None, record.digest())
    story = " ".join((await desk.cli("explain", str(command_id))).stdout.split())
    assert "redacted on" in story
    assert sha256(bytes(sent["body"])).hexdigest() in story


async def test_a_redacted_dead_letter_is_shown_by_its_hash_and_not_put_back(desk: Desk) -> None:
    at = [await desk.read(ADJUSTMENTS_TOPIC, value, ((b"h", b"secret"),), b"k") for value in (b"{", None)]
    await publish(desk)
    read = {
        r["offset"]: r["dead_letter_id"] for r in await desk.rows('SELECT "offset", dead_letter_id FROM dead_letters')
    }
    done = await desk.cli("dead-letters", "ignore", str(read[at[0]]), *WHY)
    assert done.returncode == 0, done.stderr
    await desk.do(
        "INSERT INTO redrives SELECT dead_letter_id, 1, dead_letter_id, now(), 'ann', 'x', 'malformed', '', NULL, 'secret' FROM dead_letters"
    )
    await years_pass(desk)
    assert await counts(desk, "prune", "--only", "dead-letter-bodies", "--older-than", "9d", *WHY) == {
        "dead-letter-bodies": 1
    }
    gone, new = [await desk.cli_json("dead-letters", "show", str(read[offset])) for offset in at]
    assert gone["redacted_at"] is not None
    assert gone["digest"] == RawRecord("", 0, 0, 0, b"k", b"{").digest().hex()
    assert (gone["state"], gone["message"], gone["key"], gone["value"]) == ("ignored", gone["message"], None, None)
    assert "secret" not in json.dumps(gone)
    assert (new["redacted_at"], new["key"]["text"]) == (None, "k")
    [told] = await desk.rows("SELECT headers FROM dead_letters WHERE dead_letter_id = :id", id=read[at[0]])
    assert unpack_headers(bytes(told["headers"])) == ()
    refused = await desk.cli("dead-letters", "redrive", str(read[at[0]]), *WHY)
    assert (refused.returncode, "its bytes were redacted on" in refused.stderr) == (5, True), refused.stderr


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


async def test_what_was_pruned_is_not_taken_for_forgotten_by_a_replay_a_start_or_a_recovery(history: History) -> None:
    first = history.command()
    await history.write(first, history.command(), first, b"{", history.command("1e5"), history.command())
    await history.read(0, 6)
    await history.answer(DONE, 3)
    desk = Desk(history.engine, history.env)
    told = await history.rows("SELECT event_id, account_no, value FROM outcomes ORDER BY account_seq")
    published = []
    for row in told:
        value = json.loads(bytes(row["value"])) | {"recorded_at": "2001-01-01T00:00:00Z"}
        published.append((history.topics.outcomes, row["account_no"].encode(), json.dumps(value).encode(), ()))
    places = await produce(history.kafka, published)
    for row, place in zip(told, places, strict=True):
        given = {"id": row["event_id"], "p": place.partition, "o": place.offset}
        await history.do("INSERT INTO publications VALUES (:id, now(), :p, :o)", **given)
    await history.do("DELETE FROM outbox")
    await history.do("UPDATE dead_letters SET published_at = now(), state = 'seen'")
    assert (await history.plan())["forgotten"] == 0
    await years_pass(desk)
    gone = {
        row["what"]: row["count"] for row in json.loads((await typed(history.env, *OLD, *WHY, "-o", "json")).stdout)
    }
    assert (gone["commands"], gone["outcomes"], gone["dead-letters"]) == (3, len(told) - 1, 2)
    plan = await history.plan()
    seen = {name: one["count"] for name, one in plan["classes"].items() if one["count"]}
    assert seen == {"done": 5, "malformed": 1}
    assert (plan["forgotten"], plan["to_feed"]) == (0, 0)
    ran = await history.run(plan, "--republish", "--to-topic", history.topics.outcomes)
    assert (ran.returncode, "were pruned" in ran.stderr) == (5, True), ran.stderr
    settings = Settings.from_env(history.env, needs=("kafka", "database"))
    async with open_past(settings) as past:
        assert await find_witnesses(history.engine, settings, past) == []
    for _ in range(2):
        recovered = await typed(history.env, "recover", "--whole", *WHY)
        assert (recovered.returncode, "nothing was forgotten" in recovered.stderr) == (3, True), recovered.stderr
        # and where the topic no longer has what the database knows to be the last of it
        await history.do('UPDATE publications SET "offset" = "offset" + 1000')
