"""What docs/security.md claims has the tests that it names."""

import ast
import re

import pytest

from tests.tidy.tree import CHECKOUT, parsed

PAGE = (CHECKOUT / "docs/security.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def missing(page: str) -> list[str]:
    """Return what a page names and is not there; a path is below tests/, or from the top."""
    wrong = []
    for path, name in NAMED.findall(page):
        file = CHECKOUT / "tests" / path
        file = file if file.is_file() else CHECKOUT / path
        functions = {
            node.name
            for node in (ast.walk(parsed(file)) if file.is_file() else ())
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        if not file.is_file() or (name and name not in functions):
            wrong.append(f"{path}::{name}")
    return wrong


def test_every_test_that_the_security_page_names_exists() -> None:
    assert len(NAMED.findall(PAGE)) > 50
    assert missing(PAGE) == []


@pytest.mark.parametrize("named", ["unit/no_such.py", "tidy/test_security.py::test_no_such"])
def test_a_test_that_does_not_exist_is_seen(named: str) -> None:
    assert len(missing(f"| `{named}` |")) == 1
