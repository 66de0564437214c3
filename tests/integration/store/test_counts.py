"""What the gauges show: every count by one statement, bounded whatever upstream calls its currencies."""

import pytest

from tests.integration.store.world import DOUBT, World, done
from tests.support import new_account
from worker.app.gauges import Gauges
from worker.errors import PartUnavailableError
from worker.store.counts import read_counts
from worker.store.engine import transaction

CURRENCIES_MAX = 11


async def test_doubts_are_counted_by_age_and_their_amounts_by_no_more_than_eleven_currencies(world: World) -> None:
    for number in range(14):
        currency = f"Z{chr(65 + number)}Z" if number < 12 else f"a word {number}"
        await world.accept_new("cash.adjust", new_account(), {"currency": currency, "amount": "2.50"})
    for turn in await world.claim():
        await world.finish(turn, DOUBT)
    await world.age(120)
    await world.accept_new("cash.adjust", new_account(), {"currency": "ZAZ", "amount": "1"})
    await world.go(DOUBT)
    async with transaction(world.engine) as connection:
        counts = await read_counts(connection)
    assert counts.in_doubt == {("cash.adjust",): 15}
    assert counts.doubts_by_age == {("under_1m",): 1, ("under_10m",): 14}
    assert 119 < counts.oldest_doubt_s < 180
    assert len(counts.doubts_amount) == CURRENCIES_MAX
    assert counts.doubts_amount["cash.adjust", "ZAZ"] == 3.5
    assert counts.doubts_amount["cash.adjust", "other"] == 4 * 2.5
    assert sum(counts.doubts_amount.values()) == 14 * 2.5 + 1


async def test_gauges_show_what_is_there_and_zero_where_nothing_is(world: World) -> None:
    await world.accept_new("cash.adjust", new_account())
    await world.age(30)
    gauges = Gauges(world.engine, world.metrics)
    assert await gauges.read() >= 5
    assert gauges.queued == 1
    assert await gauges.read_invariants() >= 45
    text = world.metrics.render().decode()
    for line in (
        'ledger_lanes{state="ready"} 1.0',
        'ledger_lanes{state="held"} 0.0',
        "ledger_commands_queued 1.0",
        'ledger_commands_in_doubt{operation="order.place"} 0.0',
        "ledger_timers_overdue 0.0",
        'ledger_invariant_breaches{invariant="lanes ready and not taken"} 0.0',
    ):
        assert line in text
    oldest = next(line for line in text.splitlines() if line.startswith("ledger_oldest_ready_lane_seconds"))
    assert 29 < float(oldest.split()[1]) < 90
    await world.age(60)
    await gauges.read_invariants()
    assert 'ledger_invariant_breaches{invariant="lanes ready and not taken"} 1.0' in world.metrics.render().decode()


async def test_what_waits_is_counted_from_each_lanes_head_on(world: World) -> None:
    gauges, [one, other] = Gauges(world.engine, world.metrics), (new_account(), new_account())
    for account_no in (one, one, one, other):
        await world.accept_new("cash.adjust", account_no)
    turns = await world.claim()
    await gauges.read()
    assert gauges.queued == 4, "one that is under way waits for its answer"
    for turn in turns:
        await world.finish(turn, done())
    await gauges.read()
    assert gauges.queued == 2
    for _ in range(2):
        await world.go(done())
    await gauges.read()
    assert gauges.queued == 0


async def test_a_verdict_is_counted_when_it_is_committed_and_not_before(world: World) -> None:
    counted = world.metrics.commands_finished.labels("cash.adjust", "succeed")
    await world.accept_new("cash.adjust", new_account())
    turn = await world.claim_one()
    await world.sql("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure'; END $$
    """)
    await world.sql("""
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON outcomes DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    with pytest.raises(PartUnavailableError):
        await world.finish(turn, done())
    assert _value(counted) == 0
    await world.sql("DROP TRIGGER at_commit ON outcomes")
    await world.finish(turn, done())
    assert _value(counted) == 1
    await world.finish(turn, done())
    assert _value(counted) == 1, "an answer told twice is one verdict"


def _value(counter: object) -> float:
    return counter._value.get()  # type: ignore[attr-defined,no-any-return]
