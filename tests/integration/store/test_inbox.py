"""A batch of records in one database transaction: places without gaps, ids once, bad data set apart."""

import asyncio
import random  # noqa: TID251 - shuffled by a seed
from typing import Any

import pytest

from tests import factories
from tests.integration.store.world import TOPIC, World, done
from tests.support.commands import new_account, new_command
from worker.errors import LostPlaceError
from worker.ledger.commands import Command
from worker.ledger.records import RawRecord
from worker.pipeline import accept as accept_stage
from worker.pipeline.check import check

PLACE = (TOPIC, 0)


def batch(commands: list[dict[str, Any]], partition: int = 0, first: int = 0) -> list[RawRecord]:
    return [
        factories.record(command, key=command["account_no"], topic=TOPIC, partition=partition, offset=first + i)
        for i, command in enumerate(commands)
    ]


async def positions(world: World, account: str) -> list[int]:
    rows = await world.sql("SELECT position FROM commands WHERE account_no = :a ORDER BY position", a=account)
    return [row.position for row in rows]


async def dispositions(world: World) -> list[str]:
    return [row.disposition for row in await world.sql('SELECT disposition FROM records ORDER BY "offset"')]


async def test_intakes_at_once_give_places_without_gaps_and_without_deadlock(world: World) -> None:
    accounts = [new_account() for _ in range(8)]
    chance = random.Random(7)  # noqa: S311
    intake = world.intake()

    async def feed(partition: int) -> None:
        for turn in range(6):
            chosen = chance.sample(accounts, 6)
            records = batch([new_command("cash.adjust", one) for one in chosen], partition, turn * 6)
            await intake.accept(records, {(TOPIC, partition): turn * 6})

    await asyncio.gather(*(feed(partition) for partition in range(6)))
    found = {account: await positions(world, account) for account in accounts}
    assert sum(len(places) for places in found.values()) == 6 * 6 * 6
    assert all(places == list(range(1, len(places) + 1)) for places in found.values())


async def test_a_batch_read_from_a_place_that_moved_stores_nothing(world: World) -> None:
    account = new_account()
    intake = world.intake()
    await intake.accept(batch([new_command("cash.adjust", account)]), {PLACE: 0})
    with pytest.raises(LostPlaceError) as lost:
        await intake.accept(batch([new_command("cash.adjust", account)]), {PLACE: 0})
    assert lost.value.partitions == {PLACE}
    assert await positions(world, account) == [1]


async def test_two_intakes_with_one_batch_store_it_once(world: World) -> None:
    account = new_account()
    records = batch([new_command("cash.adjust", account) for _ in range(3)])
    results = await asyncio.gather(
        *(world.intake().accept(records, {PLACE: 0}) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(one, LostPlaceError) for one in results) == 2
    assert await positions(world, account) == [1, 2, 3]


async def test_duplicates_and_conflicts_in_one_batch_are_told_apart(world: World) -> None:
    account = new_account()
    first = new_command("cash.adjust", account)
    again = {**first, "issued_at": "2026-11-22T09:00:00Z", "correlation_id": "c2"}
    other = {**first, "payload": factories.payload("cash.adjust", amount="2000.00")}
    await world.intake().accept(batch([first, again, other]), {PLACE: 0})
    assert await dispositions(world) == ["accepted", "duplicate", "conflict"]
    duplicate, conflicted = await world.outcomes(account)
    assert (duplicate["type"], duplicate["refers_to"], duplicate["result"]) == ("command.duplicate", None, None)
    assert (conflicted["type"], conflicted["error"]["code"]) == ("command.conflicted", "ID_CONFLICT")
    [letter] = await world.sql("SELECT reason, code FROM dead_letters")
    assert tuple(letter) == ("ID_CONFLICT", "ID_CONFLICT")


async def test_a_duplicate_of_what_has_ended_is_answered_with_its_end(world: World) -> None:
    account = new_account()
    command = new_command("cash.freeze", account)
    await world.accept(command)
    await world.go(done(serial_num="S1"))
    await world.accept(command)
    succeeded, duplicate = await world.outcomes(account)
    assert duplicate["refers_to"] == succeeded["event_id"]
    assert duplicate["result"] == succeeded["result"]


async def test_one_id_from_two_partitions_at_once_is_accepted_once(world: World) -> None:
    account = new_account()
    command = new_command("cash.adjust", account)
    intakes = (world.intake().accept(batch([command], p), {(TOPIC, p): 0}) for p in range(5))
    await asyncio.gather(*intakes)
    assert sorted(await dispositions(world)) == ["accepted", *["duplicate"] * 4]
    assert await positions(world, account) == [1]


async def test_one_id_with_two_contents_for_two_accounts_at_once_is_one_conflict(world: World) -> None:
    accounts = [new_account(), new_account()]
    one = new_command("cash.adjust", accounts[0])
    two = {**one, "account_no": accounts[1]}
    await asyncio.gather(
        world.intake().accept(batch([one], 0), {(TOPIC, 0): 0}), world.intake().accept(batch([two], 1), {(TOPIC, 1): 0})
    )
    assert sorted(await dispositions(world)) == ["accepted", "conflict"]
    told = sorted([await world.types(account) for account in accounts])
    assert told == [[], ["command.conflicted"]]


async def test_refusals_get_their_outcome_and_dead_letter_and_leave_no_gap(world: World) -> None:
    account = new_account()
    bad = new_command("cash.adjust", account, {"amount": "1e5"})
    good = new_command("cash.adjust", account)
    worse = new_command("cash.adjust", account, {"amount": 5})
    await world.intake().accept(batch([bad, good, worse, bad]), {PLACE: 0})
    assert await dispositions(world) == ["refused", "accepted", "refused", "duplicate"]
    told = await world.outcomes(account)
    assert [one["type"] for one in told] == ["command.rejected", "command.rejected", "command.duplicate"]
    assert {one["error"]["field"] for one in told} == {"payload.amount"}
    assert (told[2]["refers_to"], told[2]["error"]) == (told[0]["event_id"], told[0]["error"])
    assert len(await world.sql("SELECT 1 FROM dead_letters WHERE reason = 'REFUSED'")) == 2
    assert len(await world.sql("SELECT 1 FROM outbox WHERE kind = 'dead_letter'")) == 2
    assert await positions(world, account) == [1]


async def test_malformed_records_are_kept_byte_for_byte(world: World) -> None:
    headers = ((b"\xff\xfe", None), (b"", b""), (b"x", b"\x00\xff"))
    record = factories.record(b"\x00\xff{", topic=TOPIC, key=b"\x00\xfe", offset=0, headers=headers)
    tombstone = factories.record(None, topic=TOPIC, key=None, offset=1)
    await world.intake().accept([record, tombstone], {PLACE: 0})
    kept = await world.sql('SELECT key, value FROM records ORDER BY "offset"')
    assert [tuple(row) for row in kept] == [(b"\x00\xfe", b"\x00\xff{"), (None, None)]


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**62])
async def test_any_timestamp_that_a_producer_writes_is_taken(world: World, timestamp_ms: int) -> None:
    record = factories.record(new_command("cash.adjust", factories.ACCOUNT_NO), offset=0, timestamp_ms=timestamp_ms)
    assert await world.intake().accept([record], {PLACE: 0}) == {PLACE: 1}


def poison(monkeypatch: pytest.MonkeyPatch, command_ids: set[str]) -> None:
    """Let what no judgement would let through come to Postgres: a NUL, which jsonb refuses."""

    def judge(record: RawRecord, topics: Any) -> Any:
        judged = check(record, topics)
        if isinstance(judged, Command) and str(judged.command_id) in command_ids:
            judged.payload["remark"] = "\x00"
        return judged

    monkeypatch.setattr(accept_stage, "check", judge)


async def test_a_record_that_the_database_refuses_is_quarantined_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = new_account()
    commands = [new_command("cash.adjust", account) for _ in range(9)]
    bad = {commands[i]["command_id"] for i in (0, 4, 5, 8)}
    poison(monkeypatch, bad)
    assert await world.intake().accept(batch(commands), {PLACE: 0}) == {PLACE: 9}
    expected = ["quarantined" if one["command_id"] in bad else "accepted" for one in commands]
    assert await dispositions(world) == expected
    assert await positions(world, account) == [1, 2, 3, 4, 5]
    assert [row.reason for row in await world.sql("SELECT reason FROM dead_letters")] == ["QUARANTINED"] * 4


async def test_refusals_in_a_row_stop_their_partition_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the batch had to be halved: what lies behind in other partitions is stored."""
    account = new_account()
    refused = [factories.record(b"x", topic=TOPIC, partition=0, offset=i) for i in range(6)]
    commands = [new_command("cash.adjust", account) for _ in range(4)]
    others = batch(commands, partition=1)
    poison(monkeypatch, {commands[3]["command_id"]})
    intake = world.intake(refusals_in_row_max=3)
    stored = await intake.accept([*refused, *others], {(TOPIC, 0): 0, (TOPIC, 1): 0})
    assert stored == {(TOPIC, 0): 3, (TOPIC, 1): 4}
    assert await positions(world, account) == [1, 2, 3]
    [row] = await world.sql("SELECT stopped_reason FROM offsets WHERE partition = 0")
    assert "3 records in a row" in row.stopped_reason
    with pytest.raises(LostPlaceError):
        await intake.accept(refused[3:], {(TOPIC, 0): 3})


async def test_a_good_record_ends_the_row_of_refusals(world: World) -> None:
    good = new_command("cash.adjust", new_account())
    records = [factories.record(b"x", topic=TOPIC, offset=i) for i in (0, 1, 3, 4)]
    records.insert(2, *batch([good], first=2))
    assert await world.intake(refusals_in_row_max=3).accept(records, {PLACE: 0}) == {PLACE: 5}


async def test_accepted_is_told_only_where_it_was_asked_for(world: World) -> None:
    account = new_account()
    await world.intake(accepted_notice=True).accept(batch([new_command("cash.adjust", account)]), {PLACE: 0})
    assert await world.types(account) == ["command.accepted"]
