"""The command lines that a runbook tells an operator to type."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.support.pages import fences


def commands_of(page: Path) -> Iterator[list[str]]:
    """Give the command lines of a runbook, in their sequence, as a shell would take them apart."""
    for fence in fences(page.read_text()):
        for line in filter(str.strip, fence.text.splitlines()):
            program, *arguments = shlex.split(line)
            assert program == "ledger-worker", line
            yield arguments
