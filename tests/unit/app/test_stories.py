"""Stories over HTTP where Postgres is away: a sentence and 503, in the log and to who asked; the worker goes on."""

import aiohttp
import structlog
from structlog.testing import capture_logs

from tests.factories import COMMAND_ID
from worker import clock
from worker.app.stories import Stories
from worker.observe.health import Health, Liveness, Readiness
from worker.observe.metrics import Metrics
from worker.settings import Settings
from worker.store.engine import create_engine

NOBODY = "postgresql://ledger:a-password@127.0.0.1:1/ledger"


async def test_a_question_while_postgres_is_away_is_answered_with_503() -> None:
    engine = create_engine(NOBODY, pool_size=1)
    health = Health(Readiness(), Liveness(clock.boot_s), Metrics())
    with capture_logs() as logged:
        routes = Stories(engine, Settings(), structlog.get_logger()).routes()
        async with (
            health.serve("127.0.0.1", 0, routes) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            session.get(f"/commands/{COMMAND_ID}") as answer,
        ):
            assert answer.status == 503
            told = await answer.text()
            assert (await session.post(f"/commands/{COMMAND_ID}")).status == 405
    await engine.dispose()
    assert "Postgres does not answer" in told
    assert "a-password" not in told
    assert [line["event"] for line in logged] == ["http.unavailable"]
