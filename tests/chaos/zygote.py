"""Starts workers quickly: everything is imported once here, and each worker is a fork, a real process with a death of its own.

Run as `python -m tests.chaos.zygote SOCKET`. Each line read is a worker to start, `{"env", "arguments", "log", "order",
"struck", "paced"}`, answered by `{"pid"}`; `{"pid", "status"}` tells of each end, as `Popen.returncode` does. It ends with its connection.
"""

import json
import os
import select
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.chaos.crashing import Striker, install, set_paces

_own: list[Striker] = []
_EVERYTHING = ("worker.__main__", "worker.cli.run", "worker.app", "worker.app.start", "worker.observe.logs", "uvloop")


def main() -> None:
    """Import, then serve one connection."""
    import gc  # noqa: PLC0415
    from importlib import import_module  # noqa: PLC0415

    install(lambda: _own[0])
    for name in _EVERYTHING:
        import_module(name)
    gc.freeze()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen(1)
        connection, _ = server.accept()
    _serve(connection, woken)


def _serve(connection: socket.socket, woken: int) -> None:
    unread = b""
    while True:
        readable, _, _ = select.select([connection, woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            _tell_of_ends(connection)
        if connection in readable:
            if not (read := connection.recv(65536)):
                return
            *lines, unread = (unread + read).split(b"\n")
            for line in lines:
                _say(connection, {"pid": _fork(json.loads(line), connection)})


def _say(connection: socket.socket, told: dict[str, int]) -> None:
    connection.sendall(json.dumps(told).encode() + b"\n")


def _tell_of_ends(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say(connection, {"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _fork(asked: dict[str, Any], connection: socket.socket) -> int:
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # as `run` ends before the start, once it has come so far
        connection.close()
        os._exit(_work(asked))
    return pid


def _work(asked: dict[str, Any]) -> int:
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    os.environ.clear()
    os.environ.update(asked["env"])
    if asked["paced"]:
        set_paces()
    _own.append(Striker(Path(asked["order"]), Path(asked["struck"])))
    sys.argv = ["ledger-worker", "run", *asked["arguments"]]
    from worker.__main__ import main as run  # noqa: PLC0415

    try:
        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the outermost report of this process
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    main()
