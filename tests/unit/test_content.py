"""Content: what makes two records with one id the same command."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories import ABSENT, command, payload
from worker.ledger.content import HASH_VERSION, content_hash
from worker.ledger.strict_json import read_object

members = st.dictionaries(
    st.text("abc\u0000é", max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def hashed(value: dict[str, Any], **spelling: Any) -> bytes:
    return content_hash(read_object(json.dumps(value, **spelling).encode(), depth_max=16))


def hashed_text(text: str) -> bytes:
    return content_hash(read_object(text.encode(), depth_max=16))


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


def turned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(value)}
    return [turned(member) for member in value] if isinstance(value, list) else value


def test_the_hash_of_a_known_command_never_changes_within_a_version() -> None:
    assert HASH_VERSION == 1
    assert hashed(command("cash.adjust")).hex() == ("d19e78524beb0613068ec145861b93c8b80496cec35398eb53354b3d8dd9c31f")


@settings(deadline=None)
@given(value=members)
def test_spelling_and_sequence_and_nulls_are_not_content(value: dict[str, Any]) -> None:
    same = hashed(value)
    assert hashed(turned(value), ensure_ascii=False, indent=3) == same
    assert hashed(without_nulls(value)) == same


@settings(deadline=None)
@given(first=members, second=members)
def test_different_content_has_a_different_hash(first: dict[str, Any], second: dict[str, Any]) -> None:
    # JSON's own words, for Python holds True equal to 1
    same = json.dumps(without_nulls(first), sort_keys=True) == json.dumps(without_nulls(second), sort_keys=True)
    assert (hashed(first) == hashed(second)) is same


def test_when_it_was_issued_and_what_it_correlates_with_are_not_content_but_only_at_the_root() -> None:
    same = hashed(command("cash.adjust"))
    assert hashed(command("cash.adjust", issued_at="2027-01-01T00:00:00Z", correlation_id="c")) == same
    assert hashed(command("cash.adjust", issued_at=ABSENT, not_after=ABSENT)) == same
    assert hashed(command("cash.adjust", payload=payload("cash.adjust", issued_at="x"))) != same


def test_everything_else_is_content() -> None:
    same = hashed(command("cash.adjust"))
    for changed in (
        {"account_no": "H2"},
        {"issued_by": "other"},
        {"not_after": "2027-01-01T00:00:00Z"},
        {"type": "cash.freeze"},
        {"payload": payload("cash.adjust", amount="1000.0")},
        {"extra": 1},
    ):
        assert hashed(command("cash.adjust", **changed)) != same


def test_numbers_text_and_truth_are_told_apart_as_written() -> None:
    spellings = ['"1"', "1", "1.0", "1.00", "1e0", "true", "[1]", "[true]", '{"1.0":1}', "1" * 5_000, "1" * 5_001, "{}"]
    assert len({hashed_text(f'{{"a":{spelling}}}') for spelling in spellings}) == len(spellings)
    assert hashed_text('{"a":{"1.0":null}}') == hashed_text('{"a":{}}') != hashed_text('{"a":1.0}')
