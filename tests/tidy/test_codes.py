"""Each `error.code` that the worker can give is on the page that says what to do about it."""

import ast

from schemas.codes import ABOUT, Advice, as_markdown
from schemas.dead_letters import Reason
from tests.tidy import tree

_GIVES_A_CODE = {"Error", "Reject", "Refusal", "Unusable"}


def _given() -> dict[str, str]:
    """The codes that are spelled out where a refusal is made, and where."""
    found = {}
    for path in tree.modules():
        if path.is_relative_to(tree.CHECKOUT / "worker"):
            for node in ast.walk(tree.parsed(path)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _GIVES_A_CODE:
                    first = node.args[0] if node.args else None
                    if isinstance(first, ast.Constant) and isinstance(first.value, str):
                        found[first.value] = f"{tree.name(path)}:{node.lineno}"
    return found


def test_every_code_that_the_worker_spells_out_is_explained() -> None:
    given = _given()
    assert len(given) >= 12, "the codes are made somewhere else now"
    assert {code: where for code, where in given.items() if code not in set(ABOUT)} == {}


def test_the_page_says_what_to_do_for_every_code_and_where_there_is_none() -> None:
    page = as_markdown()
    for advice in Advice:
        assert f"| {advice.partition(':')[0]} |" in page, advice
    for reason in set(Reason) - {Reason.REFUSED, Reason.ID_CONFLICT}:
        assert f"dead letter `{reason}`" in page
