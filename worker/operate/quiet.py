"""Reads at the brokerage that give way to everything else: one at a time, and only while the fleet has calls to spare."""

import asyncio
from collections.abc import Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from worker import clock
from worker.errors import LedgerWorkerError, PartUnavailableError
from worker.ledger.verdicts import InDoubt, NotSent, Request
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.rate import borrow
from worker.whale.client import WhaleClient
from worker.whale.operations import REGISTRY
from worker.whale.sign import Credentials
from worker.whale.verdict import judge
from worker.whale.wire import Exchange, NoAnswer

CHUNKS_PER_S: Final = 10  # as the lanes borrow
TRIES: Final = 3
PAUSE_S: Final = 1.1  # within one second two tries have one signature, and the second is taken for a repeat
WAIT_S_MAX: Final = 300.0
SAID_AFTER_S: Final = 5.0


class Quiet:
    """A reader for looks and histories. Half of what the fleet may have at once is never touched.

    Raises PartUnavailableError where the brokerage cannot be reached or no call is free for five minutes, and
    LedgerWorkerError where it refuses our keys.
    """

    def __init__(
        self, engine: AsyncEngine, client: WhaleClient, settings: Settings, say: Callable[[str], None]
    ) -> None:
        self._engine, self._client, self._say = engine, client, say
        self._per_s = settings.whale_rate_per_s
        self._burst = max(2.0, self._per_s / CHUNKS_PER_S)
        self._reserve = max(1.0, self._burst / 2)
        self.calls_count = 0

    async def __call__(self, request: Request) -> Exchange:
        """Make one look-up, again where it did not come through; what cannot be had in three tries is the caller's to tell."""
        exchange = await self._once(request)
        for _ in range(TRIES - 1):
            pause_s = _pause_s(exchange)
            if pause_s is None:
                break
            await asyncio.sleep(pause_s)
            exchange = await self._once(request)
        if isinstance(exchange, NoAnswer) and not exchange.sent:
            raise PartUnavailableError(f"the brokerage does not answer: {exchange.message}")
        return exchange

    async def _once(self, request: Request) -> Exchange:
        await self._wait_for_a_call()
        self.calls_count += 1
        exchange = await self._client.read(request)
        verdict = judge(REGISTRY["order.withdraw"], exchange)
        if isinstance(verdict, NotSent) and verdict.pause is not None:
            raise LedgerWorkerError(f"the brokerage turns us away: {verdict.message}; see `ledger-worker doctor`")
        return exchange

    async def _wait_for_a_call(self) -> None:
        began_s, said = clock.boot_s(), False
        while True:
            async with transaction(self._engine) as connection:
                granted = await borrow(connection, want=1, per_s=self._per_s, burst=self._burst, reserve=self._reserve)
            if granted:
                return
            waited_s = clock.boot_s() - began_s
            if waited_s > WAIT_S_MAX:
                raise PartUnavailableError("the workers use every call that LEDGER_WHALE_RATE_PER_S allows; try later")
            if waited_s > SAID_AFTER_S and not said:
                self._say("waiting: the workers use the calls")
                said = True
            await asyncio.sleep(1 / CHUNKS_PER_S)


def client_of(settings: Settings) -> WhaleClient:
    """Make a client with one connection."""
    return WhaleClient(
        url=settings.whale_base_url,
        credentials=Credentials(
            settings.whale_app_key,
            settings.whale_app_secret.get_secret_value(),
            settings.whale_access_token.get_secret_value(),
        ),
        timeout_s=settings.whale_timeout_s,
        pool_size=1,
        allow_http=settings.whale_allow_http,
        proxy=settings.whale_proxy,
    )


def _pause_s(exchange: Exchange) -> float | None:
    """Say how long to wait before another try; None where another would bring the same."""
    if isinstance(exchange, NoAnswer):
        return None if exchange.kind == "too_large" else PAUSE_S
    verdict = judge(REGISTRY["order.withdraw"], exchange)
    if isinstance(verdict, NotSent):
        return max(PAUSE_S, verdict.retry_after_s or 0.0)
    return PAUSE_S if isinstance(verdict, InDoubt) else None
