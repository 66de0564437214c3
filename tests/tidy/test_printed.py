"""Every command that prints JSON has a schema, every schema has a command, and a test that got it from real parts."""

import ast
from collections.abc import Iterator

import pytest
from typer.core import TyperCommand, TyperGroup

from schemas.printed import PRINTED
from tests.support import printed
from tests.tidy import tree

ON_REAL_PARTS = ("tests/acceptance/", "tests/integration/")


def commands(command: TyperCommand | TyperGroup, *path: str) -> Iterator[str]:
    """Every command that prints JSON, or that is told how to print."""
    name = " ".join(path)
    if printed.output_of(command) is not None or name in printed.ALWAYS_JSON:
        yield name
    if isinstance(command, TyperGroup):
        for word, one in command.commands.items():
            assert isinstance(one, TyperCommand | TyperGroup)
            yield from commands(one, *path, word)


def test_every_command_that_prints_json_has_a_schema_and_every_schema_a_command() -> None:
    assert sorted(commands(printed.command_line())) == sorted(PRINTED)


def test_every_schema_has_a_test_that_gets_it_from_real_parts() -> None:
    proven = {
        name
        for path in tree.modules()
        if tree.name(path).startswith(ON_REAL_PARTS)
        for node in ast.walk(tree.parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for name in _promised(node)
    }
    assert proven == printed.names()


def _promised(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.prints":
            yield from map(ast.literal_eval, mark.args)


@pytest.mark.parametrize(
    ("typed", "stdout"),
    [
        (("parked", "list", "-o", "json"), '[{"command_id": 7}]'),
        (("parked", "list", "--output=json"), "{}"),
        (("accounts", "hold", "H1"), '{"stopped": "account H1", "kind": "account", "account_no": "H1"}'),
        (("accounts", "hold", "H1"), '{"stopped": "1", "kind": "account", "account_no": "H1", "by": "a", "more": 1}'),
        (("dead-letters", "list", "--output", "json", "--all"), "{}"),
        (("whale", "sign"), "[]"),
    ],
)
def test_json_that_is_not_as_its_schema_says_is_noticed(typed: tuple[str, ...], stdout: str) -> None:
    with pytest.raises(AssertionError, match="not as its schema says"):
        printed.check(typed, stdout)


@pytest.mark.parametrize(
    "typed",
    [
        ("parked", "list"),
        ("pause", "--list"),
        ("accounts", "hold", "--output", "table"),
        ("send", "--help"),
        ("migrate",),
        ("tail",),
    ],
)
def test_what_was_not_asked_for_as_json_is_left_alone(typed: tuple[str, ...]) -> None:
    printed.check(typed, "kind  subject")


def test_what_was_printed_is_kept_in_mind_unless_it_is_empty() -> None:
    printed.check(("parked", "list", "-o", "json"), "[]")
    assert printed.seen == set()
    printed.check(("send", "-"), '{"sent": 1, "of": 1, "topics": {"T": 1}}')
    assert printed.seen == {"send"}
