"""The files of the checkout that belong to the project; no git is asked, for a bare machine has none."""

import ast
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_OF_THE_MAKE_ABOVE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"}
_LEFT_OUT = {line.strip().rstrip("/") for line in (CHECKOUT / ".gitignore").read_text().splitlines()} | {".git"}


@cache
def files() -> list[Path]:
    return sorted(_below(CHECKOUT))


def modules() -> list[Path]:
    return [path for path in files() if path.suffix == ".py"]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def plan_of_make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """What make would do, printed; a `make test ARGS=…` that runs this hands nothing down."""
    env = {name: value for name, value in os.environ.items() if name not in _OF_THE_MAKE_ABOVE}
    plan = ["make", "--no-print-directory", "--dry-run", *arguments]
    return subprocess.run(plan, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if name(path) in _LEFT_OUT or path.name in _LEFT_OUT or path.name.endswith(".egg-info"):
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path
