"""Tells of doubts that last, and goes on looking at what is parked or was judged by absence.

A look may confirm what was parked, and shows a verdict by absence to have been wrong; it rejects nothing.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.ledger.decide import Look, Send, Sight, Succeed
from worker.ledger.verdicts import Seen
from worker.observe.logs import ids
from worker.observe.metrics import Metrics
from worker.pipeline.turn import EXPIRE, weigh
from worker.settings import Settings
from worker.store.blobs import to_json
from worker.store.conclude import Batch, Conclusion, conclude, tell_doubt
from worker.store.doubts import read_untold, take_untold, take_watches
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.store.rest import lock_lanes
from worker.whale.client import WhaleClient
from worker.whale.operations import REGISTRY, Intent, LookInput, Variants

AT_ONCE = 100
LOOK_EVERY = timedelta(seconds=30)


async def tell_doubts(engine: AsyncEngine, settings: Settings) -> int:
    """Publish `command.in_doubt` for doubts that have lasted; returns how many."""
    async with transaction(engine) as connection:
        untold = await read_untold(connection, AT_ONCE)
        if not untold:
            return 0
        lanes, now = await lock_lanes(connection, {doubt.account_no for doubt in untold})
        batch = Batch(lanes, now, timedelta(seconds=settings.in_doubt_notice_s))
        taken = await take_untold(connection, untold)
        commands = await read_commands(connection, {doubt.command_id for doubt in taken})
        tried = {
            expiry: await read_histories(
                connection, [d.command_id for d in taken if d.is_expiry is expiry], expiry=expiry
            )
            for expiry in (False, True)
        }
        for doubt in taken:
            command = commands[doubt.command_id]
            operation = EXPIRE if doubt.is_expiry else command.command_type
            attempts = tried[doubt.is_expiry][doubt.command_id].attempts
            told = Conclusion(command, Send(now, ""), attempts, now, operation)
            tell_doubt(batch, lanes[doubt.account_no], told, doubt.attempt_number, doubt.reason)
        await batch.write(connection)
        return len(taken)


class Watch:
    """Looks again, a few at a time."""

    def __init__(
        self, engine: AsyncEngine, client: WhaleClient, settings: Settings, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        self._engine, self._client, self._settings = engine, client, settings
        self._metrics, self._log = metrics, log
        self._variants = Variants(settings.whale_api_version, settings.whale_temp_route, settings.whale_withdraw_ids)

    async def look_again(self, limit: int) -> int:
        """Take due watches and look at each; returns how many were looked at."""
        async with transaction(self._engine) as connection:
            watches = await take_watches(connection, limit, LOOK_EVERY)
        for command_id, account_no in watches:
            await self._look(command_id, account_no)
        return len(watches)

    async def _look(self, command_id: UUID, account_no: str) -> None:
        async with transaction(self._engine) as connection:
            commands = await read_commands(connection, [command_id])
            histories = await read_histories(connection, [command_id])
        command, history = commands[command_id], histories[command_id]
        look = REGISTRY[command.command_type].look
        if look is None or not history.attempts:
            raise RuntimeError(f"{command_id} is watched but cannot be looked up")
        target = history.attempts[-1].numbers
        intent = Intent(command_id, account_no, command.payload, command.expires_at, target)
        first_sent_s = history.attempts[0].opened_at.timestamp()
        evidence = await look(self._client.read, LookInput(intent, first_sent_s, self._variants))
        if isinstance(evidence, Seen):
            await self._seen(command_id, account_no, evidence)

    async def _seen(self, command_id: UUID, account_no: str, evidence: Seen) -> None:
        async with transaction(self._engine) as connection:
            lanes, now = await lock_lanes(connection, [account_no])
            command = (await read_commands(connection, [command_id]))[command_id]
            history = (await read_histories(connection, [command_id]))[command_id]
            look = Look(Sight.SEEN, now, now, evidence.note, evidence.numbers)
            conclusion = weigh(command, history.attempts, (*history.looks, look), self._settings, now)
            if command.state == "succeeded" or not isinstance(conclusion.decision, Succeed):
                return
            batch = Batch(lanes, now, timedelta(seconds=self._settings.in_doubt_notice_s))
            if command.state == "rejected":
                self._metrics.contradictions.labels(command.command_type).inc()
                self._log.error("resolve.contradicted", **ids(command), shown=evidence.note)
            conclude(batch, conclusion, turn_ends=False)
            batch.facts.add(
                "evidence",
                {
                    "evidence_id": clock.new_id(),
                    "command_id": command_id,
                    "kind": "look",
                    "recorded_at": now,
                    "detail": to_json({"note": evidence.note, "detail": evidence.detail}),
                },
            )
            await batch.write(connection)
