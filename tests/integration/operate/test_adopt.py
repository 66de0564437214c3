"""A partition whose stored place no longer holds is accepted as it is, with a reason, and once."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.integration.operate.typed import Typed, typed
from tests.support.kafka import Topics, create_topics, produce
from tests.support.waiting import wait_until_async
from worker.ledger.records import RawRecord

WHY = ("--reason", "the old cluster is gone", "--yes")


@dataclass
class Log:
    """A command topic with five records, and the database's opinion of it."""

    topic: str
    kafka: str
    run: Callable[..., Awaitable[Typed]]
    database_url: str

    def place(self, **row: Any) -> None:
        columns = ", ".join(row)
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                f"INSERT INTO offsets (topic, partition, {columns}) VALUES (%s, 0{', %s' * len(row)})",
                [self.topic, *row.values()],
            )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(statement).fetchall()

    async def remove_before(self, offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(self.topic, 0): RecordsToDelete(before_offset=offset)})
        finally:
            await admin.close()


@pytest.fixture
async def log(kafka: str, topics: Topics, database_url: str, operate_env: dict[str, str]) -> Log:
    await create_topics(kafka, [topics.adjustments])

    async def written() -> bool:
        return bool(await produce(kafka, [(topics.adjustments, b"k", b"%d" % n, ()) for n in range(5)]))

    await wait_until_async(written)
    env = {**operate_env, **topics.env(), "LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka}

    async def run(*arguments: str) -> Typed:
        return await typed(env, "topics", "adopt", *arguments)

    return Log(topics.adjustments, kafka, run, database_url)


def digest(value: bytes) -> bytes:
    return RawRecord("", 0, 0, 0, b"k", value).digest()


async def test_a_place_that_holds_is_nothing_to_adopt(log: Log) -> None:
    assert (await log.run(*WHY)).returncode == 3
    log.place(next_offset=2, last_offset=1, last_digest=digest(b"1"))
    done = await log.run(*WHY)
    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.prints("topics adopt")
async def test_a_range_that_was_removed_unread_is_skipped_and_kept_in_mind(log: Log) -> None:
    log.place(next_offset=2, last_offset=1, last_digest=digest(b"1"), stopped_reason="too many refusals")
    await log.remove_before(4)
    asked = await log.run("--reason", "why")
    assert asked.returncode == 5
    assert "skips offsets 2 to 3" in asked.stderr
    assert log.rows("SELECT next_offset FROM offsets") == [(2,)]
    done = await log.run(*WHY, "--output", "json")
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)
    assert (row["why"], row["from_offset"], row["to_offset"]) == ("range_lost", 2, 4)
    assert log.rows("SELECT epoch, next_offset, stopped_reason FROM offsets") == [(1, 4, "too many refusals")]
    assert log.rows("SELECT epoch, from_offset, to_offset FROM skipped_ranges") == [(1, 2, 4)]
    [(actor, action, reason, value)] = log.rows("SELECT actor, action, reason, value FROM audit")
    assert (actor, action, reason) == ("ann", "topics.adopt", WHY[1])
    assert json.loads(value)["after"]["next_offset"] == 4
    assert log.rows("SELECT kind FROM outbox") == [("audit",)]
    assert (await log.run(*WHY)).returncode == 3


@pytest.mark.parametrize(
    "row",
    [
        {"next_offset": 100, "last_offset": 99, "last_digest": b"x"},
        {"next_offset": 2, "last_offset": 1, "last_digest": digest(b"another record")},
    ],
    ids=["it ends before our place", "it holds another record"],
)
async def test_a_topic_that_was_made_again_begins_a_new_epoch(log: Log, row: dict[str, Any]) -> None:
    log.place(**row)
    done = await log.run(*WHY)
    assert done.returncode == 0, done.stderr
    assert "made again" in done.stderr
    assert log.rows("SELECT epoch, next_offset, last_offset, last_digest FROM offsets") == [(2, 0, None, None)]
    assert log.rows("SELECT 1 FROM skipped_ranges") == []
    assert (await log.run(*WHY)).returncode == 3


async def test_at_the_end_of_now_what_the_topic_still_has_is_passed_over_and_can_be_replayed(log: Log) -> None:
    log.place(next_offset=1, last_offset=0, last_digest=digest(b"0"))
    await log.remove_before(2)
    done = await log.run(*WHY, "--at-end")
    assert done.returncode == 0, done.stderr
    assert "replay" in done.stderr
    assert log.rows("SELECT epoch, next_offset, last_offset FROM offsets") == [(1, 5, 0)]
    assert log.rows("SELECT epoch, from_offset, to_offset FROM skipped_ranges") == [(1, 1, 5)]
    log.rows("UPDATE offsets SET last_offset = 4, last_digest = 'another' RETURNING 1")
    assert (await log.run(*WHY, "--at-end")).returncode == 0
    assert log.rows("SELECT epoch, next_offset, last_offset FROM offsets") == [(2, 5, None)]
    assert log.rows("SELECT epoch, from_offset, to_offset FROM skipped_ranges") == [(1, 1, 5), (2, 2, 5)]
    assert (await log.run(*WHY, "--at-end")).returncode == 3
