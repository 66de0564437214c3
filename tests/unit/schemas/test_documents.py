"""The committed documents are those that the code would write now."""

from pathlib import Path

from jsonschema import Draft202012Validator

from schemas import codes
from schemas.codes import ABOUT, Code, brokerage_code
from schemas.commands import ADJUSTMENTS, FREEZES, MODELS, ORDERS, CommandType
from schemas.export import CODES_PAGE, documents, export, stale
from tests.factories import TYPES


def test_the_committed_schemas_are_current() -> None:
    assert stale() == [], "run: python -m schemas.export"


def test_the_page_of_codes_is_current() -> None:
    assert CODES_PAGE.read_text(encoding="utf-8") == codes.as_markdown(), "run: python -m schemas.export"


def test_a_stale_or_foreign_document_is_noticed(tmp_path: Path) -> None:
    export(tmp_path)
    assert stale(tmp_path) == []
    (tmp_path / "outcome.json").write_text("{}")
    (tmp_path / "foreign.json").write_text("{}")
    (tmp_path / "order.place.json").unlink()
    (tmp_path / "cli" / "explain.json").unlink()
    (tmp_path / "cli" / "no.such.json").write_text("{}")
    assert stale(tmp_path) == [
        "cli/explain.json",
        "cli/no.such.json",
        "foreign.json",
        "order.place.json",
        "outcome.json",
    ]


def test_every_document_but_the_asyncapi_one_is_a_json_schema() -> None:
    for name, document in documents().items():
        if name != "asyncapi.json":
            Draft202012Validator.check_schema(document)


def test_the_asyncapi_document_refers_only_to_what_is_there() -> None:
    found = documents()
    asyncapi = found["asyncapi.json"]
    for message in asyncapi["components"]["messages"].values():
        for part in ("payload", "headers"):
            if part in message:
                assert message[part]["$ref"].removeprefix("./") in found
    offered = {name for channel in asyncapi["channels"].values() for name in channel["messages"]}
    assert offered == set(asyncapi["components"]["messages"])


def test_every_command_type_belongs_on_one_topic() -> None:
    assert sorted([*ADJUSTMENTS, *FREEZES, *ORDERS]) == sorted(MODELS) == sorted(CommandType) == sorted(TYPES)


def test_every_code_is_explained() -> None:
    assert set(ABOUT) == set(Code)
    assert all(code.value == code.name for code in Code)


def test_a_refusal_by_the_brokerage_has_one_stable_upper_case_name() -> None:
    assert brokerage_code("PARAM_ERROR") == "BROKERAGE_PARAM_ERROR"
    assert brokerage_code("param error!") == "BROKERAGE_PARAM_ERROR"
    assert brokerage_code("400") == "BROKERAGE_400"
    assert brokerage_code("余额") == brokerage_code("") == "BROKERAGE_UNNAMED"
    assert len(brokerage_code("x" * 999)) <= 64
