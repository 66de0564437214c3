"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy import tree

_MODULE_LINES_MAX = 400
_FUNCTION_LINES_MAX = 70
_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "manager", "service", "misc"}
# Written so that no pattern finds itself.
_OTHER_MACHINES = re.compile(
    r"/(?:wor[k]|tm[p]/wt|roo[t]|hom[e]/\w+|User[s]/\w+)/|py[p]i\.org|pythonhoste[d]|mave[n]\.(?:org|apache)|npm[j]s|/op[t]/wheels"
)
_LEFT_FOR_LATER = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X])\b")


def test_the_map_in_the_worker_equals_the_stages_of_the_pipeline() -> None:
    stages = {path.stem for path in (tree.CHECKOUT / "worker/pipeline").glob("*.py")} - {"__init__"}
    other = {path.stem for path in (tree.CHECKOUT / "worker/timers").glob("*.py")}
    docstring = ast.get_docstring(tree.parsed(tree.CHECKOUT / "worker/__init__.py")) or ""
    mapped = set(re.findall(r"^\s*(\w+)\s+— \S", docstring, re.MULTILINE))
    assert mapped - other == stages


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    long = {
        tree.name(path): lines
        for path in tree.modules()
        if "versions" not in path.parts and (lines := _lines(path)) > _MODULE_LINES_MAX
    }
    assert long == {}


def test_no_function_is_longer_than_a_reader_can_hold() -> None:
    long = {
        f"{tree.name(path)}:{function.name}": lines
        for path in tree.modules()
        if "versions" not in path.parts
        for function in _functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > _FUNCTION_LINES_MAX
    }
    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [tree.name(path) for path in tree.modules() if path.stem in _SAY_NOTHING] == []


def test_imports_point_down() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=tree.CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_names_a_folder_of_one_machine_or_a_registry() -> None:
    assert list(_found(_OTHER_MACHINES)) == []


def test_locks_name_no_address_and_hash_every_package() -> None:
    for lock in (tree.CHECKOUT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "://" not in text
        assert not re.search(r"--(?:index|extra-index|find-links|trusted)", text)
        assert text.count("==") > 0
        for entry in re.split(r"\n(?=\S)", text):
            assert entry.startswith("#") or "--hash=sha256:" in entry, f"{lock.name}: {entry}"


def test_nothing_is_left_for_later() -> None:
    assert list(_found(_LEFT_FOR_LATER)) == []


def test_every_skipped_test_says_why() -> None:
    silent = [
        f"{tree.name(path)}: {ast.unparse(node)[:80]}"
        for path in tree.modules()
        if path.is_relative_to(tree.CHECKOUT / "tests")
        for node in ast.walk(tree.parsed(path))
        if _is_silent_skip(node)
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("source", "silent"),
    [
        ("@pytest.mark.skip\ndef test(): ...", True),
        ("@pytest.mark.xfail()\ndef test(): ...", True),
        ("@pytest.mark.skipif(True)\ndef test(): ...", True),
        ("pytest.skip()", True),
        ("@pytest.mark.skip(reason='no engine')\ndef test(): ...", False),
        ("pytest.skip('no engine')", False),
    ],
)
def test_a_silent_skip_is_seen(source: str, *, silent: bool) -> None:
    assert any(_is_silent_skip(node) for node in ast.walk(ast.parse(source))) == silent


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _found(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in tree.files():
        text = path.read_bytes().decode(errors="replace")
        for match in pattern.finditer(text):
            yield f"{tree.name(path)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"


def _is_silent_skip(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return any(_skip_name(one) in {"mark.skip", "mark.xfail", "mark.skipif"} for one in node.decorator_list)
    if isinstance(node, ast.Call) and _skip_name(node.func):
        given = {one.arg for one in node.keywords}
        says_why = "reason" in given or (_skip_name(node.func) in {"skip", "xfail", "mark.skip"} and node.args)
        return not says_why
    return False


def _skip_name(node: ast.AST) -> str:
    written = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
    name = written.removeprefix("pytest.")
    return name if written != name and name in {"skip", "xfail", "mark.skip", "mark.skipif", "mark.xfail"} else ""
