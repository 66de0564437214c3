"""The adjustments topic of a test, read as far as the test says, and replayed through the real command line."""

import json
from typing import Any
from uuid import UUID

import structlog
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.operate.typed import Typed, typed
from tests.support.commands import new_account, new_command
from tests.support.kafka import Topics, create_topics, delete_topics, produce
from tests.support.waiting import wait_until_async
from worker import clock
from worker.ledger.records import RawRecord
from worker.ledger.verdicts import Verdict
from worker.observe.metrics import Metrics
from worker.operate.replay_plan import types_of
from worker.pipeline.accept import Accept
from worker.pipeline.claim import Claim
from worker.pipeline.finish import Finish
from worker.pipeline.turn import Ended
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.inbox import Options

WHY = ("--reason", "passed over on Sunday", "--yes")
Json = dict[str, Any]


class History:
    """The adjustments topic, one partition, and a worker's stages that read as far as a test says."""

    def __init__(self, engine: AsyncEngine, env: dict[str, str], topics: Topics) -> None:
        self.engine, self.env, self.topics, self.topic = engine, env, topics, topics.adjustments
        self.kafka = env["LEDGER_KAFKA_BOOTSTRAP_SERVERS"]
        self.account_no = new_account()
        settings = Settings.from_env(env, needs=("database",))
        log, metrics = structlog.get_logger(), Metrics()
        options = Options(frozenset(), 1000, accepted_notice=False)
        self._accept = Accept(engine, types_of(settings), options, metrics, log, lambda: None)
        self._claim = Claim(engine, settings, clock.new_id(), structlog.get_logger())
        self._finish = Finish(engine, settings, metrics, log)
        self._written: list[tuple[bytes, bytes]] = []

    def command(self, amount: str = "1000.00", type_: str = "cash.adjust", **fields: Any) -> Json:
        payload = {"amount": amount} if type_ == "cash.adjust" else {}
        return new_command(type_, fields.pop("account_no", self.account_no), payload, **fields)

    async def write(self, *values: Json | bytes) -> None:
        """Put records at the topic's end; bytes as they are."""
        made = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in values]
        keys = [self.account_no if isinstance(one, bytes) else one["account_no"] for one in values]
        records = [(key.encode(), value) for key, value in zip(keys, made, strict=True)]
        self._written += records

        async def done() -> bool:
            return bool(await produce(self.kafka, [(self.topic, key, value, ()) for key, value in records]))

        await wait_until_async(done)

    async def read(self, start: int, end: int) -> None:
        """Let intake store these offsets."""
        now_ms = int(clock.wall_s() * 1000)
        records = [RawRecord(self.topic, 0, at, now_ms, *self._written[at]) for at in range(start, end)]
        await self._accept.accept(records, {(self.topic, 0): start})

    async def pass_over(self, start: int, end: int) -> None:
        """Let a range be one that `topics adopt` passed over."""
        await self.do(
            "INSERT INTO skipped_ranges (topic, partition, epoch, from_offset, to_offset) VALUES (:t, 0, 1, :a, :b)",
            a=start,
            b=end,
        )
        await self.do("UPDATE offsets SET next_offset = :b WHERE topic = :t", b=end)

    async def answer(self, found: Verdict, count: int = 1) -> None:
        """Take so many turns and let the brokerage answer so."""
        for _ in range(count):
            [turn] = (await self._claim.claim(1)).turns
            await self._finish.finish([Ended(turn, found, clock.boot_s(), 12.5, 200, b'{"code":0}', "trace-1")])

    async def made_again(self, *values: Json | bytes) -> None:
        """Delete the topic and make it again with other records."""
        await delete_topics(self.kafka, self.topic)
        self._written = []

        async def created() -> bool:
            try:
                await create_topics(self.kafka, [self.topic])
            except Exception:  # noqa: BLE001 - it is deleted a moment later
                return False
            return True

        await wait_until_async(created)
        await self.write(*values)

    async def remove_before(self, offset: int) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(self.topic, 0): RecordsToDelete(before_offset=offset)})
        finally:
            await admin.close()

    async def do(self, statement: str, **given: Any) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(text(statement), {"t": self.topic, **given})

    async def rows(self, statement: str, **given: Any) -> list[Json]:
        async with transaction(self.engine) as connection:
            return [dict(row) for row in (await connection.execute(text(statement), given)).mappings()]

    async def told(self) -> int:
        [row] = await self.rows("SELECT count(*) AS n FROM outcomes")
        return int(row["n"])

    async def positions(self) -> list[UUID]:
        """The ids of the accepted commands, account by account in their sequence."""
        return [
            r["command_id"] for r in await self.rows("SELECT command_id FROM commands ORDER BY account_no, position")
        ]

    async def replay(self, *arguments: str) -> Typed:
        return await typed(self.env, "replay", *arguments)

    async def plan(self, *arguments: str) -> Json:
        done = await self.replay("plan", "--topic", self.topic, *arguments, "--output", "json")
        assert done.returncode == 0, done.stderr
        found: Json = json.loads(done.stdout)
        return found

    async def run(self, plan: Json, *arguments: str) -> Typed:
        return await self.replay("run", plan["plan_id"], *WHY, "--output", "json", *arguments)
