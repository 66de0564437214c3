from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from sandbox.brokerage import Brokerage
from sandbox.ledger import Ledger
from sandbox.serve import Options, opened
from tests.contract.sandbox.desk import Desk, Hour


@pytest.fixture
def hour() -> Hour:
    return Hour()


@pytest.fixture
def brokerage(hour: Hour) -> Brokerage:
    return Brokerage(Ledger(wall_s=hour, sweep_delay_s=5))


@pytest.fixture
async def desk(brokerage: Brokerage, hour: Hour) -> AsyncIterator[Desk]:
    async with opened(Options(), brokerage) as url, ClientSession() as session:
        yield Desk(url, session, brokerage, hour)
