"""The command lines that a runbook tells an operator to type."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path


def commands_of(page: Path) -> Iterator[list[str]]:
    """Give the command lines of a runbook, in their sequence, as a shell would take them apart."""
    for block in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL):
        for line in filter(str.strip, block.splitlines()):
            program, *arguments = shlex.split(line)
            assert program == "ledger-worker", line
            yield arguments
