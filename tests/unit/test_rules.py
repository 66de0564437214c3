"""Every rule that a verdict may name has a plain sentence, and every sentence has its rule."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import worker
from worker.ledger import decide
from worker.operate.rules import RULES, VERDICTS, sentence
from worker.whale import verdict
from worker.whale.wire import NoAnswerKind

SOURCES = ("whale", "pipeline", "ledger")
PLACE_OF_RULE = {"Confirmed": 1, "Refused": 2, "InDoubt": 0, "NotSent": 0}
FILLED = {
    "exchange.kind": get_args(NoAnswerKind),
    "code": sorted(verdict.ADDRESS_CODES | {verdict.SIGNATURE_CODE}),
    "status": ["404", "405"],
}
"""What the rules that are put together are put together from."""
OF_NO_VERDICT = {decide.SIGNATURE_ALONE, decide.OWNER_SILENT, decide.RECOVERED, "person", "look"}


def given_in(path: Path) -> Iterator[str]:
    """Every rule that a verdict made in this file names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PLACE_OF_RULE:
            place = PLACE_OF_RULE[node.func.id]
            if place < len(node.args):
                yield from written(node.args[place])


def written(rule: ast.expr) -> Iterator[str]:
    match rule:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=[*parts]):
            [hole] = [ast.unparse(part.value) for part in parts if isinstance(part, ast.FormattedValue)]
            before, after = ast.unparse(rule)[2:-1].split(f"{{{hole}}}")
            if (before, after) != ("http_", "_unreadable"):
                yield from (f"{before}{value}{after}" for value in FILLED[hole])
        case ast.Name(id="REPEATED_RULE"):
            yield verdict.REPEATED_RULE
        case ast.Name(id="rule"):  # `_without_answer` chooses between two
            yield "send_before_passed"
            yield from (f"{kind}_before_send" for kind in get_args(NoAnswerKind) if kind != "late")
        case _:
            raise AssertionError(f"a rule that this test cannot read: {ast.unparse(rule)}")


def test_every_rule_has_a_sentence_and_no_sentence_is_of_nothing() -> None:
    folder = Path(worker.__file__).parent
    rules = {rule for name in SOURCES for path in (folder / name).glob("*.py") for rule in given_in(path)}
    assert rules | OF_NO_VERDICT == set(RULES)


def test_every_verdict_has_its_words() -> None:
    assert {*decide.Known, *decide.Sight} == set(VERDICTS)


@pytest.mark.parametrize(
    ("rule", "told"), [("http_200_unreadable", "HTTP 200 with a body"), ("later", "another release")]
)
def test_a_rule_with_a_number_and_one_of_another_release_are_told_too(rule: str, told: str) -> None:
    assert told in sentence(rule)
