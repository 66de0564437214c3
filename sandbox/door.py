"""The HTTP door: takes a request, lets the brokerage judge it, and goes wrong where a fault says so."""

import asyncio
from itertools import count
from typing import assert_never

from aiohttp import web

from sandbox import clock, own
from sandbox.audit import Call
from sandbox.brokerage import Accepted, Brokerage, Reply, reply
from sandbox.envelope import Code, RefusalError, plain
from sandbox.faults import Fault, Kind
from sandbox.signature import Signed

_MALFORMED = b'{"code":0,"message":"succ'
_RETRY_AFTER_S = "1"


class Door:
    """Answers one HTTP request at a time for aiohttp's low-level server, which spends no time on routing."""

    def __init__(self, brokerage: Brokerage, latency_s: float = 0.0, latency_jitter_s: float = 0.0) -> None:
        self._brokerage = brokerage
        self._latency_s = latency_s
        self._latency_jitter_s = latency_jitter_s
        self._traces = count(1)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer a request, or cut its connection."""
        path, _, query = request.raw_path.partition("?")
        body = await request.read() if request.body_exists else b""
        if path.startswith(own.PREFIX):
            return own.answer(self._brokerage, request.method, path, query, body)
        call = Call(request.method, path, query, body, received_at=self._brokerage.ledger.wall_s())
        self._brokerage.audit.calls.append(call)
        admitted = self._brokerage.admit(call, Signed(request.method, path, query, request.headers, body))
        given = await self._take(call, admitted, request) if isinstance(admitted, Accepted) else admitted
        if given is None:
            cut(request)
            return web.Response()
        return self._write(call, given)

    async def _take(self, call: Call, accepted: Accepted, request: web.BaseRequest) -> Reply | None:
        fault = self._brokerage.faults.take(accepted.endpoint.operation, call.account_no, call.remark)
        if fault is None:
            return await self._plainly(call, accepted)
        call.fault = fault.kind
        if fault.kind is Kind.LATE_APPLY:
            cut(request)
        return await self._wrongly(call, accepted, fault)

    async def _plainly(self, call: Call, accepted: Accepted) -> Reply:
        if self._latency_s == 0 and self._latency_jitter_s == 0:
            return self._brokerage.act(call, accepted)
        half_s = clock.spread(self._latency_s, self._latency_jitter_s) / 2
        await asyncio.sleep(half_s)
        given = self._brokerage.act(call, accepted)
        await asyncio.sleep(half_s)
        return given

    async def _wrongly(self, call: Call, accepted: Accepted, fault: Fault) -> Reply | None:
        """Return what a fault makes of the answer; None cuts the connection."""
        match fault.kind:
            case Kind.DELAY:
                await asyncio.sleep(fault.delay_s)
                return self._brokerage.act(call, accepted)
            case Kind.LATE_APPLY:
                await asyncio.sleep(fault.delay_s)
                self._brokerage.act(call, accepted)
                return None
            case Kind.DROP_ANSWER | Kind.ERROR_AFTER | Kind.MALFORMED:
                self._brokerage.act(call, accepted)
                await asyncio.sleep(fault.delay_s)
                return _after(fault.kind)
            case (
                Kind.DROP_REQUEST
                | Kind.ERROR_BEFORE
                | Kind.RATE_LIMITED
                | Kind.INNER_FAILED
                | Kind.REPLAYED_SIGNATURE
                | Kind.UNAUTHORIZED
                | Kind.REFUSED
            ):
                await asyncio.sleep(fault.delay_s)
                return _instead(accepted, fault)
            case _:
                assert_never(fault.kind)

    def _write(self, call: Call, given: Reply) -> web.Response:
        call.status, call.answer, call.answered_at = given.status, given.body, self._brokerage.ledger.wall_s()
        headers = {"Content-Type": given.content_type, "X-Trace-Id": str(next(self._traces))}
        if given.rate_limited:
            headers["Retry-After"] = _RETRY_AFTER_S
        return web.Response(body=given.body, status=given.status, headers=headers)


def cut(request: web.BaseRequest) -> None:
    """Reset the connection under a request; nothing more goes to the client."""
    if request.transport is not None:
        request.transport.abort()


def _after(kind: Kind) -> Reply | None:
    if kind is Kind.ERROR_AFTER:
        return reply(500, plain(Code.INTERNAL, "internal error"))
    if kind is Kind.MALFORMED:
        return Reply(200, _MALFORMED)
    return None


def _instead(accepted: Accepted, fault: Fault) -> Reply | None:
    """Return the answer of a fault that does not let the request reach the books; None for a lost request."""
    endpoint = accepted.endpoint
    match fault.kind:
        case Kind.INNER_FAILED:
            body = endpoint.inner_failed(endpoint.inner_code if fault.code is None else fault.code)
            given = reply(200, endpoint.shape(body))
        case Kind.RATE_LIMITED:
            given = _rate_limited(as_json=fault.json)
        case Kind.REFUSED:
            code = Code.CASH_INSUFFICIENT if fault.code is None else int(fault.code)
            refusal = RefusalError(code, "refused", 400 if fault.status is None else fault.status)
            given = reply(refusal.status, endpoint.refused(refusal))
        case Kind.REPLAYED_SIGNATURE:
            given = reply(403, plain(Code.DUPLICATE_REQUEST, "duplicate request"))
        case Kind.UNAUTHORIZED:
            given = reply(401, plain(Code.TOKEN_EXPIRED, "token expired"))
        case Kind.ERROR_BEFORE:
            given = reply(500, plain(Code.INTERNAL, "internal error"))
        case _:
            return None
    return given


def _rate_limited(*, as_json: bool) -> Reply:
    if as_json:
        body = reply(429, plain(Code.TOO_MANY_REQUESTS, "too many requests")).body
        return Reply(429, body, rate_limited=True)
    return Reply(429, b"too many requests", "text/plain; charset=utf-8", rate_limited=True)
