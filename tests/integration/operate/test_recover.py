"""What `recover` makes of a database that has forgotten: one desk worked and told, another's database knows nothing of it."""

import json
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.integration.operate.conftest import DONE, TIMEOUT, Desk, OpenDesk
from tests.integration.operate.test_edits import edit
from tests.integration.operate.test_redrive import ALLOW, REFUSE, ids, letters, places, quarantined
from tests.integration.operate.test_redrive import WHY as REDRIVE
from tests.support.commands import new_command
from tests.support.database import Databases
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.heard import Heard, hear
from worker.ledger.records import RawRecord
from worker.ledger.verdicts import Absent, Confirmed, Numbers, Refused, Seen
from worker.operate.recover import Report, preview, recover
from worker.operate.remember import Remembered, date
from worker.operate.resolve import NotApplied, Said, resolve
from worker.store.blobs import unpack_headers
from worker.store.engine import opened, transaction
from worker.store.lanes import wake_lanes
from worker.store.offsets import read_positions
from worker.store.recalled import FENCE_LEAP

LONG_LIVES = {"LEDGER_WHALE_KEY_LIFE_S": "600"}


@dataclass
class Two:
    """The desk that worked, and the one whose database is put in its place."""

    was: Desk
    now: Desk

    async def remembered(self, *, untold: Collection[str] = (), aged_s: float = 0, audit: bool = False) -> Remembered:
        """Give what Kafka has: all records, all outcomes but those of these types, and with `audit` what persons did."""
        records = [
            RawRecord(
                row["topic"],
                row["partition"],
                row["offset"],
                int((row["produced_at"].timestamp() - aged_s) * 1000),
                row["key"] and bytes(row["key"]),
                row["value"] and bytes(row["value"]),
                unpack_headers(bytes(row["headers"])),
            )
            for row in await self.was.rows('SELECT * FROM records ORDER BY read_at, "offset"')
        ]
        async with transaction(self.now.engine) as connection:
            stored = await read_positions(connection)
        unread = [r for r in records if (r.topic, r.partition) not in stored]
        found = Remembered(stored, {}, {}, unread)
        date(found.earliest_ms, unread)
        for record in unread:
            found.ends[record.topic, record.partition] = record.offset + 1  # type: ignore[index]
            found.lasts[record.topic, record.partition] = record  # type: ignore[index]
        for number, one in enumerate(await self._heard()):
            if one.type not in untold:
                found.heard[one.event_id] = one
            assert one.record.offset == number
        if audit:
            rows = await self.was.rows("SELECT value FROM audit ORDER BY audit_seq")
            found.audit.extend(
                RawRecord("audit", 0, n, 1_700_000_000_000, b"ann", bytes(row["value"]), ())
                for n, row in enumerate(rows)
            )
        return found

    async def _heard(self) -> list[Heard]:
        rows = await self.was.rows("SELECT * FROM outcomes ORDER BY account_no, account_seq")
        told = [
            hear(
                RawRecord(
                    "outcomes", 0, n, 1_700_000_000_000, b"", bytes(r["value"]), unpack_headers(bytes(r["headers"]))
                )
            )
            for n, r in enumerate(rows)
        ]
        return [one for one in told if one is not None]

    async def recover(self, **what: Any) -> Report:
        found = await self.remembered(**what)
        shown = await preview(self.now.engine, self.now.settings, found)
        done = await recover(self.now.engine, self.now.settings, found, "ann", "the backup of 03:00")
        assert shown == done, "the preview says what is done"
        return done

    async def outbox(self) -> list[str]:
        return [row["kind"] for row in await self.now.rows("SELECT kind FROM outbox ORDER BY outbox_id")]


@pytest.fixture
async def open_two(databases: Databases, open_desk: OpenDesk) -> AsyncIterator[Callable[..., Two]]:
    """Open two desks of one account on two databases, of which the second is empty."""
    with databases.migrated() as url:
        async with opened(url) as engine:

            def opener(**settings: str) -> Two:
                was = open_desk(**settings)
                now = Desk(engine, {**was.env, "LEDGER_DATABASE_URL": url})
                now.account_no, now.partition = was.account_no, was.partition + 1000
                return Two(was, now)

            yield opener


@pytest.fixture
def two(open_two: Callable[..., Two]) -> Two:
    return open_two(**LONG_LIVES)


async def time_passes(desk: Desk) -> None:
    """Let ten seconds pass, and what is held go on."""
    await desk.ten_seconds_pass()
    async with transaction(desk.engine) as connection:
        await wake_lanes(connection)


async def test_what_was_published_is_taken_back_to_the_byte_and_told_no_more(two: Two) -> None:
    command_id = await two.was.send("cash.adjust")
    await two.was.answer(DONE)
    done = await two.recover()
    assert (done.commands_answered, done.commands_in_doubt) == (1, 0)
    assert await two.now.state(command_id) == "succeeded"
    statement = "SELECT event_id, account_seq, value, headers FROM outcomes"
    assert await two.now.rows(statement) == await two.was.rows(statement)
    known = "SELECT verdict, result, error, terminal_event_id FROM command_ids"
    assert await two.now.rows(known) == await two.was.rows(known)
    assert await two.outbox() == ["audit"]
    assert await two.now.rows("SELECT kind, number FROM numbers") == [{"kind": "serial_num", "number": "S1"}]


async def test_a_booked_adjustment_is_open_again_with_its_timer(two: Two) -> None:
    command_id = await two.was.booked("TA77")
    await two.recover()
    timer = await two.now.one("SELECT command_id, kind, state FROM timers")
    assert timer == {"command_id": command_id, "kind": "expire", "state": "armed"}
    assert (await two.now.one("SELECT adjust_no FROM temp_adjustments"))["adjust_no"] == "TA77"


async def test_who_ended_an_adjustment_past_its_hour_is_unknown_for_a_call_of_ours_may_have(two: Two) -> None:
    command_id = await two.was.booked()
    await two.recover()
    await two.now.lapse(command_id)
    await two.now.do("UPDATE lanes SET state = 'idle', ready_at = NULL")
    found = await two.remembered()
    done = await recover(two.now.engine, two.now.settings, found, "ann", "and once more")
    assert done.adjustments_in_doubt == 1
    assert [str(k) for k in await two.now.known(command_id, "expiry")] == ["in_doubt"]
    with pytest.raises(NothingMatchedError):
        await recover(two.now.engine, two.now.settings, found, "ann", "nothing has been tried since")


async def test_what_nobody_was_told_of_is_in_doubt_and_goes_out_again_only_under_its_key(two: Two) -> None:
    command_id = await two.was.send("cash.adjust")
    await two.was.answer(DONE)
    await two.recover(untold=["command.succeeded"])
    assert await two.now.state(command_id) == "in_doubt"
    await two.now.ten_seconds_pass()
    turn = await two.now.claim()
    assert (turn.kind, turn.number) == ("write", 2)
    assert turn.request is not None
    assert json.loads(turn.request.body)["request_id"] == str(command_id)
    await two.now.finish(turn, DONE)
    assert (await two.now.last(command_id))["account_seq"] == 1


async def test_nothing_goes_out_when_the_life_of_its_key_may_be_over(two: Two) -> None:
    command_id = await two.was.send("cash.adjust")
    await two.recover(aged_s=601)
    await two.now.claim_nothing()
    assert await two.now.state(command_id) == "in_doubt", "it may still take effect"
    await time_passes(two.now)
    await two.now.claim_nothing()
    assert await two.now.state(command_id) == "parked"


async def test_an_adjustment_without_a_key_waits_for_a_person(two: Two) -> None:
    command_id = await two.was.send("temp.adjust")
    await two.recover()
    await two.now.do("UPDATE attempts SET horizon_at = now()")
    await two.now.claim_nothing()
    assert await two.now.state(command_id) == "parked"


async def test_an_order_is_looked_for_by_its_tag(two: Two) -> None:
    command_id = await two.was.send("order.place")
    await two.recover()
    await two.now.ten_seconds_pass()
    turn = await two.now.answer(Seen(Numbers(order_id="O5"), "it is there", {}))
    assert turn.kind == "look"
    assert (await two.now.last(command_id))["result"]["order_id"] == "O5"


async def test_a_change_of_an_order_is_not_made_again_for_later_ones_may_have_been(two: Two) -> None:
    command_id = await two.was.send("order.modify", {"order": {"order_id": "O1"}})
    await two.recover()
    await two.now.ten_seconds_pass()
    assert (await two.now.answer(Absent("the order shows other values"))).kind == "look"
    await two.now.do("UPDATE attempts SET horizon_at = opened_at - interval '1 s'")
    await time_passes(two.now)
    await two.now.claim_nothing()
    assert await two.now.state(command_id) == "parked"


async def test_what_refers_to_something_forgotten_parks_and_never_goes_out_with_nothing_in_it(two: Two) -> None:
    freeze = await two.was.send("temp.adjust")
    expire = await two.was.send("temp.expire", {"adjust": {"command_id": str(freeze)}})
    await two.recover()
    await two.now.do("UPDATE attempts SET horizon_at = now()")
    await two.now.claim_nothing()
    await two.now.claim_nothing()
    assert [await two.now.state(c) for c in (freeze, expire)] == ["parked", "parked"]


async def test_a_resend_of_what_was_forgotten_and_refers_to_what_is_not_known_is_rejected(two: Two) -> None:
    freeze = await two.was.send("temp.adjust")
    expire = await two.was.send("temp.expire", {"adjust": {"command_id": str(freeze)}})
    await two.recover()
    await two.now.do("UPDATE attempts SET horizon_at = now()")
    await two.now.claim_nothing()
    await two.now.claim_nothing()
    said = Said(expire, NotApplied(resend=True), "ann", "looked it up")
    await resolve(two.now.engine, two.now.settings, said)
    await two.now.claim_nothing()
    assert await two.now.state(expire) == "rejected"
    assert (await two.now.last(expire))["error"]["code"] == "REFERENCE_UNDECIDED"


async def test_calls_after_a_recovery_are_numbered_behind_those_that_were_told(two: Two) -> None:
    command_id = await two.was.send("temp.adjust")
    await two.was.answer(TIMEOUT)
    await two.recover()
    await two.now.do("UPDATE attempts SET horizon_at = now(), number = 2")  # as where call 1 was told to be in doubt
    await two.now.claim_nothing()
    said = Said(command_id, NotApplied(resend=True), "ann", "looked it up")
    await resolve(two.now.engine, two.now.settings, said)
    assert (await two.now.answer(Refused("602001", "no cash", "code"))).number == 3
    assert await two.now.state(command_id) == "rejected"


async def test_what_waited_in_the_database_is_in_doubt_too_for_it_may_have_been_sent_since(two: Two) -> None:
    command_id = await two.now.send("order.place")
    done = await two.recover()
    assert done.commands_in_doubt == 1
    assert await two.now.state(command_id) == "in_doubt"
    assert (await two.now.one("SELECT rule FROM attempts"))["rule"] == "recovered"


async def test_what_is_parked_on_the_topic_is_parked_and_is_not_told_of_again(two: Two) -> None:
    command_id = await two.was.parked()
    assert (await two.recover()).commands_parked == 1
    assert await two.now.state(command_id) == "parked"
    assert [one["type"] for one in await two.now.outcomes(command_id)] == ["command.parked"]
    assert await two.outbox() == ["audit"]


async def test_duplicates_and_conflicts_that_were_told_are_not_told_again(two: Two) -> None:
    command_id = await two.was.send("cash.adjust")
    await two.was.send("cash.adjust", command_id=str(command_id), issued_by="another")
    await two.was.answer(DONE)
    await two.recover()
    types = [one["type"] for one in await two.now.outcomes(command_id)]
    assert types == ["command.conflicted", "command.succeeded"]
    assert await two.outbox() == ["dead_letter", "audit"]


async def test_two_events_never_have_one_number(two: Two) -> None:
    await two.was.send("cash.adjust")
    await two.was.answer(DONE)
    mine = await two.now.send("cash.adjust")
    await two.now.answer(DONE)
    await two.recover()
    rows = await two.now.rows("SELECT command_id, account_seq, value FROM outcomes ORDER BY account_seq")
    assert [row["account_seq"] for row in rows] == [1, 2]
    assert rows[1]["command_id"] == mine
    assert json.loads(bytes(rows[1]["value"]))["account_seq"] == 2
    assert sorted(await two.outbox()) == ["audit", "outcome"]
    lane = await two.now.one("SELECT account_seq, fence FROM lanes")
    assert lane["account_seq"] == 2
    assert lane["fence"] > FENCE_LEAP


async def test_an_id_of_which_only_the_outcome_is_left_stays_used(two: Two) -> None:
    command_id = await two.was.send("cash.adjust")
    await two.was.answer(DONE)
    found = await two.remembered()
    found.records.clear()
    done = await recover(two.now.engine, two.now.settings, found, "ann", "the topic is gone, too")
    assert done.ids_without_record == 1
    await two.now.send("cash.adjust", command_id=str(command_id))
    await two.now.claim_nothing()
    assert (await two.now.last(command_id))["type"] == "command.conflicted"


async def test_a_healthy_database_with_nothing_waiting_is_left_alone(two: Two) -> None:
    await two.now.send("cash.adjust")
    await two.now.answer(DONE)
    with pytest.raises(NothingMatchedError):
        await two.recover()
    assert await two.now.rows("SELECT 1 FROM audit") == []


async def test_a_place_that_moved_since_it_was_read_is_refused(two: Two) -> None:
    await two.was.send("cash.adjust")
    found = await two.remembered()
    await two.now.send("cash.adjust")
    with pytest.raises(RefusedByGuardError, match="a worker runs"):
        await recover(two.now.engine, two.now.settings, found, "ann", "too early")


async def test_recovering_twice_changes_nothing_more(two: Two) -> None:
    command_id: UUID = await two.was.send("order.place")
    await two.recover()
    with pytest.raises(NothingMatchedError):
        await two.recover()
    assert len(await two.now.known(command_id)) == 1


async def test_a_confirmed_answer_ends_a_recovered_doubt(two: Two) -> None:
    freeze = await two.was.send("cash.freeze")
    unfreeze = await two.was.send("cash.unfreeze", {"freeze": {"command_id": str(freeze)}})
    await two.recover()
    await two.now.ten_seconds_pass()
    await two.now.answer(Confirmed(Numbers(serial_num="S9"), "inner_success"))
    turn = await two.now.answer(Confirmed(Numbers(serial_num="S9"), "inner_success"))
    assert turn.command.command_id == unfreeze
    assert turn.intent.target == Numbers(serial_num="S9"), "the number comes from the first, which is known again"
    assert await two.now.rows("SELECT 1 FROM doubts") == []


async def test_what_the_audit_forgot_is_taken_back_and_the_recovery_follows_it(two: Two) -> None:
    command_id = await two.was.parked("temp.adjust")
    done = await two.was.cli("in-doubt", "resolve", str(command_id), "--not-applied", "--reason", "why", "--yes")
    assert done.returncode == 0, done.stderr
    found = await two.remembered()
    [lost] = await two.was.rows("SELECT value FROM audit")
    found.audit.append(RawRecord("audit", 0, 0, 1_700_000_000_000, b"ann", bytes(lost["value"])))
    shown = await preview(two.now.engine, two.now.settings, found)
    assert shown == await recover(two.now.engine, two.now.settings, found, "ben", "the backup of 03:00")
    assert shown.audit_forgotten == 1
    rows = await two.now.rows("SELECT audit_seq, action, value, taken_back FROM audit ORDER BY audit_seq")
    assert [(row["audit_seq"], row["action"], row["taken_back"]) for row in rows] == [
        (1, "in-doubt.resolve", True),
        (2, "recover", False),
    ]
    assert bytes(rows[0]["value"]) == bytes(lost["value"])
    assert await two.outbox() == ["audit"]


async def test_a_dead_letter_that_was_edited_before_the_restore_is_not_put_back_again_under_another_id(
    two: Two, tmp_path: Path
) -> None:
    """Its command may have been sent, and nothing that was published tells of it: another id would double the effect."""
    await two.was.send("cash.adjust", payload={"amount": "1e3"})
    [dead_letter_id] = map(str, await ids(two.was))
    edited = new_command("cash.adjust", two.was.account_no)
    assert (await edit(two.was, [{"dead_letter_id": dead_letter_id, "value": edited}], tmp_path)).returncode == 0
    await two.was.answer(DONE)
    await two.recover(untold=["command.succeeded"], audit=True)
    [row] = await letters(two.now)
    assert (str(row["dead_letter_id"]), row["state"]) == (dead_letter_id, "new")
    other = new_command("cash.adjust", two.now.account_no)
    done = await edit(two.now, [{"dead_letter_id": dead_letter_id, "value": other}], tmp_path)
    assert (done.returncode, await places(two.now)) == (5, [])
    assert f"dead letter {dead_letter_id} was put back by ann at " in done.stderr
    assert f"as command {edited['command_id']}, before the database was restored" in done.stderr


async def test_a_dead_letter_that_was_put_back_before_the_restore_is_not_put_back_again(two: Two) -> None:
    await quarantined(two.was, 2)
    await two.now.do(REFUSE)
    two.now.partition = two.was.partition
    for row in await two.was.rows('SELECT topic, value FROM records ORDER BY "offset"'):
        await two.now.read(row["topic"], bytes(row["value"]))  # the backup was taken here
    await two.now.do(ALLOW)
    first, second = map(str, await ids(two.was))
    assert (await two.was.cli("dead-letters", "redrive", first, *REDRIVE)).returncode == 0
    await two.was.answer(DONE)
    await two.recover(untold=["command.succeeded"], audit=True)
    shown = await two.now.cli("dead-letters", "redrive", first, second, "--preview")
    assert json.loads(shown.stdout)["would"] == {"forgotten": 1, "accepted": 1}
    done = await two.now.cli("dead-letters", "redrive", first, second, *REDRIVE)
    assert (done.returncode, json.loads(done.stdout)["became"]) == (4, {"forgotten": 1, "accepted": 1})
    assert [row["state"] for row in await letters(two.now)] == ["new", "redriven"]
