"""Health over HTTP: `/livez` (is any engine stuck), `/readyz` (what is it waiting for), `/metrics`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from aiohttp import web

from worker.errors import SettingsError
from worker.observe.declarations import show
from worker.observe.metrics import CONTENT_TYPE, Metrics
from worker.observe.visits import Visits, one_answer_each

OK, UNAVAILABLE = 200, 503


@dataclass(slots=True)
class Readiness:
    """Why the worker is not ready, by key; ready when there is no reason."""

    _reasons: dict[str, str] = field(default_factory=dict)

    def set(self, reason_key: str, text: str) -> None:
        """Add a reason, or say it in other words."""
        self._reasons[reason_key] = text

    def clear(self, reason_key: str) -> None:
        """Take a reason back; one that is not set is no error."""
        self._reasons.pop(reason_key, None)

    def reasons(self) -> dict[str, str]:
        """Return the reasons, oldest first."""
        return dict(self._reasons)


@dataclass(slots=True)
class Liveness:
    """Which engines show progress. An engine is late when it did not beat within its own deadline."""

    now_s: Callable[[], float]
    _deadline_s: dict[str, float] = field(default_factory=dict)
    _beaten_at: dict[str, float] = field(default_factory=dict)

    def watch(self, engine: str, deadline_s: float) -> None:
        """Begin to expect beats; the first one within the deadline from now."""
        self._deadline_s[engine] = deadline_s
        self._beaten_at[engine] = self.now_s()

    def beat(self, engine: str) -> None:
        """Note progress. Raises KeyError for an engine that is not watched."""
        if engine not in self._deadline_s:
            raise KeyError(engine)
        self._beaten_at[engine] = self.now_s()

    def forget(self, engine: str) -> None:
        """Expect nothing more of an engine that has ended."""
        self._deadline_s.pop(engine, None)
        self._beaten_at.pop(engine, None)

    def since_s(self) -> dict[str, float]:
        """Return the seconds since each engine's last beat."""
        now_s = self.now_s()
        return {engine: now_s - at for engine, at in self._beaten_at.items()}

    def late(self) -> list[str]:
        """Return the engines past their deadline."""
        return [engine for engine, since_s in self.since_s().items() if since_s > self._deadline_s[engine]]


@dataclass(frozen=True, slots=True)
class Health:
    """What the three addresses answer from."""

    readiness: Readiness
    liveness: Liveness
    metrics: Metrics

    async def livez(self, _request: web.Request) -> web.Response:
        """200 unless an engine is late; `{"live": …, "late": […], "since_s": {engine: seconds}}`."""
        late = self.liveness.late()
        since_s = {engine: round(since, 3) for engine, since in self.liveness.since_s().items()}
        return web.json_response(
            {"live": not late, "late": late, "since_s": since_s}, status=UNAVAILABLE if late else OK
        )

    async def readyz(self, _request: web.Request) -> web.Response:
        """200 when nothing stands in the way; `{"ready": …, "reasons": [{"reason": key, "text": …}]}`."""
        reasons = [{"reason": key, "text": text} for key, text in self.readiness.reasons().items()]
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=UNAVAILABLE if reasons else OK)

    async def render_metrics(self, _request: web.Request) -> web.Response:
        """Answer in Prometheus' text form."""
        self.metrics.not_ready_reasons.set(len(self.readiness.reasons()))
        show(self.metrics.engine_silent_s, {(name,): since_s for name, since_s in self.liveness.since_s().items()})
        return web.Response(body=self.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    @asynccontextmanager
    async def serve(self, host: str, port: int, more: Sequence[web.RouteDef] = ()) -> AsyncIterator[int]:
        """Answer while the block runs, at `more` addresses too; yields the port, which differs from the one given when that is 0.

        Raises SettingsError when the address cannot be had.
        """
        app = web.Application()
        app.router.add_get("/livez", self.livez)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/metrics", self.render_metrics)
        app.router.add_routes(more)
        app.on_response_prepare.append(one_answer_each)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            listening = await _listen(Visits(cast("web.Server", runner.server)), host, port)
            try:
                yield int(listening.sockets[0].getsockname()[1])
            finally:
                listening.close()
        finally:
            await runner.cleanup()


async def _listen(make: Callable[[], asyncio.Protocol], host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(make, host, port)
    except OSError as error:
        address = f"LEDGER_HTTP_HOST {host} and LEDGER_HTTP_PORT {port}"
        raise SettingsError(f"cannot listen on {address}: {error.strerror or error}") from error
