"""One sabotage as it lies in its file: a sentence, `Tests:` with their node ids, and a unified diff.

A hunk is found by its lines, wherever they stand, and they must stand there exactly once. No git is asked, for a bare machine has none.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
_HUNK = re.compile(r"^@@ .*\n((?:[ +\-\n].*\n?)+)", re.MULTILINE)


class MutantError(Exception):
    """A patch that is not what it should be, or that does not fit the code any more; the text names it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`name` is its file's; `hunks` are (path, lines before, lines after)."""

    name: str
    sentence: str
    tests: tuple[str, ...]
    hunks: tuple[tuple[str, str, str], ...]

    def mutated(self, read: Callable[[str], str]) -> dict[str, str]:
        """Return the text of every file that it changes, by path; `read` gives the present text of a path."""
        texts: dict[str, str] = {}
        for path, before, after in self.hunks:
            text = texts.get(path) or read(path)
            places = [one.start() for one in re.finditer(f"^(?={re.escape(before)})", text, re.MULTILINE)]
            if len(places) != 1:
                raise MutantError(
                    f"{self.name} does not apply: its lines stand {len(places)} times in {path}:\n{before}"
                )
            [place] = places
            texts[path] = text[:place] + after + text[place + len(before) :]
        return texts


def mutants() -> list[Mutant]:
    """Read them all, by name."""
    return [read_mutant(path) for path in sorted(FOLDER.glob("*.patch"))]


def read_mutant(path: Path) -> Mutant:
    """Read one; MutantError where a part of it is missing."""
    told, _, diff = path.read_text().partition("\n--- a/")
    sentence, _, tests = told.partition("\nTests:")
    hunks = [
        (file[: file.index("\n")], _side(hunk, "+"), _side(hunk, "-"))
        for file in diff.split("\n--- a/")
        if file
        for hunk in _HUNK.findall(file)
    ]
    if not sentence.strip() or not tests.strip() or not hunks:
        raise MutantError(f"{path.name} needs a sentence, a line with its tests, and a diff")
    return Mutant(path.stem, " ".join(sentence.split()), tuple(tests.split()), tuple(hunks))


def _side(hunk: str, left_out: str) -> str:
    lines = hunk.removesuffix("\n").split("\n")
    return "".join(f"{line[1:]}\n" for line in lines if not line.startswith(left_out))
