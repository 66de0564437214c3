"""The embedded parts: real, durable, and gone when their starter is gone."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from sandbox.parts import Kafka, PartsError, Postgres, Programs, jars
from sandbox.parts.ports import free_port, is_listening
from tests.support import SandboxClient, create_topics, produce, read_records, wait_until
from tests.support.worker import CHECKOUT


def test_postgres_keeps_a_committed_row_when_killed_and_restarted(own_postgres: Callable[[], Postgres]) -> None:
    server = own_postgres()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (number integer)")
        connection.execute("INSERT INTO kept VALUES (42)")
    bystander = psycopg.connect(server.url)
    server.kill()
    server.start()
    bystander.close()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(42,)]
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_postgres_is_refused_without_the_password(own_postgres: Callable[[], Postgres]) -> None:
    server = own_postgres()
    port = server.url.rpartition(":")[2].partition("/")[0]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://ledger@127.0.0.1:{port}/ledger")


async def test_kafka_keeps_an_acknowledged_record_when_killed_and_restarted(own_kafka: Callable[[], Kafka]) -> None:
    broker = own_kafka()
    await create_topics(broker.bootstrap, ["kept"])
    await produce(broker.bootstrap, [("kept", b"key", b"value", [("name", b"\xff")])])
    broker.kill()
    broker.start()
    (record,) = await read_records(broker.bootstrap, "kept", lambda seen: len(seen) == 1)
    assert (record.key, record.value, list(record.headers)) == (b"key", b"value", [("name", b"\xff")])


def test_nothing_is_left_when_the_starter_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(
        "import json, signal\n"
        "from sandbox.parts import Postgres, Programs\n"
        "programs = Programs()\n"
        "server = Postgres(programs)\n"
        "server.start()\n"
        "print(json.dumps([str(programs.folder), int(server.url.rpartition(':')[2].partition('/')[0])]), flush=True)\n"
        "signal.pause()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    with starter:
        assert starter.stdout is not None
        folder, port = json.loads(starter.stdout.readline())
        assert is_listening(port)
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: not Path(folder).exists(), 20, "the folder is removed")
    wait_until(lambda: not is_listening(port), 20, "the server is gone")


def test_the_brokerage_tells_its_calls_and_takes_faults(brokerage: SandboxClient) -> None:
    brokerage.seed("H1", {"USD": "10.00"}, [{"symbol": "AAPL.US", "quantity": "5"}])
    brokerage.fault("drop_answer", operation="cash.adjust", account_no="H1", times=-1)
    brokerage.clear_faults()
    assert brokerage.effects(account_no="H1") == []
    assert brokerage.calls(operation="cash.adjust") == []


def test_serve_tells_three_addresses_and_ends_with_all_of_them_at_sigterm() -> None:
    argv = [sys.executable, "-m", "sandbox.parts", "serve", "--quiet"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as served:
        assert served.stdout is not None
        told = json.loads(served.stdout.readline())
        ports = [int(re.findall(r":([0-9]+)", address)[-1]) for address in told.values()]
        assert told.keys() == {"kafka", "database_url", "brokerage_url"}
        assert all(is_listening(port) for port in ports)
        served.send_signal(signal.SIGTERM)
        assert served.wait(30) == 0
    assert not any(is_listening(port) for port in ports)


def test_a_program_that_ends_at_once_is_told_with_its_last_lines(programs: Programs) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('the disk is full')"]
    program = programs.start("the broker", argv, programs.folder / "broker.log")
    with pytest.raises(PartsError, match=r"the broker ended with 1 while it started\n    the disk is full"):
        program.wait_ready(lambda: False, 20)


def test_nothing_starts_once_everything_is_being_stopped(programs: Programs) -> None:
    programs.close()
    with pytest.raises(PartsError, match="being stopped"):
        Postgres(programs).start()


def test_a_free_port_can_be_listened_on_and_lies_below_those_of_outgoing_connections() -> None:
    port = free_port()
    assert port < 32_768
    assert not is_listening(port)


def test_a_restart_is_refused_while_another_program_has_the_port(own_postgres: Callable[[], Postgres]) -> None:
    server = own_postgres()
    server.kill()
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(PartsError, match=f"another program listens on .*:{port}"),
    ):
        server.start()


def test_a_jar_with_other_bytes_is_not_intact(tmp_path: Path) -> None:
    jar = jars.Jar("a.b", "c", "1", "", hashlib.sha256(b"right").hexdigest())
    path = jar.path_in(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"wrong")
    assert not jar.is_intact_in(tmp_path)
    path.write_bytes(b"right")
    assert jar.is_intact_in(tmp_path)


def test_without_a_network_an_empty_cache_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_PARTS_CACHE", str(tmp_path))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")  # nothing listens there
    with pytest.raises(
        PartsError, match=r"is not in the cache .* could not be fetched \(the first start needs a network"
    ):
        jars.class_path(lambda _: None)


def test_without_a_network_a_whole_cache_is_enough(monkeypatch: pytest.MonkeyPatch, kafka: str) -> None:
    assert kafka
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    heard: list[str] = []
    assert len(jars.class_path(heard.append)) == len(jars.locked_jars())
    assert heard == []
