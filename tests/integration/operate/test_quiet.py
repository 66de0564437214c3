"""Reads that give way: half of what the fleet may have at once is not theirs, and what did not come through is asked again."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import LedgerWorkerError, PartUnavailableError
from worker.ledger.verdicts import Request
from worker.operate import quiet
from worker.operate.quiet import Quiet
from worker.settings import Settings
from worker.store.engine import opened, transaction
from worker.store.rate import borrow
from worker.whale.wire import Answer, Exchange, NoAnswer

READ = Request("GET", "/v1/whaleapi/trade/order/today", "account_no=A1")
OK = Answer(200, b'{"code":0,"data":{}}', {}, 1.0, 2.0)
TIMEOUT = NoAnswer(sent=True, kind="timeout", message="too late")


class Answers:
    """A client that gives these answers, one after the other."""

    def __init__(self, *answers: Exchange) -> None:
        self.answers = list(answers)

    async def read(self, _request: Request) -> Exchange:
        return self.answers.pop(0)


def reader(engine: AsyncEngine, env: dict[str, str], client: Answers, per_s: str = "200") -> Quiet:
    settings = Settings.from_env({**env, "LEDGER_WHALE_RATE_PER_S": per_s}, needs=("database",))
    return Quiet(engine, client, settings, lambda _told: None)  # type: ignore[arg-type]


async def fill(engine: AsyncEngine, tokens: float) -> None:
    """Let so many calls be left, and none come."""
    async with transaction(engine) as connection:
        given = {"tokens": tokens}
        await connection.execute(text("UPDATE rate SET tokens = :tokens, filled_at = now() + interval '1 h'"), given)


@pytest.mark.parametrize(("per_s", "kept"), [("200", 10), ("1", 1)])
async def test_the_last_calls_are_never_taken(
    operate_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, per_s: str, kept: int
) -> None:
    monkeypatch.setattr(quiet, "WAIT_S_MAX", -1.0)
    async with opened(operate_env["LEDGER_DATABASE_URL"]) as engine:
        await fill(engine, kept + 1)
        read = reader(engine, operate_env, Answers(OK, OK), per_s)
        assert await read(READ) == OK
        await fill(engine, kept + 0.9)
        with pytest.raises(PartUnavailableError, match="LEDGER_WHALE_RATE_PER_S"):
            await read(READ)
        async with transaction(engine) as connection:
            burst = max(1.0, float(per_s) / 10)
            assert await borrow(connection, want=kept, per_s=float(per_s), burst=burst, reserve=0.0) == kept


async def test_what_did_not_come_through_is_asked_three_times(
    operate_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet, "PAUSE_S", 0.0)
    unreadable = Answer(200, b"{", {}, 1.0, 2.0)
    refused = Answer(400, b'{"code":603001,"message":"unknown"}', {}, 1.0, 2.0)
    too_large = NoAnswer(sent=True, kind="too_large", message="")
    unsent = NoAnswer(sent=False, kind="refused", message="connection refused")
    token = Answer(401, b'{"code":401003,"message":"expired"}', {}, 1.0, 2.0)
    async with opened(operate_env["LEDGER_DATABASE_URL"]) as engine:
        await fill(engine, 20)
        for answers, last in (
            ((TIMEOUT, unreadable, OK), OK),
            ((unsent, OK), OK),
            ((TIMEOUT, TIMEOUT, unreadable), unreadable),
            ((refused,), refused),
            ((too_large,), too_large),
        ):
            client = Answers(*answers)
            assert await reader(engine, operate_env, client)(READ) == last
            assert client.answers == []
            await fill(engine, 20)
        with pytest.raises(PartUnavailableError, match="connection refused"):
            await reader(engine, operate_env, Answers(unsent, unsent, unsent))(READ)
        with pytest.raises(LedgerWorkerError, match="turns us away"):
            await reader(engine, operate_env, Answers(token))(READ)
