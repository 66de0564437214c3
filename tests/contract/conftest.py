"""What is promised of a call holds on both event loops: asyncio's own, and uvloop, on which `run` makes its calls."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

ON_BOTH_LOOPS = {"test_whale_client", "test_whale_answers", "test_whale_pool", "test_whale_tls"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of calls twice, all others once."""
    if item.path.stem in ON_BOTH_LOOPS:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
