"""Stored outcomes go out again: the same bytes, each account's in their sequence, and a run that was killed goes on."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.operate.conftest import DONE, TIMEOUT
from tests.integration.operate.history import WHY, History
from tests.integration.operate.typed import typed
from tests.support.kafka import create_topics, read_records
from tests.support.waiting import wait_until_async
from tests.support.worker import CHECKOUT


async def test_stored_outcomes_go_out_again_with_their_bytes_in_each_accounts_sequence(history: History) -> None:
    first = history.command()
    await history.write(first, history.command(), first, history.command("1e5"), history.command())
    await history.read(0, 5)
    await history.answer(DONE)
    await history.answer(TIMEOUT)
    await history.answer(DONE)
    statement = """SELECT account_no, value, headers, event_id, recorded_at, type FROM outcomes
                   WHERE type <> 'command.succeeded' OR account_seq < 4 ORDER BY account_no, account_seq"""
    await history.do(
        "INSERT INTO publications SELECT event_id, now(), 0, 0 FROM outcomes WHERE type <> 'command.succeeded' OR account_seq < 4"
    )
    stored = await history.rows(statement)
    plan = await history.plan()
    again = ("--republish", "--to-topic")
    lost = f"{history.topics.outcomes}.again"
    assert (await history.run(plan, *again, history.topics.freezes)).returncode == 5
    assert (await history.run(plan, *again, lost)).returncode == 1
    await create_topics(history.kafka, [lost])
    ran = await history.run(plan, *again, lost)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)["counts"]
    everything = await history.told()
    assert told == {"published": len(stored), "not_yet_published": everything - len(stored)}
    assert {row["type"] for row in stored} >= {"command.duplicate", "command.rejected"}
    seen = await read_records(history.kafka, lost, lambda records: len(records) >= len(stored))
    assert [record.value for record in seen] == [bytes(row["value"]) for row in stored]
    assert [record.key for record in seen] == [row["account_no"].encode() for row in stored]
    assert [dict(record.headers)["ce_id"] for record in seen] == [str(row["event_id"]).encode() for row in stored]
    part = await history.plan("--from", "2", "--to", "3")
    assert json.loads((await history.run(part, *again, lost)).stdout)["counts"]["published"] == 1  # the repeat's own
    assert await history.rows("SELECT 1 FROM replay_outcomes") == []
    assert await history.told() == everything


async def test_what_became_of_an_edited_record_goes_out_again_with_its_range(history: History, tmp_path: Path) -> None:
    wrong = [history.command("1e5"), history.command("1e5"), history.command()]
    await history.write(*wrong)
    await history.read(0, 3)
    letters = await history.rows('SELECT dead_letter_id FROM dead_letters ORDER BY "offset"')
    edits = [{"dead_letter_id": str(row["dead_letter_id"]), "value": history.command("7.00")} for row in letters]
    file = tmp_path / "edits.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in edits))
    done = await typed(history.env, "dead-letters", "redrive", "--edit", "--new-id", "--file", str(file), *WHY)
    assert done.returncode == 0, done.stderr
    await history.answer(DONE, 3)
    await history.do("INSERT INTO publications SELECT event_id, now(), 0, 0 FROM outcomes")
    lost = f"{history.topics.outcomes}.again"
    await create_topics(history.kafka, [lost])
    part = await history.plan("--from", "1", "--to", "2")
    ran = await history.run(part, "--republish", "--to-topic", lost)
    assert json.loads(ran.stdout)["counts"] == {"published": 2, "not_yet_published": 0}
    seen = [json.loads(one.value) for one in await read_records(history.kafka, lost, lambda found: len(found) >= 2)]
    told = [(one["type"], one["command_id"], one["source"]["offset"]) for one in seen]
    ids = wrong[1]["command_id"], edits[1]["value"]["command_id"]
    assert told == [("command.rejected", ids[0], 1), ("command.succeeded", ids[1], 1)]
    ran = await history.run(await history.plan(), "--republish", "--to-topic", lost)
    assert json.loads(ran.stdout)["counts"]["published"] == await history.told() == 5


async def test_republishing_goes_on_where_it_was_killed(history: History) -> None:
    await history.write(*(history.command("1e5") for _ in range(60)))
    await history.read(0, 60)
    await history.do("INSERT INTO publications SELECT event_id, now(), 0, 0 FROM outcomes")
    plan = await history.plan()
    lost = f"{history.topics.outcomes}.again"
    await create_topics(history.kafka, [lost])
    again = ("--republish", "--to-topic", lost)
    run = [sys.executable, "-m", "worker", "replay", "run", plan["plan_id"], *WHY, *again, "--rate", "15"]

    async def has_begun() -> bool:
        rows = await history.rows("SELECT progress FROM replay_runs WHERE progress <> '{}'")
        return bool(rows)

    with subprocess.Popen(run, cwd=CHECKOUT, env=history.env, stdout=-3, stderr=-3) as first:  # noqa: ASYNC220
        await wait_until_async(has_begun, deadline_s=90)
        first.send_signal(signal.SIGKILL)
    ran = await history.run(plan, *again)
    assert json.loads(ran.stdout)["counts"]["published"] == 60
    seen = await read_records(history.kafka, lost, lambda records: len({r.value for r in records}) >= 60)
    firsts = list(dict.fromkeys(json.loads(record.value)["account_seq"] for record in seen))
    assert firsts == list(range(1, 61))
