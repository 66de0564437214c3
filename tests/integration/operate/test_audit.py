"""The audit cannot be edited unseen: a row that was altered, removed or inserted, in the table or on the topic, is named."""

import asyncio
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg
import pytest
from jsonschema import Draft202012Validator

from schemas.export import documents
from tests.integration.operate.conftest import Typed, typed
from tests.support.kafka import Topics, create_topics, delete_topics, produce
from tests.support.quickest import quickest_s
from worker import clock
from worker.kafka.past import open_past
from worker.kafka.producer import Producer
from worker.ledger.records import RawRecord
from worker.observe.metrics import Metrics
from worker.operate.audit import as_row
from worker.pipeline.publish import Publish
from worker.settings import Settings
from worker.store.adoptions import read_now
from worker.store.audit import Action, list_audit, note
from worker.store.chain import take_back
from worker.store.engine import opened, transaction
from worker.store.facts import Facts

SCHEMA = Draft202012Validator(documents()["audit.json"], format_checker=Draft202012Validator.FORMAT_CHECKER)
TAMPER = "SET session_replication_role = replica"
"""Whoever may do this, the owner of the server, passes by the triggers."""


class Office:
    """Operators that change things, the audit in its table and on its topic, and somebody who has both in hand."""

    def __init__(self, env: dict[str, str], kafka: str) -> None:
        self.env, self.kafka = env, kafka
        self.settings = Settings.from_env(env, needs=("kafka", "database"))

    async def change(self, reason: str = "why", actor: str = "ann", **after: Any) -> None:
        async with opened(self.settings.database_url.get_secret_value()) as engine, transaction(engine) as connection:
            facts = Facts()
            action = Action(actor, "pause", reason, "everything", {"paused": False}, after or {"paused": True})
            note(facts, clock.new_id(), action, await read_now(connection))
            await facts.write(connection)

    async def publish(self) -> None:
        """Let the relay send what waits."""
        async with opened(self.settings.database_url.get_secret_value()) as engine:
            topics = {"audit": self.settings.topic_audit}
            relay = Publish(engine, Producer(self.settings), topics, clock.new_id(), Metrics(), _Silent())  # type: ignore[arg-type]
            await relay.hold()
            while await relay.publish():
                pass
            await relay.leave()
            await relay.close()

    async def changed(self, count: int, *, published: bool = True) -> None:
        for number in range(1, count + 1):
            await self.change(f"reason {number}")
        if published:
            await self.publish()

    def do(self, *statements: str) -> None:
        """Change the tables past their triggers."""
        with psycopg.connect(self.settings.database_url.get_secret_value()) as connection:
            connection.execute(TAMPER)
            for statement in statements:
                connection.execute(statement)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url.get_secret_value()) as connection:
            return connection.execute(statement).fetchall()

    async def topic(self) -> list[RawRecord]:
        async with open_past(self.settings) as past:
            found = await past.ends([self.settings.topic_audit])
            return [r for place, span in found.items() for r in await past.read(place, *span)]

    async def make_topic_again(self, values: list[bytes | None]) -> None:
        """Put a topic with these values in the place of the one there is: Kafka itself alters no record."""
        name = self.settings.topic_audit
        await delete_topics(self.kafka, name)
        await create_topics(self.kafka, [name])
        await produce(self.kafka, [(name, b"ann", value, ()) for value in values])

    async def verify(self) -> Typed:
        return await typed(self.env, "audit", "verify", "--output", "json")

    async def differs(self) -> list[tuple[int, str, str]]:
        """Say what verify names: number, side and fault of each row; its first sentence is on stderr."""
        done = await self.verify()
        assert (done.returncode, bool(done.stdout)) == (1, True), done.stderr
        found = json.loads(done.stdout)["differences"]
        assert found[0]["sentence"] in done.stderr
        return [(one["seq"], one["side"], one["fault"]) for one in found]

    async def holds(self) -> dict[str, Any]:
        done = await self.verify()
        assert done.returncode == 0, done.stdout
        return dict(json.loads(done.stdout))


class _Silent:
    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.fixture
async def office(kafka: str, topics: Topics, operate_env: dict[str, str]) -> Office:
    await create_topics(kafka, [topics.audit])
    return Office({**operate_env, **topics.env(), "LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka}, kafka)


async def test_what_lies_on_the_topic_is_as_its_schema_says(office: Office) -> None:
    for arguments in (("pause",), ("resume",), ("accounts", "hold", "H1")):
        assert (await typed(office.env, *arguments, "--reason", "why", "--yes")).returncode == 0
    await office.publish()
    rows = [json.loads(record.value or b"") for record in await office.topic()]
    assert [row["action"] for row in rows] == ["pause", "resume", "accounts.hold"]
    for row in rows:
        SCHEMA.validate(row)
    for name, value in {"audit_seq": "1", "previous_hash": "", "after": None, "recorded_at": 0}.items():
        assert not SCHEMA.is_valid(rows[0] | {name: value})


@pytest.mark.prints("audit verify")
async def test_every_change_is_one_row_of_one_chain_in_the_table_and_on_the_topic(office: Office) -> None:
    assert await office.holds() == {
        "table": 0,
        "topic": 0,
        "compared": 0,
        "waiting": 0,
        "kept_no_more": 0,
        "differences": [],
    }
    await office.changed(3)
    await office.change("not published yet")
    found = await office.holds()
    assert (found["table"], found["topic"], found["compared"], found["waiting"]) == (4, 3, 3, 1)
    rows = office.rows("SELECT audit_seq, previous_hash, hash, value, database_role FROM audit ORDER BY audit_seq")
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    assert [row[1] for row in rows[1:]] == [row[2] for row in rows[:-1]]
    assert all(sha256(row[3]).digest() == row[2] for row in rows)
    said = [json.loads(row[3]) for row in rows]
    assert [one["audit_seq"] for one in said] == [1, 2, 3, 4]
    assert [one["database_role"] for one in said] == [row[4] for row in rows]
    on_topic = await office.topic()
    assert [(one.key, one.value) for one in on_topic] == [(b"ann", row[3]) for row in rows[:3]]


async def test_operators_at_once_get_consecutive_numbers_and_are_published_in_their_sequence(office: Office) -> None:
    await asyncio.gather(*(office.change(f"reason {n}", actor=f"op{n}") for n in range(12)))
    await office.publish()
    assert [json.loads(one.value or b"")["audit_seq"] for one in await office.topic()] == list(range(1, 13))
    assert (await office.holds())["compared"] == 12


async def test_a_row_that_was_sent_twice_is_one_row(office: Office) -> None:
    await office.changed(2)
    [first, _] = await office.topic()
    await produce(office.kafka, [(office.settings.topic_audit, b"ann", first.value, ())])
    assert (await office.holds())["topic"] == 2


async def test_the_database_refuses_to_change_what_was_written(office: Office, subtests: pytest.Subtests) -> None:
    await office.changed(1)
    for statement in (
        "UPDATE audit SET reason = 'another'",
        "UPDATE audit SET value = ''",
        "UPDATE audit SET published_at = NULL",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "UPDATE audit_head SET audit_seq = 0",
    ):
        with (
            subtests.test(statement),
            psycopg.connect(office.settings.database_url.get_secret_value()) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="the audit only grows"),
        ):
            connection.execute(statement)
    await office.holds()


FORGED = """
    INSERT INTO audit (audit_id, recorded_at, actor, database_role, action, reason, subject, value, audit_seq, previous_hash,
                       hash, taken_back, published_at, published_partition, published_offset)
    SELECT '0f8fad5b-d9cb-469f-a165-70867728950e', recorded_at, 'eve', database_role, action, reason, subject, forged, audit_seq,
           previous_hash, sha256(forged), true, published_at, published_partition, published_offset
    FROM audit, LATERAL (SELECT convert_to(replace(replace(convert_from(value, 'UTF8'), '"ann"', '"eve"'), audit_id::text,
        '0f8fad5b-d9cb-469f-a165-70867728950e'), 'UTF8') AS forged) f
"""
REWRITTEN = """
    UPDATE audit SET actor = 'eve', value = convert_to(replace(convert_from(value, 'UTF8'), '"ann"', '"eve"'), 'UTF8'),
        hash = sha256(convert_to(replace(convert_from(value, 'UTF8'), '"ann"', '"eve"'), 'UTF8'))
"""


HEAD_AT_3 = "UPDATE audit_head h SET audit_seq = 3, hash = a.hash FROM audit a WHERE a.audit_seq = 3"
DONE_TO_THE_TABLE: dict[str, tuple[str, list[tuple[int, str, str]]]] = {
    "a column": ("UPDATE audit SET reason = 'x' WHERE audit_seq = 3", [(3, "table", "altered")]),
    "an hour": (
        "UPDATE audit SET recorded_at = recorded_at - interval '1 h' WHERE audit_seq = 3",
        [(3, "table", "altered")],
    ),
    "its bytes": ("UPDATE audit SET value = value || ' ' WHERE audit_seq = 3", [(3, "table", "altered")]),
    "its bytes and hash": (f"{REWRITTEN} WHERE audit_seq = 3", [(3, "table", "altered")]),
    "the last": (f"{REWRITTEN} WHERE audit_seq = 5", [(5, "table", "altered")]),
    "one removed": ("DELETE FROM audit WHERE audit_seq = 2", [(2, "table", "removed")]),
    "the first removed": ("DELETE FROM audit WHERE audit_seq = 1", [(1, "table", "removed")]),
    "the tail cut off": ("DELETE FROM audit WHERE audit_seq > 3", [(4, "table", "removed"), (5, "table", "removed")]),
    "one inserted": (f"{FORGED} WHERE audit_seq = 2", [(2, "table", "inserted")]),
    "one inserted at the end": (f"{FORGED} WHERE audit_seq = 5", [(5, "table", "inserted")]),
    "one removed for another": (
        f"{FORGED} WHERE audit_seq = 2; DELETE FROM audit WHERE audit_seq = 2 AND actor = 'ann'",
        [(2, "table", "inserted"), (2, "table", "removed")],
    ),
    "the tail and the head": (
        f"{HEAD_AT_3}; DELETE FROM audit WHERE audit_seq > 3",
        [(4, "topic", "forgotten"), (5, "topic", "forgotten")],
    ),
    "the head": ("UPDATE audit_head SET hash = sha256('x')", [(5, "table", "altered")]),
}
DONE_BEFORE_PUBLISHING = {
    "altered": (f"{REWRITTEN} WHERE audit_seq = 2", [(2, "table", "altered")]),
    "the last altered": (f"{REWRITTEN} WHERE audit_seq = 5", [(5, "table", "altered")]),
    "removed": ("DELETE FROM audit WHERE audit_seq = 2", [(2, "table", "removed")]),
    "the first removed": ("DELETE FROM audit WHERE audit_seq = 1", [(1, "table", "removed")]),
    "the last removed": ("DELETE FROM audit WHERE audit_seq = 5", [(5, "table", "removed")]),
    "some removed": ("DELETE FROM audit WHERE audit_seq IN (3, 4)", [(3, "table", "removed")]),
}


@pytest.mark.parametrize("published", [True, False], ids=["also on the topic", "not published yet"])
async def test_what_was_done_to_the_table_is_named(office: Office, published: bool, subtests: pytest.Subtests) -> None:
    await office.changed(5, published=published)
    office.do("CREATE TABLE kept AS TABLE audit", "CREATE TABLE kept_head AS TABLE audit_head")
    for name, (statements, found) in (DONE_TO_THE_TABLE if published else DONE_BEFORE_PUBLISHING).items():
        with subtests.test(name):
            office.do(*statements.split(";"))
            assert await office.differs() == found
        office.do(
            "TRUNCATE audit, audit_head", "INSERT INTO audit TABLE kept", "INSERT INTO audit_head TABLE kept_head"
        )
    await office.holds()


async def test_a_row_that_never_goes_to_the_topic_is_named(office: Office) -> None:
    await office.changed(2)
    await office.change("kept from the topic")
    office.do("DELETE FROM outbox")
    assert await office.differs() == [(3, "table", "inserted")]


async def test_what_was_done_to_the_topic_is_named(office: Office, subtests: pytest.Subtests) -> None:
    await office.changed(4)
    values = [one.value for one in await office.topic()]
    eve = (values[1] or b"").replace(b'"ann"', b'"eve"')
    forged = eve.replace(json.loads(eve)["audit_id"].encode(), b"0f8fad5b-d9cb-469f-a165-70867728950e")
    for name, written, found in [
        ("altered", [values[0], eve, *values[2:]], [(2, "topic", "altered")]),
        ("removed", [values[0], *values[2:]], [(2, "topic", "removed")]),
        ("cut off", values[:3], [(4, "topic", "removed")]),
        ("inserted", [*values, forged], [(2, "topic", "inserted")]),
        ("no row", [*values, b"nonsense"], [(0, "topic", "inserted")]),
        ("no value", [*values, None], [(0, "topic", "inserted")]),
        ("lost", [], [(seq, "topic", "removed") for seq in (1, 2, 3, 4)]),
    ]:
        with subtests.test(name):
            await office.make_topic_again(written)
            assert await office.differs() == found
    await office.make_topic_again(values)
    await office.holds()


async def test_a_missing_topic_is_said_in_a_sentence(office: Office) -> None:
    await delete_topics(office.kafka, office.settings.topic_audit)
    done = await office.verify()
    assert (done.returncode, done.stdout) == (1, "")
    assert "topics apply" in done.stderr


@pytest.mark.prints("audit list")
async def test_the_list_is_paged_and_filtered_and_shows_what_was_before_and_after(office: Office) -> None:
    await office.changed(4, published=False)
    await office.change("by another", actor="ben")

    async def listed(*arguments: str) -> list[dict[str, Any]]:
        done = await typed(office.env, "audit", "list", "--output", "json", *arguments)
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    [last, *rest] = await listed()
    assert (last["actor"], last["reason"], last["audit_seq"]) == ("ben", "by another", 5)
    assert (last["before"], last["after"]) == ({"paused": False}, {"paused": True})
    assert [one["audit_seq"] for one in rest] == [4, 3, 2, 1]
    assert [one["audit_seq"] for one in await listed("--actor", "ann", "--limit", "2")] == [4, 3]
    assert [one["audit_seq"] for one in await listed("--after", rest[1]["audit_id"])] == [2, 1]
    assert await listed("--action", "recover") == []
    assert len(await listed("--since", rest[2]["recorded_at"])) == 4
    wrong = await typed(office.env, "audit", "list", "--since", "yesterday")
    assert wrong.returncode == 2
    more = await typed(office.env, "audit", "list", "--limit", "2")
    assert f"--after {rest[0]['audit_id']}" in more.stderr


async def test_the_first_page_of_a_hundred_thousand_rows_is_there_within_a_second(office: Office) -> None:
    office.do("""
        INSERT INTO audit (audit_id, recorded_at, actor, action, reason, value, audit_seq, previous_hash, hash)
        SELECT gen_random_uuid(), now() - i * interval '1 s', 'ann', 'pause', 'why', '{}', 100001 - i, '', ''
        FROM generate_series(1, 100000) i
    """)
    async with opened(office.settings.database_url.get_secret_value()) as engine, transaction(engine) as connection:
        rows = await list_audit(connection, limit=101)
        last = UUID(str(rows[-1]["audit_id"]))
        rows += await list_audit(connection, after=last, limit=101)
        for after in (None, last):
            assert await quickest_s(engine, lambda c, after=after: list_audit(c, after=after, limit=101)) < 1
    assert [row["audit_seq"] for row in rows] == list(range(100_000, 100_000 - 202, -1))


class TestForgetting:
    """The database was restored and lacks rows that the topic has."""

    async def take_back(self, office: Office) -> tuple[int, list[str]]:
        """Do what `recover` does with the audit."""
        rows = [row for one in await office.topic() if (row := as_row(one)) is not None]
        async with opened(office.settings.database_url.get_secret_value()) as engine, transaction(engine) as connection:
            return await take_back(connection, rows)

    def restore(self, office: Office, seq: int) -> None:
        office.do(
            f"DELETE FROM audit WHERE audit_seq > {seq}",
            f"UPDATE audit_head h SET audit_seq = {seq}, hash = a.hash FROM audit a WHERE a.audit_seq = {seq}",
        )

    async def test_they_are_taken_back_byte_for_byte_and_the_chain_goes_on_behind_them(self, office: Office) -> None:
        await office.changed(5)
        before = office.rows("SELECT audit_id, recorded_at, actor, action, reason, subject, value, hash FROM audit")
        self.restore(office, 3)
        assert await self.take_back(office) == (2, [])
        after = office.rows("SELECT audit_id, recorded_at, actor, action, reason, subject, value, hash FROM audit")
        assert sorted(before) == sorted(after)
        await office.change("later")
        await office.publish()
        assert (await office.holds())["compared"] == 6
        assert office.rows("SELECT max(audit_seq) FROM audit") == [(6,)]
        assert await self.take_back(office) == (0, [])

    async def test_a_database_that_went_on_without_them_is_joined_again(self, office: Office) -> None:
        await office.changed(5)
        self.restore(office, 3)
        await office.change("before anybody had recovered")
        await office.publish()
        assert (await office.differs())[0] == (4, "topic", "forgotten")
        taken, joins = await self.take_back(office)
        assert (taken, len(joins)) == (2, 1)
        async with opened(office.settings.database_url.get_secret_value()) as engine, transaction(engine) as connection:
            facts = Facts()
            recovery = Action("ann", "recover", "restored", "database", {}, {"audit_joins": joins})
            note(facts, clock.new_id(), recovery, await read_now(connection))
            await facts.write(connection)
        await office.publish()
        assert (await office.holds())["compared"] == 7
        office.do("DELETE FROM audit WHERE reason = 'before anybody had recovered'")
        assert await office.differs() == [(4, "table", "removed")]

    async def test_what_was_inserted_on_the_topic_is_not_taken_back(self, office: Office) -> None:
        await office.changed(2)
        value = [one.value for one in await office.topic()][-1] or b""
        stray = value.replace(b'"audit_seq":2', b'"audit_seq":900000000000')
        await produce(office.kafka, [(office.settings.topic_audit, b"eve", stray, ())])
        assert await self.take_back(office) == (0, [])
