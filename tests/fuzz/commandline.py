"""The command line in this process, as a program would see it: bytes in, bytes out, and how it ended."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple
from unittest.mock import patch

import typer.main

from worker.__main__ import main
from worker.cli.app import build

COMMAND = typer.main.get_command(build())  # once: to build it takes longer than most of its commands
ENV = {
    "LEDGER_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "LEDGER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
    "LEDGER_WHALE_BASE_URL": "https://127.0.0.1:1",
    "LEDGER_WHALE_APP_KEY": "key",
    "LEDGER_WHALE_APP_SECRET": "hidden-secret",
    "LEDGER_WHALE_ACCESS_TOKEN": "hidden-token",
    "LEDGER_ACTOR": "tester",
}


class Ended(NamedTuple):
    """How a command ended; what it raised beyond that is raised."""

    code: int
    out: str
    err: str


class _Stream(io.TextIOWrapper):
    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", errors="strict", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def written(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


def run(arguments: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] = ENV, terminal: bool = False) -> Ended:
    """Run `ledger-worker ARGUMENTS`; its logs stay silent, for nothing here reaches a part."""
    out, err = _Stream(terminal=terminal), _Stream()
    streams = (
        patch.object(sys, "stdin", _Stream(stdin)),
        patch.object(sys, "stdout", out),
        patch.object(sys, "stderr", err),
    )
    quiet = patch("worker.cli.frame._hush_logs")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    named = patch.object(sys, "argv", ["ledger-worker", *arguments]), patch("worker.__main__.build", lambda: COMMAND)
    environ = patch.dict(os.environ, {**kept, **env}, clear=True)
    with ExitStack() as stack:
        for one in (*streams, quiet, *named, environ):
            stack.enter_context(one)
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Ended(code, out.written(), err.written())
