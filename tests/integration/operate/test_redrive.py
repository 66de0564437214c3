"""Dead letters put back: taken once, in their sequence, as their records would be; what the guard refuses stays."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.factories import ADJUSTMENTS_TOPIC, FREEZES_TOPIC
from tests.integration.operate.conftest import DONE, Desk, OpenDesk
from tests.support.commands import new_command
from tests.support.waiting import wait_until_async
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.redrive import Would
from worker.operate import redrive as redrive_module
from worker.operate.redrive import Redrive, Wanted, preview
from worker.store.blobs import unpack_headers
from worker.store.engine import opened
from worker.store.redrive import Selection
from worker.store.triage import LOCK

WHY = ("--reason", "mended upstream", "--yes")
NOBODY = UUID(int=7)
REFUSE = "ALTER TABLE commands ADD CONSTRAINT for_a_while CHECK (account_no = '') NOT VALID"
ALLOW = "ALTER TABLE commands DROP CONSTRAINT for_a_while"


async def quarantined(desk: Desk, count: int) -> list[str]:
    """Send commands that the database refuses for a while; returns their ids in their sequence."""
    await desk.do(REFUSE)
    sent = [str(await desk.send("cash.adjust")) for _ in range(count)]
    await desk.do(ALLOW)
    return sent


async def letters(desk: Desk) -> list[dict[str, Any]]:
    return await desk.rows("""
        SELECT d.*, r.disposition FROM dead_letters d JOIN records r USING (topic, epoch, partition, "offset")
        ORDER BY topic, partition, "offset"
    """)


async def ids(desk: Desk) -> tuple[UUID, ...]:
    return tuple(row["dead_letter_id"] for row in await letters(desk))


async def put_back(desk: Desk, wanted: Wanted, **options: Any) -> Redrive:
    seen = await preview(desk.engine, desk.settings, wanted)
    made = Redrive(desk.engine, desk.settings, wanted, "mended", **options)
    await made.run(seen, lambda _done, _of: None)
    return made


async def places(desk: Desk) -> list[str]:
    rows = await desk.rows("SELECT command_id FROM commands WHERE account_no = :a ORDER BY position", a=desk.account_no)
    return [str(row["command_id"]) for row in rows]


async def headers_of(desk: Desk, dead_letter_id: UUID) -> dict[str, str]:
    row = await desk.one("SELECT headers FROM dead_letters WHERE dead_letter_id = :id", id=dead_letter_id)
    return {name.decode(): (value or b"").decode() for name, value in unpack_headers(bytes(row["headers"]))}


@pytest.mark.prints("dead-letters redrive: preview", "dead-letters redrive: done")
async def test_what_was_quarantined_is_taken_in_its_sequence_and_once(desk: Desk) -> None:
    sent = await quarantined(desk, 5)
    before = await desk.rows("SELECT * FROM offsets")
    [group] = await desk.cli_json("dead-letters", "list")
    assert (group["reason"], group["count"], group["new"]) == ("QUARANTINED", 5, 5)
    shown = await desk.cli("dead-letters", "redrive", "--fingerprint", group["fingerprint"], "--preview")
    assert json.loads(shown.stdout)["would"] == {"accepted": 5}
    assert await places(desk) == []
    done = await desk.cli("dead-letters", "redrive", "--fingerprint", group["fingerprint"], *WHY)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["became"] == {"accepted": 5}
    assert await places(desk) == sent
    assert {(row["state"], row["disposition"], row["redrive_count"]) for row in await letters(desk)} == {
        ("redriven", "accepted", 1)
    }
    assert await desk.rows("SELECT * FROM offsets") == before
    again = await desk.cli("dead-letters", "redrive", "--fingerprint", group["fingerprint"], *WHY)
    assert again.returncode == 3
    named = await desk.cli("dead-letters", "redrive", group["sample"], *WHY)
    assert (named.returncode, named.stdout) == (5, "")
    assert "taken already" in named.stderr
    assert await places(desk) == sent
    for command_id in sent:
        turn = await desk.answer(DONE)
        assert str(turn.command.command_id) == command_id
        assert await desk.state(UUID(command_id)) == "succeeded"
    await desk.gapless()


async def test_a_redriven_record_keeps_its_bytes_and_its_outcome_names_its_place(desk: Desk) -> None:
    [command_id] = await quarantined(desk, 1)
    kept = await desk.one("SELECT key, value, headers, produced_at FROM records")
    await put_back(desk, Wanted(Selection(await ids(desk))))
    assert await desk.one("SELECT key, value, headers, produced_at FROM records") == kept
    await desk.answer(DONE)
    source = (await desk.last(UUID(command_id)))["source"]
    assert source == {"topic": ADJUSTMENTS_TOPIC, "partition": desk.partition, "offset": 0}


@pytest.mark.prints("dead-letters seen")
async def test_what_is_still_malformed_is_a_dead_letter_again_under_its_id_and_counted(desk: Desk) -> None:
    await desk.read(ADJUSTMENTS_TOPIC, b"{")
    [dead_letter_id] = await ids(desk)
    await desk.do("UPDATE dead_letters SET published_at = now(), published_partition = 0, published_offset = 0")
    await desk.do("DELETE FROM outbox")
    await desk.cli("dead-letters", "seen", str(dead_letter_id), *WHY)
    for count in (1, 2):
        done = await desk.cli("dead-letters", "redrive", str(dead_letter_id), *WHY)
        assert (done.returncode, json.loads(done.stdout)["became"]) == (4, {"malformed": 1}), done.stderr
        [row] = await letters(desk)
        assert (row["dead_letter_id"], row["state"], row["redrive_count"]) == (dead_letter_id, "new", count)
        assert (row["published_at"], row["triaged_by"]) == (None, None)
        assert (await headers_of(desk, dead_letter_id))["dlq_redrive_count"] == str(count)
        assert len(await desk.rows("SELECT 1 FROM outbox WHERE kind = 'dead_letter'")) == count
    shown = await desk.cli_json("dead-letters", "show", str(dead_letter_id))
    assert [(one["number"], one["actor"], one["disposition"]) for one in shown["redrives"]] == [
        (1, "ann", "malformed"),
        (2, "ann", "malformed"),
    ]


async def test_what_the_database_refuses_again_is_quarantined_again_alone(desk: Desk) -> None:
    sent = await quarantined(desk, 3)
    await desk.do(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF new.command_id = '{sent[1]}' THEN "
        "RAISE EXCEPTION USING ERRCODE = '22000'; END IF; RETURN new; END $$"
    )
    await desk.do("CREATE TRIGGER refuse BEFORE INSERT ON commands FOR EACH ROW EXECUTE FUNCTION refuse()")
    made = await put_back(desk, Wanted(Selection(await ids(desk))))
    assert made.became == {Would.ACCEPTED: 2, Would.QUARANTINED: 1}
    assert await places(desk) == [sent[0], sent[2]]
    assert [row["redrive_count"] for row in await letters(desk)] == [1, 1, 1]


async def test_what_has_its_terminal_outcome_is_refused_and_nothing_of_it_changes(desk: Desk) -> None:
    await desk.send("cash.adjust", payload={"amount": "1e3"})
    first = await desk.send("cash.adjust")
    value = json.dumps(new_command("cash.adjust", desk.account_no, {"amount": "7.00"}, command_id=str(first))).encode()
    await desk.read(ADJUSTMENTS_TOPIC, value)
    before = await letters(desk), await desk.rows("SELECT * FROM outbox"), await desk.rows("SELECT * FROM records")
    assert [row["reason"] for row in before[0]] == ["REFUSED", "ID_CONFLICT"]
    for dead_letter_id in await ids(desk):
        done = await desk.cli("dead-letters", "redrive", str(dead_letter_id), *WHY)
        assert (done.returncode, done.stdout) == (5, "")
        assert "edit it under a new id" in done.stderr
    assert before == (
        await letters(desk),
        await desk.rows("SELECT * FROM outbox"),
        await desk.rows("SELECT * FROM records"),
    )
    [command_id] = await quarantined(desk, 1)
    mixed = await desk.cli("dead-letters", "redrive", *map(str, await ids(desk)), *WHY)
    assert (mixed.returncode, json.loads(mixed.stdout)["became"]) == (4, {"ended": 1, "conflict": 1, "accepted": 1})
    assert (await places(desk))[-1] == command_id


async def test_a_quarantined_record_whose_command_came_again_is_refused_once_it_ended_and_a_duplicate_before(
    desk: Desk,
) -> None:
    await desk.do(REFUSE)
    one, two = (new_command("cash.adjust", desk.account_no) for _ in range(2))
    for command in (one, two):
        await desk.read(ADJUSTMENTS_TOPIC, json.dumps(command).encode())
    await desk.do(ALLOW)
    await desk.read(ADJUSTMENTS_TOPIC, json.dumps(one).encode())
    await desk.answer(DONE)
    await desk.read(ADJUSTMENTS_TOPIC, json.dumps(two).encode())
    made = await put_back(desk, Wanted(Selection(await ids(desk))))
    assert made.became == {Would.ENDED: 1, Would.DUPLICATE: 1}
    assert await places(desk) == [one["command_id"], two["command_id"]]
    assert [one["type"] for one in await desk.outcomes(UUID(two["command_id"]))] == ["command.duplicate"]


async def test_a_release_that_can_read_more_takes_what_was_malformed_or_tells_what_is_wrong(desk: Desk) -> None:
    """As an earlier release would have left them: unreadable then, one a command and one a refusal now."""
    good, bad = await desk.send("cash.adjust"), await desk.send("cash.adjust", payload={"amount": 5})
    for table in ("commands", "command_ids", "outcomes", "outbox"):
        await desk.do(f"DELETE FROM {table}")
    await desk.do("UPDATE lanes SET state = 'idle', next_position = 1, head_position = 1, account_seq = 0")
    await desk.do("UPDATE records SET disposition = 'malformed', command_id = NULL")
    await desk.do("""
        INSERT INTO dead_letters (dead_letter_id, topic, epoch, partition, "offset", reason, message, fingerprint,
                                  failed_at, headers)
        SELECT gen_random_uuid(), r.topic, r.epoch, r.partition, r."offset", 'MALFORMED', 'm', 'f', now(), d.headers
        FROM records r, dead_letters d WHERE r.command_id IS NULL AND r."offset" = 0
    """)
    await desk.do("UPDATE dead_letters SET reason = 'MALFORMED', command_id = NULL")
    made = await put_back(desk, Wanted(Selection(topic=ADJUSTMENTS_TOPIC, partition=desk.partition, to_offset=9)))
    assert made.became == {Would.ACCEPTED: 1, Would.REFUSED: 1}
    assert await places(desk) == [str(good)]
    assert [one["type"] for one in await desk.outcomes(bad)] == ["command.rejected"]
    assert [(row["reason"], row["redrive_count"]) for row in await letters(desk)][1] == ("REFUSED", 1)


@pytest.mark.parametrize("chosen_by", ["range", "ids"])
async def test_a_redrive_that_was_interrupted_goes_on_and_does_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, chosen_by: str
) -> None:
    """Of what is taken and of what comes back alike: each is put back once, however often the redrive was cut off."""
    sent = await quarantined(desk, 6)
    for _ in range(6):
        await desk.read(ADJUSTMENTS_TOPIC, b"{")
    monkeypatch.setattr(redrive_module, "PAGE", 4)
    range_ = Selection(topic=ADJUSTMENTS_TOPIC, partition=desk.partition, to_offset=99)
    wanted = Wanted(range_ if chosen_by == "range" else Selection(await ids(desk)))

    async def cut_off(after: int) -> None:
        seen = await preview(desk.engine, desk.settings, wanted)

        def reach(done: int, _of: int) -> None:
            if done >= after + seen.would[Would.DONE]:
                raise asyncio.CancelledError

        made = Redrive(desk.engine, desk.settings, wanted, "mended")
        with pytest.raises(asyncio.CancelledError):
            await made.run(seen, reach)

    await cut_off(4)
    await cut_off(4)
    seen = await preview(desk.engine, desk.settings, wanted)
    assert (seen.done, seen.total - seen.would[Would.DONE]) == (8, 4)
    await put_back(desk, wanted)
    assert [row["redrive_count"] for row in await letters(desk)] == [1] * 12
    assert await places(desk) == sent
    [run] = await desk.rows("SELECT * FROM redrive_runs")
    assert run["ended_at"] is not None
    made = await put_back(desk, wanted)  # another redrive: what came back is put back again
    assert made.became[Would.MALFORMED] == 6


async def test_of_two_persons_at_once_each_dead_letter_is_put_back_by_one(
    open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk()
    sent = await quarantined(desk, 12)
    monkeypatch.setattr(redrive_module, "PAGE", 3)
    range_ = Selection(topic=ADJUSTMENTS_TOPIC, partition=desk.partition, to_offset=99)
    wanted = [Wanted(Selection(await ids(desk))), Wanted(range_)]
    made = await asyncio.gather(*(put_back(desk, one) for one in [*wanted, wanted[0]]))
    assert sum(one.became[Would.ACCEPTED] for one in made) == 12
    assert await places(desk) == sent
    assert [row["redrive_count"] for row in await letters(desk)] == [1] * 12


async def test_a_dead_letter_that_the_relay_has_locked_is_waited_for(desk: Desk) -> None:
    await quarantined(desk, 2)
    wanted = Wanted(Selection(await ids(desk)))
    async with opened(desk.env["LEDGER_DATABASE_URL"]) as away, away.connect() as relay:
        await relay.exec_driver_sql("UPDATE dead_letters SET published_at = now()")
        async with asyncio.TaskGroup() as group:
            going = group.create_task(put_back(desk, wanted))
            await wait_until_async(lambda: desk.rows("SELECT 1 FROM redrive_runs"))
            assert not await places(desk)
            await relay.commit()
    assert going.result().became == {Would.ACCEPTED: 2}


async def test_a_range_and_a_file_choose_and_what_is_unknown_is_told(desk: Desk, tmp_path: Path) -> None:
    sent = await quarantined(desk, 4)
    range_ = ("--topic", ADJUSTMENTS_TOPIC, "--partition", str(desk.partition), "--from", "1", "--to", "2")
    done = await desk.cli("dead-letters", "redrive", *range_, *WHY)
    assert (done.returncode, json.loads(done.stdout)["of"]) == (0, 2), done.stderr
    assert await places(desk) == sent[1:3]
    file = tmp_path / "ids"
    chosen = [(await ids(desk))[3], (await ids(desk))[0], NOBODY]
    file.write_text("\n".join(map(str, chosen)))
    done = await desk.cli("dead-letters", "redrive", "--file", str(file), *WHY)
    assert done.returncode == 4
    assert "1 ids name nothing" in done.stderr
    assert await places(desk) == [*sent[1:3], sent[0], sent[3]]


@pytest.mark.prints("dead-letters ignore")
async def test_a_group_leaves_out_what_is_ignored_and_a_named_one_is_put_back_all_the_same(desk: Desk) -> None:
    await quarantined(desk, 2)
    first, second = await ids(desk)
    done = await desk.cli("dead-letters", "ignore", str(first), "--reason", "a test of theirs", "--yes")
    assert json.loads(done.stdout) == {"state": "ignored", "changed": 1, "redriven": 0, "unknown": 0}
    [group] = await desk.cli_json("dead-letters", "list", "--state", "ignored")
    assert (group["count"], group["sample"]) == (1, str(first))
    made = await put_back(desk, Wanted(Selection(fingerprint=group["fingerprint"])))
    assert made.became == {Would.ACCEPTED: 1}
    assert [row["state"] for row in await letters(desk)] == ["ignored", "redriven"]
    made = await put_back(desk, Wanted(Selection((first,))))
    assert made.became == {Would.ACCEPTED: 1}
    audit = await desk.rows("SELECT action, actor, reason, subject FROM audit ORDER BY recorded_at")
    assert [row["action"] for row in audit] == ["dead-letters.ignored", "dead-letters.redrive", "dead-letters.redrive"]
    assert audit[0]["subject"] == str(first)
    refused = await desk.cli("dead-letters", "seen", str(second), *WHY)
    assert refused.returncode == 5
    assert (await desk.cli("dead-letters", "seen", str(NOBODY), *WHY)).returncode == 3


async def test_a_rate_is_kept(desk: Desk) -> None:
    await quarantined(desk, 3)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await put_back(desk, Wanted(Selection(await ids(desk))), rate_per_s=10)
    assert loop.time() - begun >= 0.3


async def test_a_change_needs_a_reason_and_a_yes_and_a_preview_neither(desk: Desk) -> None:
    await quarantined(desk, 1)
    [one] = map(str, await ids(desk))
    for code, arguments in ((2, ()), (5, ("--reason", "why")), (5, ("--reason", " ", "--yes"))):
        assert (await desk.cli("dead-letters", "redrive", one, *arguments)).returncode == code
    for arguments in ((), (one, "--fingerprint", "f"), ("--topic", "t"), (one, "--new-id"), ("--edit", one, one)):
        assert (await desk.cli("dead-letters", "redrive", *arguments, *WHY)).returncode == 2
    assert (await desk.cli("dead-letters", "redrive", one, "--preview")).returncode == 0
    assert await places(desk) == []
    assert await desk.rows("SELECT 1 FROM redrive_runs") == []


async def test_a_topic_that_is_none_of_the_settings_is_refused(open_desk: OpenDesk) -> None:
    desk = open_desk(LEDGER_TOPIC_FREEZES="other")
    await desk.read(FREEZES_TOPIC, b"{")
    with pytest.raises(RefusedByGuardError, match="none of the command topics"):
        await preview(desk.engine, desk.settings, Wanted(Selection(await ids(desk))))
    with pytest.raises(NothingMatchedError):
        await preview(desk.engine, desk.settings, Wanted(Selection((NOBODY,))))


async def test_redrives_wait_for_each_other_before_they_lock_anything(desk: Desk) -> None:
    await quarantined(desk, 1)
    wanted = Wanted(Selection(await ids(desk)))
    waiting = """
        SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    async with opened(desk.env["LEDGER_DATABASE_URL"]) as away, away.connect() as other:
        await other.exec_driver_sql(LOCK)
        async with asyncio.TaskGroup() as group:
            going = group.create_task(put_back(desk, wanted))
            await wait_until_async(lambda: desk.rows(waiting))
            assert await places(desk) == []
            await other.rollback()
    assert going.result().became == {Would.ACCEPTED: 1}
