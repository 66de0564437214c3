"""Records fed past intake: stored as intake would, known ones judged anew, and never told of twice."""

import asyncio
from collections.abc import Sequence

from tests import factories
from tests.integration.store.world import TOPIC, World
from tests.support.commands import new_account, new_command
from worker.ledger.commands import Malformed
from worker.ledger.records import RawRecord
from worker.pipeline.check import check
from worker.store.engine import transaction
from worker.store.feed import feed_batch, place_of
from worker.store.inbox import Judged, Options

PLACE = (TOPIC, 0)
OPTIONS = Options(frozenset(), 1000, accepted_notice=False)


def judged(*records: RawRecord) -> list[Judged]:
    return [(record, check(record, factories.TOPIC_TYPES)) for record in records]


async def feed(world: World, batch: Sequence[Judged], epoch: int = 1) -> list[str]:
    async with transaction(world.engine) as connection:
        found = await feed_batch(connection, batch, {PLACE: epoch}, OPTIONS)
    return [found[place_of(record)] for record, _ in batch]


async def stored(world: World) -> list[tuple[str, bool]]:
    rows = await world.sql('SELECT disposition, command_id FROM records ORDER BY epoch, "offset"')
    return [(row.disposition, row.command_id is not None) for row in rows]


async def test_what_intake_never_brought_is_stored_as_intake_would_and_moves_no_offset(world: World) -> None:
    account = new_account()
    command = new_command("cash.adjust", account)
    other = {**command, "payload": factories.payload("cash.adjust", amount="2000.00")}
    bad = new_command("cash.adjust", account, {"amount": "1e5"})
    records = [world.record(one, partition=0) for one in (command, command, other, bad)]
    records.append(factories.record(b"{", topic=TOPIC, partition=0, offset=90))
    told = ["accepted", "duplicate", "conflict", "refused", "malformed"]
    assert await feed(world, judged(*records)) == told
    assert [disposition for disposition, _ in await stored(world)] == told
    assert await world.types(account) == ["command.duplicate", "command.conflicted", "command.rejected"]
    assert (await world.lane(account)).state == "ready"
    assert await world.sql("SELECT 1 FROM offsets") == []


async def test_what_is_done_is_fed_again_without_a_trace(world: World) -> None:
    account = new_account()
    bad = new_command("cash.adjust", account, {"amount": "1e5"})
    records = [world.record(one, partition=0) for one in (new_command("cash.adjust", account), bad, bad)]
    await world.intake().accept(records, {PLACE: records[0].offset})
    before = await world.sql("SELECT (SELECT count(*) FROM outcomes), (SELECT count(*) FROM outbox)")
    assert await feed(world, judged(*records)) == ["accepted", "refused", "duplicate"]
    assert await world.sql("SELECT (SELECT count(*) FROM outcomes), (SELECT count(*) FROM outbox)") == before


async def test_a_quarantined_record_is_judged_anew_and_keeps_its_bytes(world: World) -> None:
    account = new_account()
    record = world.record(new_command("cash.adjust", account), partition=0)
    set_apart: list[Judged] = [(record, Malformed("QUARANTINED", "the database refused it"))]
    assert await feed(world, set_apart) == ["quarantined"]
    assert await feed(world, set_apart) == ["quarantined"]  # it still cannot be taken: the letter goes out again
    assert (await world.one("SELECT state FROM dead_letters")).state == "new"
    assert await feed(world, judged(record)) == ["accepted"]
    assert (await world.one("SELECT state FROM dead_letters")).state == "redriven"
    assert await stored(world) == [("accepted", True)]
    assert bytes((await world.one("SELECT value FROM records")).value) == record.value
    assert len(await world.sql("SELECT 1 FROM dead_letters")) == 1


async def test_a_refused_record_that_was_edited_is_taken_once_under_its_new_id(world: World) -> None:
    account = new_account()
    refused = world.record(new_command("cash.adjust", account, {"amount": "1e5"}), partition=0)
    await feed(world, judged(refused))
    mended = refused._replace(value=world.record(new_command("cash.adjust", account)).value)
    assert await feed(world, judged(mended)) == ["accepted"]
    assert await feed(world, judged(mended)) == ["accepted"]
    assert await world.types(account) == ["command.rejected"]
    assert len(await world.sql("SELECT 1 FROM commands")) == 1


async def test_two_feeds_of_one_record_at_once_accept_it_once(world: World) -> None:
    account = new_account()
    batch = judged(*(world.record(new_command("cash.adjust", account), partition=0) for _ in range(5)))
    found = await asyncio.gather(*(feed(world, batch) for _ in range(4)))
    assert found == [["accepted"] * 5] * 4
    positions = await world.sql("SELECT position FROM commands ORDER BY position")
    assert [row.position for row in positions] == [1, 2, 3, 4, 5]
    assert await world.types(account) == []
