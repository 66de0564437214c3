"""A connection to Kafka that is cut right before a send."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from worker.kafka.cut import look_before_sending


async def send_after_the_cut() -> None:
    """Abort the transport under a connection, and send before aiokafka's reader has noticed."""
    look_before_sending()
    heard = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    connection = AIOKafkaConnection(*server.sockets[0].getsockname())
    connection._reader, connection._writer = await asyncio.open_connection(connection.host, connection.port)
    connection._read_task = asyncio.get_running_loop().create_future()
    connection._versions = {MetadataRequest.API_KEY: (0, 1)}
    connection._closed_fut = asyncio.get_running_loop().create_future()
    transport = connection._writer.transport
    transport.abort()
    for _ in range(3):  # until the handle itself is closed, as uvloop calls it
        await asyncio.sleep(0)
    try:
        connection.send(MetadataRequest([]))
    finally:
        heard.set()
        server.close()
    assert not connection.connected()


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def test_a_send_on_a_cut_connection_is_a_lost_connection(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    with pytest.raises(KafkaConnectionError):
        run(send_after_the_cut())
