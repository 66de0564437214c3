"""`/commands/ID` and `/accounts/NO`: what `explain --output json` tells, over HTTP, where a setting turns it on."""

import hmac
import json
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

from aiohttp import hdrs, web
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker.errors import PartUnavailableError
from worker.operate.explain import COMMAND_ID, explain_account, explain_command
from worker.settings import Settings
from worker.store.engine import reading
from worker.store.shown import Shown

# what is not ASCII is spelled out: a record may hold what commands a terminal
_dumps = partial(json.dumps, default=str)


class Stories:
    """Answers from a database transaction that can only read; `engine` is its own, so that no stage waits for it."""

    def __init__(self, engine: AsyncEngine, settings: Settings, log: FilteringBoundLogger) -> None:
        self._engine, self._settings, self._log = engine, settings, log
        token = settings.http_token
        self._expected = None if token is None else f"Bearer {token.get_secret_value()}".encode()

    def routes(self) -> list[web.RouteDef]:
        """Return the two addresses."""
        return [web.get("/commands/{id}", self._command), web.get("/accounts/{no}", self._account)]

    async def _command(self, request: web.Request) -> web.Response:
        """Tell one command's story; 404 for an id that is not known."""
        command_id = request.match_info["id"]
        if not COMMAND_ID.fullmatch(command_id):
            return await self._answer(request, None)
        return await self._answer(request, lambda c: explain_command(c, UUID(command_id), self._settings))

    async def _account(self, request: web.Request) -> web.Response:
        """Tell how an account stands; 404 for one that never had a command."""
        account_no = request.match_info["no"]
        if "\0" in account_no:  # no text of Postgres can hold it
            return await self._answer(request, None)
        return await self._answer(request, lambda c: explain_account(c, account_no, self._settings))

    async def _answer(
        self, request: web.Request, tell: Callable[[AsyncConnection], Awaitable[Shown | None]] | None
    ) -> web.Response:
        if not self._may_ask(request):
            return _said(401, {"error": "a token is needed: Authorization: Bearer …"}, "Bearer")
        try:
            story = None
            if tell is not None:
                async with reading(self._engine) as connection:
                    story = await tell(connection)
        except PartUnavailableError as error:
            self._log.warning("http.unavailable", why=str(error))
            return _said(503, {"error": str(error)})
        return _said(404, {"error": "not known here"}) if story is None else _said(200, story)

    def _may_ask(self, request: web.Request) -> bool:
        given = request.headers.get(hdrs.AUTHORIZATION, "").encode("utf-8", "surrogateescape")
        return self._expected is None or hmac.compare_digest(given, self._expected)


def _said(status: int, value: Shown, asks_for: str = "") -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-store"} | ({hdrs.WWW_AUTHENTICATE: asks_for} if asks_for else {})
    return web.json_response(value, status=status, headers=headers, dumps=_dumps)
