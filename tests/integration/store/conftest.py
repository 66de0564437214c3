"""The core on a database of the test's own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.store.world import World


@pytest.fixture
def world_changes() -> dict[str, Any]:
    """Settings of the world that differ from the defaults; a class of tests may have its own."""
    return {}


@pytest.fixture
async def world(database_url: str, world_changes: dict[str, Any]) -> AsyncIterator[World]:
    made = World(database_url, **world_changes)
    yield made
    await made.engine.dispose()
