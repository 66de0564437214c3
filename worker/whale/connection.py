"""One connection to the brokerage: one request at a time, written at once, its answer told by one future."""

import asyncio
import select
import socket
import struct
from typing import Final, Literal, cast

from typing_extensions import override

from worker import clock
from worker.whale.answer import AnswerError, AnswerReader
from worker.whale.wire import Exchange, NoAnswer, clean

CONNECTION_LOST: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
TCP_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", None)
RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)

Held = Literal["late", "dropped"]


class Connection(asyncio.Protocol):
    """Writes a request at most once and says so: after `depart` returned a future a byte may have left, before not.

    The event loop calls the methods that `asyncio.Protocol` has. `lost` is done when the socket is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, tls: bool, unacknowledged_s: float) -> None:
        self._loop = loop
        self._tls = tls
        self._unacknowledged_ms = int(unacknowledged_s * 1000)
        self._reader = AnswerReader()
        self._poll = select.poll()
        self._answer: asyncio.Future[Exchange] | None = None
        self._owed = False
        self._sent_s = 0.0
        self._ends_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[None] = loop.create_future()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socket = cast("socket.socket", transport.get_extra_info("socket"))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if TCP_USER_TIMEOUT is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, self._unacknowledged_ms)
        # behind a handshake TLS itself may still have something to say (session tickets), but nothing behind an answer
        self._poll.register(self._socket.fileno(), CONNECTION_LOST | (0 if self._tls else select.POLLIN))

    @property
    def is_reusable(self) -> bool:
        """Whether the next request may go out here: nothing is owed, and both sides keep the connection."""
        return not self._owed and self._reader.keeps_alive and not self._transport.is_closing()

    def depart(self, data: bytes, send_before_s: float, ends_s: float) -> asyncio.Future[Exchange] | Held:
        """Write the whole request, unless it is late or the connection was dropped; nothing is awaited, once only.

        `send_before_s` is in boot seconds; `ends_s` is the call's deadline by the event loop's clock.
        The event loop's last news may be a whole turn of it old, so the kernel is asked once more: a request written to
        a connection that the other side has closed could only be in doubt, and an unasked answer would be taken for ours.
        """
        if not self.is_reusable or self._poll.poll(0):
            return "dropped"
        now_s = clock.boot_s()
        if now_s >= send_before_s:
            return "late"
        self._owed, self._sent_s = True, now_s
        self._transport.write(data)
        self._reader.begin()
        self._set_alarm(ends_s)
        self._answer = self._loop.create_future()
        return self._answer

    def drop(self) -> None:
        """Close at once; while an answer is owed by a reset, so that what the kernel still holds does not leave."""
        if self._transport.is_closing():
            return
        if self._owed:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self._transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self.drop()  # nobody asked
            return
        try:
            if self._reader.feed(data):
                self._answered()
        except AnswerError as error:
            self._tell(NoAnswer(sent=True, kind=error.kind, message=str(error)))
            self.drop()

    @override
    def eof_received(self) -> None:
        self._ended(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        if self._alarm is not None:
            self._alarm.cancel()
        self.lost.set_result(None)

    def _set_alarm(self, ends_s: float) -> None:
        """See to it that the deadline is noticed. One timer serves many calls: to set and cancel one for each costs more."""
        self._ends_s = ends_s
        if self._alarm is not None and ends_s < self._alarm.when():
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None:
            self._alarm = self._loop.call_at(ends_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._answer is None:
            return  # the call for which it was set has ended, and no other is under way
        if self._loop.time() < self._ends_s:
            self._set_alarm(self._ends_s)
            return
        self._tell(NoAnswer(sent=True, kind="timeout", message="no whole answer by the call's deadline"))
        self.drop()

    def _ended(self, error: Exception | None) -> None:
        if self._answer is None:
            return
        if error is None and self._reader.ends_with_the_connection():
            self._reader.keeps_alive = False
            self._answered()
            return
        why = "the connection ended" if error is None else clean(f"{type(error).__name__}: {error}")
        kind: Literal["cut", "reset"] = "cut" if self._reader.began else "reset"
        self._tell(NoAnswer(sent=True, kind=kind, message=f"{why} before the answer was whole"))

    def _answered(self) -> None:
        # an answer that came before the request was out: the rest of it must not leave
        self._owed = self._transport.get_write_buffer_size() > 0
        if self._tls:
            self._poll.modify(self._socket.fileno(), CONNECTION_LOST | select.POLLIN)
        self._tell(self._reader.answer(self._sent_s, clock.boot_s()))

    def _tell(self, exchange: Exchange) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(exchange)
