"""The committed documents are those that the code would write now."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from schemas import examples
from schemas.codes import ABOUT, Code, brokerage_code
from schemas.commands import ADJUSTMENTS, FREEZES, MODELS, ORDERS, CommandType
from schemas.compatible import INPUTS, OUTPUTS
from schemas.export import DOCS, documents, export, pages, stale
from schemas.outcomes import OutcomeType
from tests.factories import TOPIC_TYPES, TYPES, record
from worker.kafka.topics import Use, manifest
from worker.ledger.commands import Command
from worker.pipeline.check import check
from worker.settings import Settings


def test_the_committed_schemas_are_current() -> None:
    assert stale() == [], "run: python -m schemas.export"


@pytest.mark.parametrize("page", pages())
def test_a_page_that_is_made_from_them_is_current(page: str) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == pages()[page], "run: python -m schemas.export"


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


WIRE = sorted(INPUTS | OUTPUTS)
TODAY = documents()


def _fields(document: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, member in document.get("properties", {}).items():
        yield f"{path}{name}", member
    for title, part in document.get("$defs", {}).items():
        yield from _fields(part, f"{title}.")


@pytest.mark.parametrize("name", WIRE)
def test_every_field_is_described_and_every_document_has_examples_that_are_valid(name: str) -> None:
    document = TODAY[name]
    assert [path for path, member in _fields(document) if len(member.get("description", "")) < 10] == []
    assert document["examples"]
    for example in document["examples"]:
        Draft202012Validator(document, format_checker=FormatChecker()).validate(example)


@pytest.mark.parametrize("name", MODELS)
def test_every_example_of_a_command_is_accepted(name: str) -> None:
    for example in examples.of_command(name):
        assert isinstance(check(record(example), TOPIC_TYPES), Command)


def test_there_is_an_example_of_every_kind_of_outcome() -> None:
    assert sorted(one["type"] for one in examples.OUTCOMES) == sorted(OutcomeType)


def test_the_asyncapi_document_refers_only_to_what_is_there() -> None:
    found = documents()
    asyncapi = found["asyncapi.json"]
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(asyncapi)))
    assert {f"./{name}" for name in WIRE} <= references
    for reference in references:
        here: Any = asyncapi if reference.startswith("#/") else found
        for part in reference.removeprefix("#/").removeprefix("./").split("/"):
            here = here[part]
    offered = {name for channel in asyncapi["channels"].values() for name in channel["messages"]}
    assert offered == set(asyncapi["components"]["messages"])


def test_the_asyncapi_document_tells_of_every_topic_as_the_manifest_makes_it() -> None:
    asyncapi = documents()["asyncapi.json"]
    wanted = manifest(Settings.from_env({}, needs=()))
    assert [channel["address"] for channel in asyncapi["channels"].values()] == [topic.name for topic in wanted]
    for topic, (name, channel) in zip(wanted, asyncapi["channels"].items(), strict=True):
        binding = channel["bindings"]["kafka"]
        config = {key: str(value) for key, value in binding["topicConfiguration"].items()}
        config["cleanup.policy"] = ",".join(binding["topicConfiguration"]["cleanup.policy"])
        assert (binding["topic"], binding["partitions"]) == (topic.name, topic.partitions)
        assert config.items() <= topic.config(replicas=3).items()
        operation = asyncapi["operations"][name]
        assert operation["action"] == ("receive" if topic.use is Use.COMMANDS else "send")
        assert operation["channel"] == {"$ref": f"#/channels/{name}"}
        assert [one["$ref"].rpartition("/")[2] for one in operation["messages"]] == list(channel["messages"])


def test_the_asyncapi_document_tells_of_every_message_its_key_headers_and_examples() -> None:
    messages = documents()["asyncapi.json"]["components"]["messages"]
    assert set(messages) == {*MODELS, "outcome", "dead-letter", "audit"}
    for name, message in messages.items():
        assert message["bindings"]["kafka"]["key"]["description"], name
        assert message["payload"], name
        assert ("headers" in message) is (name != "audit"), name
        assert bool(message.get("examples")) is (name not in {"audit", "dead-letter"}), name
    assert messages["outcome"]["headers"] == {"$ref": "./outcome-headers.json"}
    assert messages["dead-letter"]["headers"] == {"$ref": "./dead-letter-headers.json"}


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
