"""What the command line prints as JSON, held against its published schema by whatever runs it in a test.

A test that is marked `prints("parked list")` must have got some; `tests/tidy/test_printed.py` wants such a test for each.
"""

import json
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import typer.main
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from typer.core import TyperCommand, TyperGroup, TyperOption

from schemas.printed import PRINTED
from worker.cli.app import build

ALWAYS_JSON = {"whale sign"}
"""What prints JSON without being asked how."""

seen: set[str] = set()
"""What the test under way has got by now that was not empty."""


@cache
def command_line() -> TyperGroup:
    found = typer.main.get_command(build())
    assert isinstance(found, TyperGroup)
    return found


def names() -> set[str]:
    """Return all that a test can be marked with: `command`, or `command: shape` where it prints one of several."""
    return {name for command in PRINTED for name, _ in _shapes(command)}


def check(arguments: Sequence[str], stdout: str) -> None:
    """Raise AssertionError where it was asked for as JSON and is not as its schema says, to the last member."""
    command = _asked_for_json(arguments)
    if command is None or not stdout.strip():
        return
    assert command in PRINTED, f"`{command}` prints JSON and has no schema in schemas/printed"
    value = json.loads(stdout)
    matching = [name for name, shape in _shapes(command) if _validator(name).is_valid(value)]
    if not matching:
        told = [f"{name}: {_fault(name, value)}" for name, _ in _shapes(command)]
        raise AssertionError("\n".join(["what was printed is not as its schema says", *told]))
    if value:
        seen.update(matching)


def output_of(command: TyperCommand | TyperGroup) -> TyperOption | None:
    """Return the option by which a command is told how to print."""
    return next((one for one in command.params if isinstance(one, TyperOption) and one.name == "output"), None)


def _asked_for_json(arguments: Sequence[str]) -> str | None:
    """Return the command that these arguments ask to print JSON; None where they do not, or for help."""
    if {"--help", "-h"} & set(arguments):
        return None
    command: Any = command_line()
    path: list[str] = []
    for word in arguments:
        if not isinstance(command, TyperGroup) or word not in command.commands:
            break
        command = command.commands[word]
        path.append(word)
    name = " ".join(path)
    option = output_of(command)
    if option is None:
        return name if name in ALWAYS_JSON else None
    forms = [after for word, after in pairwise(arguments) if word in option.opts]
    forms += [word.partition("=")[2] for word in arguments if word.startswith("--output=")]
    default = option.default or ("table" if "--list" in arguments else "json")
    return name if (forms or [default])[-1] == "json" else None


def _shapes(command: str) -> list[tuple[str, dict[str, Any]]]:
    schema = PRINTED[command]
    return [(f"{command}: {one['title']}", one) for one in schema.get("anyOf", ())] or [(command, schema)]


@cache
def _validator(name: str) -> Draft202012Validator:
    [shape] = [shape for one, shape in _shapes(name.partition(":")[0]) if one == name]
    return Draft202012Validator(_closed(shape), format_checker=Draft202012Validator.FORMAT_CHECKER)


def _closed(schema: Any) -> Any:
    """Return the schema without room for members that it does not name: what is printed and not described is noticed."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(one) for name, one in schema.items()}
    return closed | ({"additionalProperties": False} if schema.get("additionalProperties") is True else {})


def _fault(name: str, value: object) -> str:
    worst = best_match(_validator(name).iter_errors(value))
    assert worst is not None
    return f"{worst.json_path}: {worst.message}"
