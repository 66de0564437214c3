"""A person's editor: opens one value, and shows what was changed."""

import difflib
import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from uuid import UUID

import typer

from worker import clock
from worker.cli.frame import say
from worker.cli.output import visible
from worker.errors import LedgerWorkerError, RefusedByGuardError

STDERR = 2  # where editors draw: stdout is data


def edit(value: bytes) -> bytes:
    """Open the value in $EDITOR and return what was saved, without the line break that editors add.

    Raises LedgerWorkerError where there is no editor, RefusedByGuardError where it ends with an error.
    """
    editor = os.environ.get("EDITOR", "").strip()
    if not editor:
        raise LedgerWorkerError("EDITOR is not set; it names the program that opens the record")
    with tempfile.TemporaryDirectory(prefix="ledger-worker-") as folder:
        path = Path(folder) / "record.json"
        path.write_bytes(value)
        try:
            ended = subprocess.run([*shlex.split(editor), str(path)], stdout=STDERR, check=False)  # noqa: S603
        except (OSError, ValueError) as error:
            raise LedgerWorkerError(f"EDITOR cannot be started: {error}") from error
        if ended.returncode != 0:
            raise RefusedByGuardError(f"the editor ended with {ended.returncode}; nothing was changed")
        saved = path.read_bytes()
    return saved if value.endswith(b"\n") else saved.removesuffix(b"\n")


def ask_new_id(used: UUID) -> UUID:
    """Ask for another command_id; nothing typed makes one."""
    typed = typer.prompt(f"command_id {used} is used already; a new one", default="", show_default=False, err=True)
    try:
        return UUID(typed) if typed else clock.new_id()
    except ValueError as error:
        raise RefusedByGuardError(f"{typed} is not a command_id; nothing was changed") from error


def say_difference(name: str, before: bytes, after: bytes) -> None:
    """Show what an edit changes, member by member where both are JSON."""
    told = difflib.unified_diff(_lines(before), _lines(after), f"{name} as read", f"{name} edited", lineterm="", n=1)
    for line in told:
        say(visible(line))


def _lines(value: bytes) -> list[str]:
    try:
        return json.dumps(json.loads(value), ensure_ascii=False, indent=2).splitlines()
    except (ValueError, RecursionError):
        return value.decode("utf-8", "backslashreplace").splitlines()
