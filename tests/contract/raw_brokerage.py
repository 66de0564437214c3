"""A brokerage of raw sockets: answers with exact bytes, hangs up where told, and counts every request that arrives."""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import trustme


@dataclass
class Call:
    """One request as it arrived, and the connection on which it did."""

    head: bytes
    body: bytes
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(
        self, status: str = "200 OK", body: bytes = b'{"code":0,"message":"success","data":{}}', extra: str = ""
    ) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> bytes | None:
        """Return what still arrives until the other side ends in order, None if it resets."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return None


Script = Callable[[Call], Awaitable[None]]


@dataclass
class RawBrokerage:
    script: Script
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            named = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)\r\n", head)
            body = await reader.readexactly(int(named[1]) if named else 0)
            call = Call(head, body, number, reader, writer)
            self.calls.append(call)
            self.arrived.set()
            await self.script(call)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_server(serve: Serve, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve raw connections; yields the port. At the end every connection is dropped and waited for."""
    writers: list[asyncio.StreamWriter] = []
    serving: set[asyncio.Future[object]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        serving.add(own)
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    server = await asyncio.start_server(tracked, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        if serving:
            await asyncio.wait(serving, timeout=5)
        for writer in writers:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_brokerage(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[RawBrokerage]:
    brokerage = RawBrokerage(script=script, tls=tls, host=host)
    async with raw_server(brokerage.serve, tls, host) as brokerage.port:
        yield brokerage


def shown(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context
