"""Calls to a brokerage of raw sockets, as the worker makes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.contract.raw_brokerage import Call, RawBrokerage
from worker import clock
from worker.ledger.secret import Secret
from worker.ledger.verdicts import Request
from worker.whale.client import WhaleClient
from worker.whale.sign import Credentials
from worker.whale.wire import Exchange

CREDENTIALS = Credentials("test-app-key-0001", "test-app-secret-0001", "tn_test-access-token-0001")
METHODS = [
    Request("GET", "/v1/whaleapi/trade/order/today", "account_no=H1&remark=a%20b%2Bc"),
    Request("POST", "/v1/whaleapi/asset/adjust_cash", "", b'{"account_no":"H1"}'),
    Request("PUT", "/v1/whaleapi/trade/order", "", b'{"order_id":"1"}'),
    Request("DELETE", "/v1/whaleapi/trade/order", "order_id=1&account_no=H1"),
    Request("DELETE", "/v2/whaleapi/trade/order", "", b'{"order_id":"1"}'),
]
POST = METHODS[1]


@asynccontextmanager
async def client(
    brokerage: RawBrokerage | str, *, timeout_s: float = 5.0, pool_size: int = 8, proxy: str | None = None
) -> AsyncIterator[WhaleClient]:
    url = brokerage if isinstance(brokerage, str) else brokerage.url
    async with WhaleClient(
        url=url,
        credentials=CREDENTIALS,
        timeout_s=timeout_s,
        pool_size=pool_size,
        proxy=None if proxy is None else Secret(proxy),
    ) as opened:
        yield opened


async def attempt(whale: WhaleClient, request: Request, *, ahead_s: float = 60.0) -> Exchange:
    return await whale.send(whale.sign(request, 1_710_000_000), send_before_s=clock.boot_s() + ahead_s)


async def answers(call: Call) -> None:
    await call.answer()
