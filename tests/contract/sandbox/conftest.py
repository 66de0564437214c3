from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import RawTestServer

from sandbox.brokerage import Brokerage
from sandbox.door import Door
from sandbox.ledger import Ledger
from tests.contract.sandbox.desk import Desk, Hour


@pytest.fixture
def hour() -> Hour:
    return Hour()


@pytest.fixture
def brokerage(hour: Hour) -> Brokerage:
    return Brokerage(Ledger(wall_s=hour, sweep_delay_s=5))


@pytest.fixture
async def desk(brokerage: Brokerage, hour: Hour) -> AsyncIterator[Desk]:
    server = RawTestServer(Door(brokerage).answer)
    await server.start_server()
    async with ClientSession() as session:
        yield Desk(str(server.make_url("")).rstrip("/"), session, brokerage, hour)
    await server.close()
