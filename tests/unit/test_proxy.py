"""The lossy wire of the chaos runs does what it is told, and nothing when it is told nothing."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import wait_until
from tests.support.proxy import FAIR, Kind, Link, Proxy, Way, Weather

BRIEF_S = 0.3
"""So long nothing must come; more than a loopback needs."""


class Echo:
    """Sends back what it hears, and keeps it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.resets = 0
        self.ends = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host_port = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inside, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(inside,), daemon=True).start()

    def _answer(self, inside: socket.socket) -> None:
        try:
            with inside:
                while piece := inside.recv(65_536):
                    self.heard += piece
                    inside.sendall(piece)
                self.ends += 1
        except OSError:
            self.resets += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    one = Echo()
    yield one
    one.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    with Proxy() as proxy:
        yield proxy.link(echo.host_port)


def dial(link: Link) -> socket.socket:
    host, _, port = link.host_port.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def hear(client: socket.socket, count: int) -> bytes:
    heard = b""
    while len(heard) < count and (piece := client.recv(65_536)):
        heard += piece
    return heard


def hears_nothing(client: socket.socket) -> bool:
    client.settimeout(BRIEF_S)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)


def test_in_fair_weather_all_bytes_pass_in_sequence(link: Link) -> None:
    sent = bytes(range(256)) * 4000
    with dial(link) as client:
        threading.Thread(target=client.sendall, args=(sent,)).start()
        assert hear(client, len(sent)) == sent
    wait_until(lambda: link.passed == {Way.UP: len(sent), Way.DOWN: len(sent)})


def test_an_end_is_passed_on(link: Link, echo: Echo) -> None:
    with dial(link) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert hear(client, 11) == b"last words"
    wait_until(lambda: echo.ends == 1 and link.connections() == 0)


def test_a_delay_holds_back_each_piece(link: Link) -> None:
    link.tell(Weather(Kind.DELAY, Way.UP, seconds=0.5))
    with dial(link) as client:
        began_s = time.monotonic()
        client.sendall(b"slow")
        assert hear(client, 4) == b"slow"
        assert time.monotonic() - began_s >= 0.5


def test_a_drip_lets_a_few_bytes_pass_at_a_time(link: Link) -> None:
    link.tell(Weather(Kind.DRIP, Way.UP, seconds=0.05, size=2))
    with dial(link) as client:
        began_s = time.monotonic()
        client.sendall(b"0123456789")
        assert hear(client, 10) == b"0123456789"
        assert time.monotonic() - began_s >= 5 * 0.05


def test_a_reset_cuts_both_sides_and_what_waits_is_lost(link: Link, echo: Echo) -> None:
    with dial(link) as client:
        client.sendall(b"before")
        assert hear(client, 6) == b"before"
        link.tell(Weather(Kind.BLACK_HOLE))
        client.sendall(b"lost")
        link.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    wait_until(lambda: echo.resets == 1)
    link.tell(FAIR)
    assert bytes(echo.heard) == b"before"


@pytest.mark.parametrize(("way", "heard"), [(Way.UP, b""), (Way.DOWN, b"whisper")])
def test_half_open_loses_one_direction_and_resets_when_it_ends(link: Link, echo: Echo, way: Way, heard: bytes) -> None:
    with dial(link) as client, dial(link) as bystander:
        link.tell(Weather(Kind.HALF_OPEN, way))
        client.sendall(b"whisper")
        assert hears_nothing(client)
        assert bytes(echo.heard) == heard
        link.tell(FAIR)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        bystander.sendall(b"me")
        assert hear(bystander, 2) == b"me", "it lost nothing, so it goes on"


def test_a_black_hole_accepts_and_moves_nothing_until_it_ends(link: Link, echo: Echo) -> None:
    link.tell(Weather(Kind.BLACK_HOLE))
    with dial(link) as client:
        client.sendall(b"patience")
        assert hears_nothing(client)
        assert bytes(echo.heard) == b""
        link.tell(FAIR)
        assert hear(client, 8) == b"patience"


def test_whoever_resets_takes_back_what_waited_on_the_wire(link: Link, echo: Echo) -> None:
    link.tell(Weather(Kind.BLACK_HOLE))
    client = dial(link)
    client.sendall(b"withdrawn")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
    wait_until(lambda: link.connections() == 0)
    link.tell(FAIR)
    assert bytes(echo.heard) == b""


def test_refused_means_that_nobody_listens_while_open_connections_go_on(link: Link) -> None:
    with dial(link) as client:
        client.sendall(b"1")
        assert hear(client, 1) == b"1"
        link.tell(Weather(Kind.REFUSE))
        with pytest.raises(ConnectionRefusedError):
            dial(link)
        client.sendall(b"2")
        assert hear(client, 1) == b"2"
        link.tell(FAIR)
        with dial(link) as another:
            another.sendall(b"3")
            assert hear(another, 1) == b"3"


def test_a_target_that_does_not_listen_looks_like_a_cut(link: Link, echo: Echo) -> None:
    echo.close()
    with pytest.raises(ConnectionResetError), dial(link) as client:  # while it is dialled, or when it is read
        client.recv(1)
