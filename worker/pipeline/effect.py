"""Fourth stage: one signed call, once; or one look. The last thing before its first byte is a glance at `send_before`."""

import asyncio
from dataclasses import replace
from typing import assert_never

from worker import clock
from worker.ledger.backoff import NEW_SECOND_S
from worker.ledger.decide import SIGNATURE_ALONE
from worker.ledger.verdicts import InDoubt, NotSent, Pause, Verdict
from worker.observe.metrics import Metrics
from worker.pipeline.turn import LOOK, Ended, Turn
from worker.settings import Settings
from worker.whale.client import WhaleClient
from worker.whale.operations import REGISTRY, LookInput, Variants
from worker.whale.probes import credentials_check
from worker.whale.sign import Credentials
from worker.whale.verdict import REPEATED_RULE, judge
from worker.whale.wire import Answer, Exchange, NoAnswer, clean

ANSWER_KEPT_BYTES = 16_384
READ = REGISTRY["order.withdraw"]
"""Any entry serves to judge whether a read was let in: its inner codes do not matter."""


class Effect:
    """Carries out turns. No turn is carried out twice: a second call is a new attempt with a claim of its own."""

    def __init__(self, client: WhaleClient, settings: Settings, metrics: Metrics) -> None:
        self._client, self._settings, self._metrics = client, settings, metrics
        self._variants = Variants(settings.whale_api_version, settings.whale_temp_route, settings.whale_withdraw_ids)

    async def carry_out(self, turn: Turn) -> Ended:
        """Make the call of a turn, or take its look; never raises for what the network or the brokerage does."""
        if turn.kind == LOOK:
            return await self.look(turn)
        if turn.request is None:
            raise RuntimeError(f"turn {turn.attempt_id} has nothing to send")
        began_s = clock.boot_s()
        signed_with = self._client.credentials
        signed = self._client.sign(turn.request, int(clock.wall_s()))
        exchange = await self._client.send(signed, send_before_s=turn.send_before_s, deadline_s=turn.deadline_s)
        verdict = judge(turn.operation, exchange, self._settings.whale_final_codes)
        if isinstance(verdict, NotSent) and verdict.pause is not None:
            verdict = await self._about_all_or_one(turn, verdict, signed_with)
        return self._ended(turn, exchange, verdict, began_s)

    async def look(self, turn: Turn) -> Ended:
        """Look at the brokerage for signs of a command that is in doubt."""
        if turn.operation.look is None:
            raise RuntimeError(f"{turn.operation.command_type} cannot be looked up")
        began_s = clock.boot_s()
        first = turn.tried.attempts[0].opened_at if turn.tried.attempts else turn.opened_at
        look_input = LookInput(turn.intent, first.timestamp(), self._variants)
        evidence = await turn.operation.look(self._client.read, look_input)
        ended_s = clock.boot_s()
        calls = self._metrics.call_duration_s
        calls.labels(turn.operation.command_type, type(evidence).__name__).observe(ended_s - began_s)
        return Ended(turn, evidence, ended_s, (ended_s - began_s) * 1000)

    async def _about_all_or_one(self, turn: Turn, verdict: NotSent, signed_with: Credentials) -> NotSent:
        """Tell a refusal that concerns every call from one of this command alone: a signed read shows it.

        One that concerns all pauses the client. A signature refused alone parks its command; an unknown path waits. A
        refusal of secrets that were replaced meanwhile says nothing of the command: it is sent again with the new ones.
        """
        found = await self.check_credentials(turn.command.account_no)
        if found is not None:
            return replace(verdict, pause=found.pause or verdict.pause)
        renewed = self._client.credentials is not signed_with
        rule = SIGNATURE_ALONE if verdict.pause is Pause.SIGNATURE and not renewed else verdict.rule
        return replace(verdict, rule=rule, pause=None)

    async def check_credentials(self, account_no: str) -> NotSent | None:
        """Make one signed read; None when the brokerage takes our signature, key, token and address."""
        exchange, read = await self._read(account_no)
        if isinstance(read, InDoubt) and read.rule == REPEATED_RULE:
            await asyncio.sleep(NEW_SECOND_S)  # an equal read went out in the same second and had the same signature
            exchange, read = await self._read(account_no)
        if isinstance(read, NotSent) and (read.pause is not None or isinstance(exchange, NoAnswer)):
            return read
        return None

    async def _read(self, account_no: str) -> tuple[Exchange, Verdict]:
        exchange = await self._client.read(credentials_check(account_no))
        return exchange, judge(READ, exchange, frozenset())

    def _ended(self, turn: Turn, exchange: Exchange, verdict: Verdict, began_s: float) -> Ended:
        now_s = clock.boot_s()
        calls = self._metrics.call_duration_s
        calls.labels(turn.operation.command_type, type(verdict).__name__).observe(now_s - began_s)
        match exchange:
            case Answer():
                return Ended(
                    turn,
                    verdict,
                    exchange.answered_s,
                    (exchange.answered_s - exchange.sent_s) * 1000,
                    exchange.status,
                    exchange.body[:ANSWER_KEPT_BYTES],
                    clean(exchange.headers.get("x-trace-id", "")) or None,
                )
            case NoAnswer():
                return Ended(turn, verdict, now_s, (now_s - began_s) * 1000)
            case _:
                assert_never(exchange)
