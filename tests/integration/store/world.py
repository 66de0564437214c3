"""The core on a real Postgres, without Kafka and without a brokerage: a test says what the brokerage answered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from tests import factories
from tests.support.commands import new_command
from worker import clock
from worker.ledger.records import RawRecord
from worker.ledger.secret import Secret
from worker.ledger.verdicts import Confirmed, Evidence, InDoubt, NotSent, Numbers, Refused, Verdict
from worker.observe.metrics import Metrics
from worker.pipeline.accept import Accept
from worker.pipeline.claim import Claim
from worker.pipeline.finish import Finish
from worker.pipeline.policy import UNBOUNDED, Repeats
from worker.pipeline.turn import Ended, Turn
from worker.settings import Settings
from worker.store.engine import create_engine, transaction
from worker.store.inbox import Options
from worker.store.lanes import wake_lanes
from worker.timers.due import wake_due
from worker.timers.expire import end_watched
from worker.timers.reclaim import reclaim
from worker.timers.resolve import tell_doubts

TOPIC = factories.ADJUSTMENTS_TOPIC
DOUBT = InDoubt("timeout_after_send", "no answer in time")
UNSENT = NotSent("connect_before_send", "refused connection")
FAILED = Refused("FAILED", "cannot be ended", "inner_code_final")
POOR = Refused("403112", "insufficient balance", "http_400_envelope")


def done(**numbers: str) -> Confirmed:
    return Confirmed(Numbers(**numbers), "success")


class World:
    """One database and what works on it; `age` lets time pass."""

    def __init__(self, url: str, **changes: Any) -> None:
        self.engine = create_engine(url, pool_size=12)
        self.settings = Settings(database_url=Secret(url), **changes)
        self.metrics, self.log = Metrics(), structlog.get_logger()
        self.owner = clock.new_id()
        self.finishing = Finish(self.engine, self.settings, self.metrics, self.log)
        self._offsets = count()

    def intake(self, **options: Any) -> Accept:
        chosen = Options(
            **{"urgent_types": frozenset(), "refusals_in_row_max": 1000, "accepted_notice": False, **options}
        )
        return Accept(self.engine, factories.TOPIC_TYPES, chosen, self.metrics, self.log, lambda: None)

    def record(self, command: Mapping[str, Any], **changes: Any) -> RawRecord:
        given = {"offset": next(self._offsets), "key": command["account_no"], **changes}
        return factories.record(dict(command), **given)

    async def accept(self, *commands: Mapping[str, Any]) -> None:
        """Store commands, each on its own topic, from where that topic was read last."""
        accept = self.intake()
        for command in commands:
            record = self.record(command, partition=0)
            place = (record.topic, 0)
            stored = (await accept.positions([place])).get(place)
            await accept.accept([record], {place: stored.next_offset if stored else record.offset})

    async def accept_new(
        self, type_: str, account_no: str, payload: dict[str, Any] | None = None, **changes: Any
    ) -> str:
        """Store one new command and return its id."""
        command = new_command(type_, account_no, payload, **changes)
        await self.accept(command)
        return str(command["command_id"])

    async def claim(
        self, *, owner: UUID | None = None, limit: int = 100, repeats: Repeats = UNBOUNDED
    ) -> Sequence[Turn]:
        claiming = Claim(self.engine, self.settings, owner or self.owner, structlog.get_logger())
        return (await claiming.claim(limit, repeats=repeats)).turns

    async def claim_one(self) -> Turn:
        [turn] = await self.claim()
        return turn

    async def finish(self, turn: Turn, found: Verdict | Evidence, **changes: Any) -> None:
        await self.finishing.finish([replace(Ended(turn, found, clock.boot_s()), **changes)])

    async def go(self, found: Verdict | Evidence) -> Turn:
        """Claim the one turn there is and finish it so."""
        turn = await self.claim_one()
        await self.finish(turn, found)
        return turn

    async def wake(self) -> None:
        async with transaction(self.engine) as connection:
            await wake_lanes(connection)

    async def reclaim(self) -> int:
        return await reclaim(self.engine, self.settings)

    async def wake_due(self) -> int:
        made, _ = await wake_due(self.engine)
        return made

    async def tell_doubts(self) -> int:
        return await tell_doubts(self.engine, self.settings)

    async def end_watched(self) -> int:
        return await end_watched(self.engine, self.settings)

    async def age(self, seconds: float) -> None:
        """Let time pass: every stored instant lies so much further back."""
        async with transaction(self.engine) as connection:
            columns = await connection.execute(
                text("""
                    SELECT table_name, array_agg(CAST(column_name AS text)) FROM information_schema.columns
                    WHERE table_schema = 'public' AND data_type = 'timestamp with time zone' GROUP BY table_name
                """)
            )
            for table, names in columns.all():
                changes = ", ".join(f'"{name}" = "{name}" - CAST(:by AS interval)' for name in names)
                await connection.execute(text(f'UPDATE "{table}" SET {changes}'), {"by": timedelta(seconds=seconds)})

    async def sql(self, statement: str, **given: Any) -> list[Any]:
        async with transaction(self.engine) as connection:
            result = await connection.execute(text(statement), given)
            return list(result.all()) if result.returns_rows else []

    async def one(self, statement: str, **given: Any) -> Any:
        [row] = await self.sql(statement, **given)
        return row

    async def state(self, command_id: str) -> str:
        return str((await self.one("SELECT state FROM commands WHERE command_id = :id", id=command_id)).state)

    async def lane(self, account_no: str) -> Any:
        return await self.one("SELECT * FROM lanes WHERE account_no = :account_no", account_no=account_no)

    async def outcomes(self, account_no: str) -> list[dict[str, Any]]:
        """The account's outcomes in sequence; the sequence is checked to have no gap."""
        rows = await self.sql("SELECT value FROM outcomes WHERE account_no = :a ORDER BY account_seq", a=account_no)
        told = [json.loads(bytes(row.value)) for row in rows]
        assert [one["account_seq"] for one in told] == list(range(1, len(told) + 1))
        return told

    async def types(self, account_no: str) -> list[str]:
        return [one["type"] for one in await self.outcomes(account_no)]
