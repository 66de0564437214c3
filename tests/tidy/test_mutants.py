"""The sabotages under tests/mutants fit the code as it is, so that none rots unseen; `make mutants` tries them."""

import ast

import pytest

from tests.mutants.mutant import MutantError, mutants, read_mutant
from tests.tidy import tree

MUTANTS = mutants()
NAMES = [one.name for one in MUTANTS]


def test_there_are_at_least_twenty() -> None:
    assert len(MUTANTS) >= 20


def test_each_has_a_number_and_a_sentence_of_its_own() -> None:
    assert [name.split("-")[0] for name in NAMES] == [f"{number:02}" for number in range(1, len(NAMES) + 1)]
    assert [one.name for one in MUTANTS if not one.sentence.endswith(".")] == []
    assert len({one.sentence for one in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("name", NAMES)
def test_each_applies_to_the_code_as_it_is_and_leaves_it_readable(name: str) -> None:
    changed = MUTANTS[NAMES.index(name)].mutated(lambda path: (tree.CHECKOUT / path).read_text())
    for path, text in changed.items():
        assert path.startswith("worker/"), f"{name} sabotages {path}, which is not the worker"
        ast.parse(text)


@pytest.mark.parametrize("name", NAMES)
def test_the_tests_meant_for_each_exist(name: str) -> None:
    for node_id in MUTANTS[NAMES.index(name)].tests:
        path, *names = node_id.split("::")
        here: ast.AST = tree.parsed(tree.CHECKOUT / path)
        for one in names:
            found = [node for node in ast.iter_child_nodes(here) if getattr(node, "name", None) == one]
            assert found, f"{name}: there is no {node_id}"
            here = found[0]


def test_the_page_about_proofs_has_a_row_for_each() -> None:
    page = (tree.CHECKOUT / "docs/proof.md").read_text()
    missing = [
        one.name
        for one in MUTANTS
        if not any(one.sentence in row and all(_last(test) in row for test in one.tests) for row in page.splitlines())
    ]
    assert missing == []


@pytest.mark.parametrize("told", ["", "Sentence.\n", "Sentence.\nTests: a\n", "Sentence.\n--- a/b\n"])
def test_a_file_that_lacks_a_part_is_named(told: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("mutants") / "99-lacking.patch"
    path.write_text(told)
    with pytest.raises(MutantError, match="99-lacking"):
        read_mutant(path)


@pytest.mark.parametrize("text", ["", "other lines\n", "before\nbefore\n", "the line before\n"])
def test_lines_that_do_not_stand_there_exactly_once_are_named(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mutants") / "99-stale.patch"
    path.write_text("Sentence.\nTests: a::b\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-before\n+after\n")
    mutant = read_mutant(path)
    assert mutant.mutated(lambda _: "first\nbefore\nlast\n") == {"x": "first\nafter\nlast\n"}
    with pytest.raises(MutantError, match="99-stale"):
        mutant.mutated(lambda _: text)


def _last(node_id: str) -> str:
    return node_id.rsplit("::", 1)[1]
