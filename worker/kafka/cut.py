"""aiokafka on uvloop: to write to a connection that was cut a moment ago is a lost connection, not a fault of the program.

asyncio's own transport ignores such a write, uvloop's raises RuntimeError, and aiokafka expects neither: its fetch task
dies of it, and what else it hits ends the worker. So each send looks before.
"""

from collections.abc import Awaitable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def _send_unless_cut(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:  # noqa: ANN401
    writer = self._writer
    if writer is not None and writer.transport.is_closing():
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {self.host}:{self.port} was cut")
    sent: Awaitable[Any] = _send(self, request, expect_response)
    return sent


def look_before_sending() -> None:
    """Make every connection of aiokafka in this process look. May be called twice."""
    AIOKafkaConnection.send = _send_unless_cut
