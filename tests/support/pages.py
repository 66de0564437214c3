"""The pages of the documentation: what stands in their fences, and taking the command lines there apart."""

import ast
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer.main
from typer.core import TyperCommand, TyperGroup

from tests.support.worker import CHECKOUT
from worker.cli.app import build

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_BEFORE = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=[^\s$\"']+ )*(?:docker compose exec (?:-T )?\w+ )?(?:\.venv/bin/)?")
_PROGRAMS = ("ledger-worker", "make", "python")
_PLACE_OF_AN_ID = re.compile(r"[A-Z_]{3,}|.*…")
_AN_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
_MAKEFILE = (CHECKOUT / "Makefile").read_text()
_ROOT = typer.main.get_command(build())


@dataclass(frozen=True)
class Fence:
    """A block of code, without the indentation that it has in a list."""

    language: str
    text: str


def fences(page: str) -> list[Fence]:
    return [Fence(language, textwrap.dedent(text)) for _, language, text in _FENCE.findall(page)]


def prose(page: str) -> str:
    """Return a page without fences and code."""
    return _CODE.sub("", _FENCE.sub("", page))


def command_lines(page: str) -> Iterator[str]:
    """Give each line in a fence that begins with a program of ours, without what stands before it."""
    for fence in fences(page):
        if fence.language in {"", "sh", "text"}:
            for line in fence.text.replace("\\\n", " ").splitlines():
                bare = _BEFORE.sub("", line)
                if bare.split(" ")[0] in _PROGRAMS:
                    yield bare


def typed_lines(page: str) -> list[str]:
    """Return what the fences of a page let its reader type: of a shell every command, whole; else those of our programs."""
    found: list[str] = []
    for fence in fences(page):
        if fence.language == "sh":
            found += _shell_commands(fence.text)
        elif fence.language in {"", "text"}:
            found += map(_bare, command_lines(f"```text\n{fence.text}```"))
    return found


def _bare(line: str) -> str:
    return re.sub(r"\s+#\s.*", "", _BEFORE.sub("", line)).strip()


def _shell_commands(text: str) -> Iterator[str]:
    """Give a script's commands, each with all of its lines: as many as the shell needs to find it complete."""
    begun = ""
    for line in re.sub(
        r"(?ms)(<<'(\w+)'.*?)^\2$", lambda m: m[1].replace("\n", " "), text.replace("\\\n", " ")
    ).splitlines():
        begun += line + "\n"
        if subprocess.run(["sh", "-n", "-c", begun], capture_output=True, check=False).returncode == 0:
            bare = _bare(begun)
            if bare and not bare.startswith("#"):
                yield bare
            begun = ""
    assert not begun, f"this is no whole command: {begun}"


def commands_in_prose(page: str) -> list[str]:
    """Return what stands in the text as code and begins with a command of `ledger-worker`."""
    return re.findall(r"`(ledger-worker [a-z][^`\n]*)`", _FENCE.sub("", page).replace(r"\|", "|"))


def refuse_unknown(line: str) -> None:
    """Raise where a command line names a command, option, target, variable or module that does not exist."""
    program, *arguments = _words(line)
    match program:
        case "ledger-worker":
            take_apart(arguments)
        case "make":
            _refuse_unknown_target(*arguments)
        case "python" if arguments[:1] == ["-m"]:
            _refuse_unknown_module(arguments[1], arguments[2:])
        case "python":
            assert (CHECKOUT / arguments[0]).is_file(), line
        case _:
            raise AssertionError(line)


def take_apart(arguments: list[str]) -> None:
    """Take a command line apart as `ledger-worker` does, without running it; raises its UsageError where it would."""
    command: object = _ROOT
    context: typer.Context | None = None
    name, rest = "ledger-worker", [_AN_ID if _PLACE_OF_AN_ID.fullmatch(word) else word for word in arguments]
    while isinstance(command, TyperGroup) and not (command.invoke_without_command and _is_option(rest)):
        context = typer.Context(command, parent=context, info_name=name)
        name, command, rest = command.resolve_command(context, rest)
    assert isinstance(command, TyperGroup | TyperCommand), arguments
    command.make_context(name, rest, parent=context)


def _is_option(arguments: list[str]) -> bool:
    return not arguments or arguments[0].startswith("-")


def _words(line: str) -> list[str]:
    """Take the first command of a line apart: up to a pipe, a redirection or a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word[0] in "|<>;&":
            break
        words.append(word)
    return words


def _refuse_unknown_target(target: str, *variables: str) -> None:
    recipe = re.search(rf"(?m)^{re.escape(target)}:.*(?:\n\t.*)*", _MAKEFILE)
    assert recipe, f"make has no target {target}"
    for name in (variable.partition("=")[0] for variable in variables):
        assert f"$({name})" in recipe[0], f"make {target} knows no {name}"


def _refuse_unknown_module(name: str, arguments: list[str]) -> None:
    if name == "venv":
        return
    path = CHECKOUT / name.replace(".", "/")
    runs = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert runs.is_file(), f"{name} cannot be run"
    known = set[str]().union(*map(_options, path.glob("*.py") if path.is_dir() else [runs]))
    unknown = [word for word in arguments if word.startswith("--") and word not in known]
    assert not unknown, f"python -m {name} knows no {unknown}"


def _options(module: Path) -> set[str]:
    """What may be an option of a program: written out, or a parameter that typer makes one of."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    written = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return written | {f"--{node.arg.replace('_', '-')}" for node in nodes if isinstance(node, ast.arg)}
