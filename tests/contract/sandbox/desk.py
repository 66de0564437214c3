import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientSession

from sandbox.brokerage import Brokerage

DEADLINE_S = 5.0


@dataclass
class Hour:
    """The sandbox's time, moved by the test."""

    now_s: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Desk:
    """A sandbox in this process, and a client of it."""

    url: str
    session: ClientSession
    brokerage: Brokerage
    hour: Hour

    async def send(self, method: str, path: str, body: Any = None, **more: Any) -> ClientResponse:
        data = None if body is None else json.dumps(body).encode()
        response = await self.session.request(method, self.url + path, data=data, **more)
        await response.read()
        return response

    async def post(self, path: str, body: Any) -> Any:
        return await (await self.send("POST", path, body)).json()

    async def post_text(self, path: str, body: Any) -> str:
        return await (await self.send("POST", path, body)).text()

    async def get(self, path: str, **query: Any) -> Any:
        return await (await self.send("GET", path, params=query)).json()

    async def fault(self, **fault: Any) -> None:
        response = await self.send("POST", "/_sandbox/faults", fault)
        assert response.status == 200, await response.text()

    async def effects(self, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.get("/_sandbox/effects", **query)
        return found

    async def calls(self, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.get("/_sandbox/calls", **query)
        return found

    async def effects_until(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(DEADLINE_S):
            while len(found := await self.effects()) < count:
                pass
        return found
