"""Free TCP ports on 127.0.0.1."""

import secrets
import socket

from sandbox.parts.errors import PartsError

_PORT_MIN = 15_000
_PORT_MAX = 32_000  # below Linux's range for outgoing connections, so that nobody takes it while the owner restarts
_DRAWS_MAX = 200


def free_port(other_than: int | None = None) -> int:
    """Return a port that nothing listens on now; stays free over a restart of its owner, but is not reserved."""
    for _ in range(_DRAWS_MAX):
        port = _PORT_MIN + secrets.randbelow(_PORT_MAX - _PORT_MIN)
        if port == other_than:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port between {_PORT_MIN} and {_PORT_MAX} in {_DRAWS_MAX} draws")


def is_listening(port: int) -> bool:
    """Say whether something accepts connections at 127.0.0.1:port; blocks for at most a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def refuse_taken(name: str, port: int) -> None:
    """Raise PartsError where another program listens already: its answers would pass for those of the part."""
    if is_listening(port):
        raise PartsError(f"{name} cannot start: another program listens on 127.0.0.1:{port}")
