"""A brokerage of raw sockets: answers with exact bytes, hangs up where told, and counts every request that arrives."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Call:
    """One request as it arrived, and the connection on which it did."""

    head: bytes
    body: bytes
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, status: str = "200 OK", body: bytes = b'{"code":0,"message":"success","data":{}}', extra: str = "") -> None:
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
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    script: Script | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
                call = Call(head, await reader.readexactly(length), number, reader, writer)
                self.calls.append(call)
                self.arrived.set()
                assert self.script is not None
                await self.script(call)


@contextlib.asynccontextmanager
async def raw_brokerage(script: Script) -> AsyncIterator[RawBrokerage]:
    brokerage = RawBrokerage(script=script)
    server = await asyncio.start_server(brokerage.serve, "127.0.0.1", 0)
    brokerage.port = server.sockets[0].getsockname()[1]
    try:
        yield brokerage
    finally:
        server.close()
        for writer in brokerage.writers:
            writer.transport.abort()
        await asyncio.sleep(0)
