import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

DEADLINE_S = 20
CHECKOUT = Path(__file__).parents[3]


async def started(*options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox",
        *options,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def serving(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    program = await started("serve", *options)
    assert program.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            line = await program.stdout.readline()
        yield program, json.loads(line)["url"]
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


async def test_serves_until_sigterm_and_prints_one_line_once_it_answers() -> None:
    async with serving() as (program, url), ClientSession() as session:
        async with session.get(url + "/_sandbox/effects") as answered:
            assert await answered.json() == []
        program.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            rest, talk = await program.communicate()
        assert (program.returncode, rest, talk) == (0, b"", b"")


async def test_sigterm_ends_it_though_a_call_is_held_back() -> None:
    async with serving() as (program, url), ClientSession() as session:
        async with session.post(url + "/_sandbox/faults", json={"kind": "delay", "delay_s": 600}) as answered:
            assert answered.status == 200
        async with asyncio.TaskGroup() as group:
            group.create_task(_held_back(session, url))
            async with asyncio.timeout(DEADLINE_S):
                while not await _calls(session, url):
                    pass
            program.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                await program.wait()
        assert program.returncode == 0


async def test_with_keys_an_unsigned_call_is_refused_and_the_own_endpoints_are_not() -> None:
    keys = ("--app-key", "k", "--app-secret", "s", "--access-token", "t")
    async with serving(*keys) as (_, url), ClientSession() as session:
        async with session.get(url + "/v1/whaleapi/asset/cash_info?account_no=A1") as refused:
            assert (refused.status, (await refused.json())["code"]) == (403, 403203)
        assert len(await _calls(session, url)) == 1


async def test_the_sweep_runs_by_itself_and_answers_may_be_wrapped() -> None:
    options = ("--sweep-delay-s", "0", "--risk-event-answers", "wrapped", "--latency-ms", "2")
    async with serving(*options) as (_, url), ClientSession() as session:
        async with session.get(url + "/_sandbox/effects") as answered:
            hour = answered.headers["Date"]
        leg = {"account_no": "A1", "currency": "USD", "direction": "CREDIT", "incurred_amount": "1.00"}
        leg |= {"biz_code": "B", "remark": "", "expire_time": _unix_s(hour) + 2}
        body = {"security_type": "CASH", "op_user": "a", "cash_adjusts": leg}
        async with session.post(url + "/v1/risk_event/temp_adjust", json=body) as answered:
            assert (await answered.json())["data"]["code"] == "SUCCESS"
        async with asyncio.timeout(DEADLINE_S):
            while not await _calls(session, url, "effects?operation=sweep"):
                pass


@pytest.mark.parametrize("options", [("serve", "--app-key", "k"), ("serve", "--port", "x"), ()])
async def test_a_wrong_command_line_is_a_usage_error(options: tuple[str, ...]) -> None:
    program = await started(*options)
    async with asyncio.timeout(DEADLINE_S):
        _, talk = await program.communicate()
    assert program.returncode == 2
    assert b"usage" in talk


async def test_a_taken_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program = await started("serve", "--port", str(taken.getsockname()[1]))
        async with asyncio.timeout(DEADLINE_S):
            _, talk = await program.communicate()
    assert program.returncode == 1
    assert talk.startswith(b"cannot serve at 127.0.0.1:")
    assert talk.count(b"\n") == 1


async def _held_back(session: ClientSession, url: str) -> None:
    body = {"account_no": "A1", "direction": 1, "currency": "USD", "amount": "1.00", "biz_code": "B"}
    try:
        await session.post(url + "/v1/whaleapi/asset/adjust_cash", json=body)
    except ClientError:
        return


async def _calls(session: ClientSession, url: str, path: str = "calls") -> list[object]:
    async with session.get(f"{url}/_sandbox/{path}") as answered:
        found: list[object] = await answered.json()
        return found


def _unix_s(date: str) -> int:
    return int(parsedate_to_datetime(date).timestamp())
