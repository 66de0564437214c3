"""The outbox and the relays that share it; and the fleet's rate."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from uuid import UUID

import pytest

from tests import factories
from tests.integration.store.world import TOPIC, World, done
from tests.support.commands import new_account
from worker import clock
from worker.errors import PartUnavailableError
from worker.kafka.producer import Message, Permanent, SendResult, Sent, Unavailable
from worker.pipeline.publish import Publish
from worker.store.engine import transaction
from worker.store.outbox import hold_shards, leave_shards
from worker.store.rate import borrow
from worker.store.tables import SHARDS

TOPICS = {"outcome": "outcomes", "dead_letter": "dead-letters", "audit": "audit"}


class Broker:
    """Takes messages as `answer` says, and keeps those taken, by send."""

    def __init__(self, answer: Callable[[Message], SendResult | None] = lambda _: None) -> None:
        self.sends: list[list[Message]] = []
        self.answer = answer
        self._offsets = count()

    async def send(self, messages: Sequence[Message]) -> list[SendResult]:
        answers = [self.answer(one) or Sent(0, next(self._offsets)) for one in messages]
        self.sends.append([one for one, said in zip(messages, answers, strict=True) if isinstance(said, Sent)])
        return answers

    def taken(self) -> list[bytes | None]:
        return [one.value for send in self.sends for one in send]


def relay(world: World, broker: Broker) -> Publish:
    return Publish(world.engine, broker, TOPICS, clock.new_id(), world.metrics, world.log)  # type: ignore[arg-type]


async def tell(world: World, account: str, times: int) -> None:
    for i in range(times):
        await world.accept_new("cash.adjust", account)
        await world.go(done(serial_num=f"S{i}"))


async def stored(world: World, account: str) -> list[bytes]:
    rows = await world.sql("SELECT value FROM outcomes WHERE account_no = :a ORDER BY account_seq", a=account)
    return [bytes(row.value) for row in rows]


async def test_an_accounts_outcomes_go_one_after_the_other_and_are_taken_out(world: World) -> None:
    accounts = [new_account() for _ in range(3)]
    for account in accounts:
        await tell(world, account, 3)
    broker = Broker()
    publish = relay(world, broker)
    await publish.hold()
    assert await publish.publish() == 9
    for send in broker.sends:
        assert len({one.key for one in send}) == len(send)
    for account in accounts:
        of_account = [one.value for send in broker.sends for one in send if one.key == account.encode()]
        assert of_account == await stored(world, account)
    assert await world.sql("SELECT 1 FROM outbox") == []
    assert (
        await world.sql("SELECT 1 FROM outcomes LEFT JOIN publications p USING (event_id) WHERE p.event_id IS NULL")
        == []
    )
    assert await publish.publish() == 0


async def test_what_was_not_acknowledged_is_sent_again_with_the_same_bytes(world: World) -> None:
    account = new_account()
    await tell(world, account, 2)
    broker = Broker(lambda _: Unavailable("away"))
    publish = relay(world, broker)
    await publish.hold()
    with pytest.raises(PartUnavailableError):
        await publish.publish()
    broker.answer = lambda _: None
    await publish.publish()
    assert broker.taken() == await stored(world, account)


async def test_a_row_set_aside_holds_its_account_alone(world: World) -> None:
    stuck, free = new_account(), new_account()
    await tell(world, stuck, 2)
    await tell(world, free, 2)
    broker = Broker(lambda one: Permanent("too large") if one.key == stuck.encode() else None)
    publish = relay(world, broker)
    await publish.hold()
    assert await publish.publish() == 2
    broker.answer = lambda _: None
    assert await publish.publish() == 0
    assert broker.taken() == await stored(world, free)
    rows = await world.sql("SELECT set_aside_reason FROM outbox ORDER BY outbox_id")
    assert [row.set_aside_reason for row in rows] == ["too large", None]


async def test_dead_letters_do_not_wait_for_each_other(world: World) -> None:
    records = [factories.record(b"x%d" % i, topic=TOPIC, key=b"same", offset=i) for i in range(3)]
    await world.intake().accept(records, {(TOPIC, 0): 0})
    broker = Broker(lambda one: Permanent("no") if one.value == b"x1" else None)
    publish = relay(world, broker)
    await publish.hold()
    assert await publish.publish() == 2
    assert broker.taken() == [b"x0", b"x2"]


async def hold(world: World, owner: UUID, lease_s: float = 10.0) -> set[int]:
    async with transaction(world.engine) as connection:
        return set(await hold_shards(connection, owner, lease_s))


async def test_a_relay_alone_holds_all_shards(world: World) -> None:
    assert await hold(world, clock.new_id()) == set(range(SHARDS))


async def test_relays_that_come_later_get_their_share(world: World) -> None:
    relays = [clock.new_id() for _ in range(3)]
    assert len(await hold(world, relays[0])) == SHARDS
    for _ in range(3):
        held = [await hold(world, one) for one in relays]
    assert sorted(len(one) for one in held) == [10, 11, 11]
    assert set.union(*held) == set(range(SHARDS))
    assert sum(map(len, held)) == SHARDS


async def test_what_is_taken_from_a_living_relay_is_used_only_when_it_knows(world: World) -> None:
    old, new = clock.new_id(), clock.new_id()
    await hold(world, old)
    assert await hold(world, new) == set()
    left = await hold(world, old)
    assert await hold(world, new) == set(range(SHARDS)) - left


async def test_shards_of_a_relay_that_died_or_left_are_taken_over(world: World) -> None:
    dead, leaving, heir = clock.new_id(), clock.new_id(), clock.new_id()
    for _ in range(3):
        await hold(world, dead)
        await hold(world, leaving)
        await hold(world, heir)
    await world.age(11)
    await hold(world, leaving)
    await hold(world, heir)
    async with transaction(world.engine) as connection:
        await leave_shards(connection, leaving)
    assert await hold(world, heir) == set(range(SHARDS))


async def test_relays_at_once_never_hold_one_shard_twice(world: World) -> None:
    relays = [clock.new_id() for _ in range(4)]
    for _ in range(4):
        await asyncio.gather(*(hold(world, one) for one in relays))
    held = [await hold(world, one) for one in relays]
    assert sum(map(len, held)) == len(set.union(*held)) == SHARDS


async def test_the_fleet_never_borrows_more_than_its_rate_and_one_burst(world: World) -> None:
    per_s, burst = 200.0, 20.0
    began = (await world.one("SELECT clock_timestamp() AS at, tokens FROM rate")).at
    await world.sql("UPDATE rate SET tokens = 0, filled_at = clock_timestamp()")

    async def ask() -> int:
        async with transaction(world.engine) as connection:
            return await borrow(connection, want=7, per_s=per_s, burst=burst, reserve=0.0)

    granted = 0
    for _ in range(15):
        granted += sum(await asyncio.gather(*(ask() for _ in range(8))))
    took = (await world.one("SELECT clock_timestamp() AS at")).at - began
    assert 0 < granted <= took.total_seconds() * per_s + burst


async def test_what_is_kept_for_urgent_calls_is_not_lent(world: World) -> None:
    await world.sql("UPDATE rate SET tokens = 10, filled_at = now() + interval '1 hour'")
    async with transaction(world.engine) as connection:
        assert await borrow(connection, want=50, per_s=0.001, burst=10, reserve=4) == 6
        assert await borrow(connection, want=50, per_s=0.001, burst=10, reserve=0) == 4
