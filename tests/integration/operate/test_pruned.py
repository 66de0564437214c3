"""What was pruned or redacted is asked for, and every answer is the right one still."""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from tests.factories import ADJUSTMENTS_TOPIC
from tests.integration.operate.aged import OLD, WHY, YEARS, counts, finished, publish, years_pass
from tests.integration.operate.conftest import DONE, Desk, OpenDesk
from tests.integration.operate.history import History
from tests.integration.operate.typed import typed
from tests.support.commands import new_command
from tests.support.kafka import produce
from worker.errors import RefusedByGuardError
from worker.kafka.past import open_past
from worker.ledger.records import RawRecord
from worker.ledger.retention import Aged
from worker.ledger.verdicts import Confirmed, Numbers
from worker.operate.reconcile import ask
from worker.operate.witnesses import find_witnesses
from worker.settings import Settings
from worker.store.blobs import unpack_headers
from worker.store.engine import transaction
from worker.store.reconciling import read_faults, read_last_seq


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
    desk, other, newest = open_desk(), open_desk(), open_desk()
    await finished(desk, 2)
    await desk.parked()
    await finished(desk, 2)
    await finished(other, 4)
    await finished(newest)  # the last of the partition stays anyway
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
