"""Connections to the HTTP port: each carries one request and soon ends, whatever its client does, and there are only so many.

aiohttp waits for the head of a request for an hour, and for ever for a client that does not take its answer.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from aiohttp import hdrs, web
from typing_extensions import override

LIFE_S: Final = 15.0
"""From its opening to its end: no probe and no scrape takes so long."""
CONNECTIONS_MAX: Final = 128
RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)


class Visits:
    """Makes the protocol of each new connection around one of `make`; above the bound the oldest connection gives way.

    The oldest, not the newest: a client that holds many must not shut out the probe, whose answer is a matter of milliseconds.
    """

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._open: dict[Visit, None] = {}

    def __call__(self) -> asyncio.Protocol:
        """Make one."""
        return Visit(self._make(), self._open)


class Visit(asyncio.Protocol):
    """Hands on to `inner` what the event loop says, and ends the connection in time; an orderly end may never come about."""

    def __init__(self, inner: asyncio.Protocol, open_: dict["Visit", None]) -> None:
        self._inner = inner
        self._open = open_

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if len(self._open) >= CONNECTIONS_MAX:
            next(iter(self._open)).end()
        self._open[self] = None
        self._alarm = asyncio.get_running_loop().call_later(LIFE_S, self.end)
        self._inner.connection_made(transport)

    def end(self) -> None:
        """Drop the connection by a reset: what its client has not taken stays nowhere, in the kernel neither."""
        self._alarm.cancel()
        self._open.pop(self, None)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self._transport.abort()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._alarm.cancel()
        self._open.pop(self, None)
        self._inner.connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    @override
    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    @override
    def pause_writing(self) -> None:
        self._inner.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._inner.resume_writing()


async def one_answer_each(_request: web.Request, response: web.StreamResponse) -> None:
    """End the connection behind the answer: aiohttp's signal, sent before the headers go out."""
    response.headers[hdrs.CONNECTION] = "close"
    response.force_close()
