"""A desk of this test's own: commands go through the real stages, only what the brokerage says is made up."""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.factories import ADJUSTMENTS_TOPIC, TOPIC_OF, TOPIC_TYPES
from tests.integration.operate.history import History
from tests.integration.operate.typed import Typed, typed
from tests.support.commands import new_account, new_command
from tests.support.kafka import Topics, create_topics
from tests.support.worker import KEYS, clean_env
from worker import clock
from worker.ledger.decide import Known
from worker.ledger.records import RawRecord
from worker.ledger.verdicts import Confirmed, Evidence, InDoubt, Numbers, Verdict
from worker.observe.metrics import Metrics
from worker.operate.replay_plan import types_of
from worker.pipeline.accept import Accept
from worker.pipeline.claim import Claim
from worker.pipeline.finish import Finish
from worker.pipeline.turn import Ended, Turn
from worker.settings import Settings
from worker.store.engine import opened, transaction
from worker.store.inbox import Options
from worker.store.lanes import wake_lanes
from worker.timers.due import wake_due
from worker.timers.reclaim import reclaim

TIMEOUT = InDoubt("timeout", "no whole answer by the call's deadline")
_partitions = count()
DONE = Confirmed(Numbers(serial_num="S1"), "inner_success")


class Desk:
    """One account's commands, driven step by step."""

    def __init__(self, engine: AsyncEngine, env: dict[str, str]) -> None:
        self.engine, self.env = engine, env
        self.settings = Settings.from_env(env, needs=("database",))
        self.account_no = new_account()
        self.partition = next(_partitions)
        self._offsets: defaultdict[str, count[int]] = defaultdict(count)
        metrics, log = Metrics(), structlog.get_logger()
        options = Options(frozenset(), 1000, accepted_notice=False)
        topics = {**TOPIC_TYPES, **types_of(self.settings)}  # those of before, too
        self._accept = Accept(engine, topics, options, metrics, log, lambda: None)
        self._claim = Claim(engine, self.settings, clock.new_id(), structlog.get_logger())
        self._finish = Finish(engine, self.settings, metrics, log)

    async def send(self, type_: str, payload: Mapping[str, Any] | None = None, **fields: Any) -> UUID:
        """Accept one command of the account."""
        if type_ == "temp.adjust":
            payload = {"expires_at": in_an_hour(), **(payload or {})}
        one = new_command(type_, self.account_no, payload, **fields)
        await self.read(self._topic_of(type_), json.dumps(one).encode())
        return UUID(one["command_id"])

    def _topic_of(self, type_: str) -> str:
        names = dict(zip(TOPIC_TYPES, self.settings.command_topics, strict=True))
        return names[TOPIC_OF.get(type_, ADJUSTMENTS_TOPIC)]

    async def read(self, topic: str, value: bytes | None, headers: Any = (), key: bytes | None = None) -> int:
        """Accept one record, whatever it is; returns its offset."""
        offset = next(self._offsets[topic])
        key = self.account_no.encode() if key is None else key
        record = RawRecord(topic, self.partition, offset, int(clock.wall_s() * 1000), key, value, headers)
        await self._accept.accept([record], {(topic, self.partition): offset})
        return offset

    async def claim(self) -> Turn:
        """Take the one turn that is ready, waking what may go on."""
        async with transaction(self.engine) as connection:
            await wake_lanes(connection)
        [turn] = (await self._claim.claim(10)).turns
        return turn

    async def claim_nothing(self) -> None:
        assert (await self._claim.claim(10)).turns == []

    async def finish(self, turn: Turn, found: Verdict | Evidence) -> None:
        await self._finish.finish([Ended(turn, found, clock.boot_s(), 12.5, 200, b'{"code":0}', "trace-1")])

    async def answer(self, found: Verdict | Evidence) -> Turn:
        """Take the next turn and let the brokerage answer so."""
        turn = await self.claim()
        await self.finish(turn, found)
        return turn

    async def parked(self, type_: str = "temp.adjust", **fields: Any) -> UUID:
        """Send a command whose call stays in doubt until it is parked."""
        command_id = await self.send(type_, **fields)
        await self.answer(TIMEOUT)
        assert await self.state(command_id) == "parked"
        return command_id

    async def booked(self, adjust_no: str = "TA1") -> UUID:
        """Send a temp.adjust that is confirmed."""
        command_id = await self.send("temp.adjust")
        await self.answer(Confirmed(Numbers(adjust_no=adjust_no), "adjust_no"))
        return command_id

    async def lapse(self, command_id: UUID) -> None:
        """Let the adjustment's hour have come a moment ago, and its timer be the lane's next turn."""
        for statement in (
            "UPDATE commands SET expires_at = now() - interval '1 s' WHERE command_id = :id",
            "UPDATE temp_adjustments SET expires_at = now() - interval '1 s' WHERE command_id = :id",
            "UPDATE timers SET due_at = now() - interval '1 s', wake_at = now() - interval '1 s' WHERE command_id = :id",
        ):
            await self.do(statement, id=command_id)
        made, _ = await wake_due(self.engine)
        assert made == 1

    async def falls_silent(self) -> None:
        """Let the owner of the call under way not be heard of until its lease, and the call's horizon, are over."""
        await self.do("UPDATE lanes SET lease_until = now() - interval '1 s' WHERE state = 'leased'")
        past = ", ".join(f"{name} = {name} - interval '60 s'" for name in ("opened_at", "horizon_at"))
        await self.do(f"UPDATE attempts SET {past} WHERE known = 'open'")
        assert await reclaim(self.engine, self.settings) == 1

    async def ten_seconds_pass(self) -> None:
        """Let what was tried lie ten seconds further back, and what is held go on."""
        past = ", ".join(f"{name} = {name} - interval '10 s'" for name in ("opened_at", "reported_at", "horizon_at"))
        await self.do(f"UPDATE attempts SET {past}")
        await self.do("UPDATE lanes SET wake_at = now() WHERE state = 'held'")

    async def expiry_in_doubt(self) -> UUID:
        """Book an adjustment whose expiry stays in doubt."""
        command_id = await self.booked()
        await self.lapse(command_id)
        turn = await self.answer(TIMEOUT)
        assert turn.kind == "expiry"
        return command_id

    async def do(self, statement: str, **given: Any) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(text(statement), given)

    async def rows(self, statement: str, **given: Any) -> list[dict[str, Any]]:
        async with transaction(self.engine) as connection:
            return [dict(row) for row in (await connection.execute(text(statement), given)).mappings()]

    async def one(self, statement: str, **given: Any) -> dict[str, Any]:
        [row] = await self.rows(statement, **given)
        return row

    async def state(self, command_id: UUID) -> str:
        return str((await self.one("SELECT state FROM commands WHERE command_id = :id", id=command_id))["state"])

    async def outcomes(self, command_id: UUID) -> list[dict[str, Any]]:
        rows = await self.rows("SELECT value FROM outcomes WHERE command_id = :id ORDER BY account_seq", id=command_id)
        return [json.loads(bytes(row["value"])) for row in rows]

    async def last(self, command_id: UUID) -> dict[str, Any]:
        return (await self.outcomes(command_id))[-1]

    async def known(self, command_id: UUID, kind: str = "write") -> list[Known]:
        statement = "SELECT known FROM attempts WHERE command_id = :id AND kind = :kind ORDER BY number"
        return [Known(row["known"]) for row in await self.rows(statement, id=command_id, kind=kind)]

    async def gapless(self) -> None:
        """The account's outcomes are numbered 1, 2, 3, … and each is in the outbox once."""
        rows = await self.rows("SELECT account_seq FROM outcomes WHERE account_no = :a ORDER BY 1", a=self.account_no)
        assert [row["account_seq"] for row in rows] == list(range(1, len(rows) + 1))
        outbox = await self.rows("SELECT ref_id FROM outbox WHERE kind = 'outcome'")
        assert len(outbox) == len({row["ref_id"] for row in outbox}) == len(rows)

    async def cli(self, *arguments: str) -> Typed:
        return await typed(self.env, *arguments)

    async def cli_json(self, *arguments: str) -> Any:
        done = await self.cli(*arguments, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0).isoformat()  # noqa: TID251


OpenDesk = Callable[..., Desk]


@pytest.fixture
def operate_env(database_url: str) -> dict[str, str]:
    """Settings under which a doubt is decidable, and parks, as soon as its call has ended."""
    return clean_env(
        {
            "LEDGER_DATABASE_URL": database_url,
            "LEDGER_ACTOR": "ann",
            "LEDGER_LATE_APPLY_S": "0",
            "LEDGER_WHALE_KEY_LIFE_S": "0",
            "LEDGER_LOG_FORMAT": "json",
            **KEYS,
        }
    )


@pytest.fixture
async def open_desk(operate_env: dict[str, str]) -> AsyncIterator[OpenDesk]:
    """Open desks on one database, each with an account of its own and settings laid over `operate_env`."""
    async with opened(operate_env["LEDGER_DATABASE_URL"]) as engine:
        yield lambda **settings: Desk(engine, {**operate_env, **settings})


@pytest.fixture
def desk(open_desk: OpenDesk) -> Desk:
    return open_desk()


@pytest.fixture
async def history(kafka: str, topics: Topics, operate_env: dict[str, str]) -> AsyncIterator[History]:
    """Topics of the test's own, of which it reads the adjustments as far as it says."""
    await create_topics(kafka, topics.names())
    env = {**operate_env, **topics.env(), "LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka}
    async with opened(env["LEDGER_DATABASE_URL"]) as engine:
        yield History(engine, env, topics)
