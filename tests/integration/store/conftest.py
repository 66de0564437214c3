"""The core on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.store.world import World


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    made = World(database_url)
    yield made
    await made.engine.dispose()
