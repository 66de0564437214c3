"""What may change between two versions of a document, and what may not: a case for each rule, on the real documents."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas import released
from schemas.compatible import INPUTS, OUTPUTS, Rule, incompatible
from schemas.export import documents
from tests.unit.test_cli_forms import run

TODAY = documents()
Json = dict[str, Any]
Edit = Callable[[Json], Any]


def changed(name: str, edit: Edit) -> dict[str, Json]:
    return TODAY | {name: _edited(copy.deepcopy(TODAY[name]), edit)}


def _edited(document: Json, edit: Edit) -> Json:
    edit(document)
    return document


def found(name: str, edit: Edit) -> list[tuple[str, str]]:
    """What is said when today's documents are followed by those with the edit."""
    return [(one.field, one.rule) for one in incompatible(TODAY, changed(name, edit)) if one.document == name]


def payload_of(document: Json, title: str = "CashAdjustPayload") -> Json:
    part: Json = document["$defs"][title]
    return part


def _requires(part: Json, name: str) -> None:
    part["properties"][name] = {"type": "string"}
    part["required"].append(name)


REFUSED_OF_COMMANDS: dict[str, tuple[Edit, str, Rule]] = {
    "removed field": (lambda d: payload_of(d)["properties"].pop("remark"), "payload.remark", Rule.FIELD_REMOVED),
    "removed field of the envelope": (lambda d: d["properties"].pop("not_after"), "not_after", Rule.FIELD_REMOVED),
    "retyped field": (
        lambda d: payload_of(d)["properties"]["amount"].update(type="number"),
        "payload.amount",
        Rule.FIELD_RETYPED,
    ),
    "no longer null": (
        lambda d: payload_of(d)["properties"].update(remark={"type": "string"}),
        "payload.remark",
        Rule.FIELD_RETYPED,
    ),
    "new required field": (lambda d: _requires(payload_of(d), "desk"), "payload.desk", Rule.FIELD_REQUIRED),
    "optional field made required": (
        lambda d: payload_of(d)["required"].append("remark"),
        "payload.remark",
        Rule.FIELD_REQUIRED,
    ),
    "narrowed enum": (
        lambda d: payload_of(d)["properties"]["direction"]["enum"].remove("DEBIT"),
        "payload.direction",
        Rule.VALUES_NARROWED,
    ),
    "any text narrowed to an enum": (
        lambda d: payload_of(d)["properties"]["currency"].update(enum=["USD"]),
        "payload.currency",
        Rule.VALUES_NARROWED,
    ),
    "another pattern": (
        lambda d: payload_of(d)["properties"]["amount"].update(pattern="^[0-9]+$"),
        "payload.amount",
        Rule.FORM_CHANGED,
    ),
    "shorter": (
        lambda d: payload_of(d)["properties"]["biz_code"].update(maxLength=8),
        "payload.biz_code",
        Rule.FORM_CHANGED,
    ),
    "a word nobody knows": (lambda d: payload_of(d).update({"not": {}}), "payload", Rule.FORM_CHANGED),
}
ALLOWED_OF_COMMANDS: dict[str, Edit] = {
    "new optional field": lambda d: payload_of(d)["properties"].update(desk={"type": "string"}),
    "required field made optional": lambda d: payload_of(d)["required"].remove("biz_code"),
    "more values": lambda d: payload_of(d)["properties"]["direction"]["enum"].append("BOTH"),
    "nullable": lambda d: payload_of(d)["properties"]["amount"].update(type=["string", "null"]),
    "no pattern": lambda d: payload_of(d)["properties"]["amount"].pop("pattern"),
    "other words": lambda d: d.update(description="other", title="x", examples=[]),
}
REFUSED_OF_OUTCOMES: dict[str, tuple[Edit, str, Rule]] = {
    "removed field": (lambda d: d["properties"].pop("attempts"), "attempts", Rule.FIELD_REMOVED),
    "removed from within": (
        lambda d: payload_of(d, "Result")["properties"].pop("order_id"),
        "result.order_id",
        Rule.FIELD_REMOVED,
    ),
    "retyped field": (
        lambda d: d["properties"]["account_seq"].update(type="string"),
        "account_seq",
        Rule.FIELD_RETYPED,
    ),
    "may be null now": (
        lambda d: d["properties"]["attempts"].update(type=["integer", "null"]),
        "attempts",
        Rule.FIELD_RETYPED,
    ),
    "may be absent now": (lambda d: d["required"].remove("attempts"), "attempts", Rule.FIELD_NOT_ALWAYS),
    "a value that no longer comes": (
        lambda d: payload_of(d, "OutcomeType")["enum"].remove("command.parked"),
        "type",
        Rule.VALUES_NARROWED,
    ),
    "a value nobody knows": (
        lambda d: payload_of(d, "OutcomeType")["enum"].append("command.paused"),
        "type",
        Rule.VALUES_WIDENED,
    ),
    "an enum no more": (lambda d: payload_of(d, "OutcomeType").pop("enum"), "type", Rule.VALUES_WIDENED),
}
ALLOWED_OF_OUTCOMES: dict[str, Edit] = {
    "new field": lambda d: _requires(d, "desk"),
    "never null any more": lambda d: d["properties"].update(result={"$ref": "#/$defs/Result"}),
    "other words": lambda d: d.update(description="other"),
}


@pytest.mark.parametrize("case", REFUSED_OF_COMMANDS)
def test_a_stricter_command_is_refused(case: str) -> None:
    edit, field, rule = REFUSED_OF_COMMANDS[case]
    assert found("cash.adjust.json", edit) == [(field, rule)]


@pytest.mark.parametrize("case", ALLOWED_OF_COMMANDS)
def test_a_wider_command_is_allowed(case: str) -> None:
    assert found("cash.adjust.json", ALLOWED_OF_COMMANDS[case]) == []


@pytest.mark.parametrize("case", REFUSED_OF_OUTCOMES)
def test_an_outcome_that_readers_cannot_rely_on_any_more_is_refused(case: str) -> None:
    edit, field, rule = REFUSED_OF_OUTCOMES[case]
    assert (field, rule) in found("outcome.json", edit)
    assert {one for one, _ in found("outcome.json", edit)} == {field}


@pytest.mark.parametrize("case", ALLOWED_OF_OUTCOMES)
def test_an_outcome_that_says_more_is_allowed(case: str) -> None:
    assert found("outcome.json", ALLOWED_OF_OUTCOMES[case]) == []


def test_one_leg_of_a_payload_in_variants_is_compared_with_its_own() -> None:
    def edit(document: Json) -> None:
        payload_of(document, "TempAdjustStock")["properties"].pop("cost_price")

    assert found("temp.adjust.json", edit) == [("payload.cost_price", Rule.FIELD_REMOVED)]


def test_a_stricter_condition_between_fields_is_refused() -> None:
    def edit(document: Json) -> None:
        payload_of(document, "OrderPlacePayload")["allOf"].append({"required": ["remark"]})

    assert found("order.place.json", edit) == [("payload", Rule.FORM_CHANGED)]


def test_further_fields_may_not_be_refused_where_they_were_taken_nor_come_where_they_were_not() -> None:
    def opened(document: Json) -> None:
        payload_of(document).pop("additionalProperties")

    (change,) = incompatible(changed("cash.adjust.json", opened), TODAY)
    assert (change.field, change.rule) == ("payload", Rule.FORM_CHANGED)
    closed = changed("outcome.json", lambda d: d.update(additionalProperties=False))
    assert [one.rule for one in incompatible(closed, TODAY)] == [Rule.FORM_CHANGED]
    assert incompatible(TODAY, closed) == []


@pytest.mark.parametrize("name", sorted(INPUTS | OUTPUTS))
def test_a_document_may_not_go_and_follows_itself(name: str) -> None:
    fewer = {one: document for one, document in TODAY.items() if one != name}
    (change,) = incompatible(TODAY, fewer)
    assert (change.document, change.rule) == (name, Rule.DOCUMENT_REMOVED)
    assert incompatible({name: TODAY[name]}, TODAY) == []


def test_todays_documents_may_follow_the_last_release() -> None:
    kept = released.read(released.last())
    assert kept.keys() == INPUTS | OUTPUTS
    assert incompatible(kept, TODAY) == []


def test_schemas_check_refuses_what_breaks_a_release_and_says_what(tmp_path: Path) -> None:
    def edit(document: Json) -> None:
        payload_of(document)["properties"]["desk"] = {"type": "string"}

    (tmp_path / "cash.adjust.json").write_text(json.dumps(changed("cash.adjust.json", edit)["cash.adjust.json"]))
    ended = run(["schemas", "check", str(Path("schemas/json").absolute()), "--against", str(tmp_path)])
    assert (ended.code, ended.out.splitlines()) == (
        5,
        ["cash.adjust.json payload.desk: field removed: it was released"],
    )
    assert run(["schemas", "check", str(Path("schemas/json").absolute())]).code == 0
    (tmp_path / "cash.adjust.json").write_text("{")
    assert run(["schemas", "check", str(Path("schemas/json").absolute()), "--against", str(tmp_path)]).code == 1
    (tmp_path / "cash.adjust.json").unlink()
    assert run(["schemas", "check", str(Path("schemas/json").absolute()), "--against", str(tmp_path)]).code == 3
