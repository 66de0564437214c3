"""A door before another program: shut, whoever knocks is refused as if nobody were at home."""

import contextlib
import socket
import struct
import threading

_PIECE_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)


class Door:
    """Forwards TCP from an address of its own while it is open; `close` resets what goes through it."""

    def __init__(self, host_port: str) -> None:
        host, _, port = host_port.rpartition(":")
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._inside: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._port = 0
        self.open()

    @property
    def url(self) -> str:
        """The same for as long as the door lives."""
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(128)
        self._port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._let_in, args=(listener,), daemon=True).start()

    def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            inside, self._inside = self._inside, []
        for one in inside:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.shutdown(socket.SHUT_RDWR)

    def _let_in(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                outer, _ = listener.accept()
                inner = socket.create_connection(self._target)
                with self._lock:
                    self._inside += [outer, inner]
                for source, sink in ((outer, inner), (inner, outer)):
                    threading.Thread(target=_forward, args=(source, sink), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with source, contextlib.suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
