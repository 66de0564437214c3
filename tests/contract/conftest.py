"""What is promised of a call holds on both event loops: asyncio's own, and uvloop, on which `run` makes its calls."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
import uvloop

ON_BOTH_LOOPS = {"test_whale_client", "test_whale_answers", "test_whale_pool", "test_whale_proxy", "test_whale_tls"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of calls twice, all others once."""
    if item.path.stem in ON_BOTH_LOOPS:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """One that this process trusts: the system's are replaced."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return made
