"""The command line, typed in this process."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from typer.testing import CliRunner

from tests.support import printed
from worker.__main__ import exit_code
from worker.cli.app import build
from worker.errors import LedgerWorkerError


@dataclass(frozen=True)
class Typed:
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


async def typed(env: Mapping[str, str], *arguments: str, stdin: str | None = None) -> Typed:
    """Run `ledger-worker ARGUMENTS` in this process, as its entry does, with nobody to ask; JSON is as its schema says."""
    done = await asyncio.to_thread(CliRunner().invoke, build(), list(arguments), env=env, input=stdin)
    printed.check(arguments, done.stdout)
    if isinstance(done.exception, LedgerWorkerError):
        return Typed(exit_code(done.exception), done.stdout, f"{done.stderr}{done.exception}")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Typed(done.exit_code, done.stdout, done.stderr)
