"""Compact JSON has one spelling: that of Python's own encoder, which wrote what is stored already."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.compact import compact

texts = st.text(st.characters(codec=None), max_size=8) | st.text(
    '\x00\x1b\x7f\b\f\n\r\t"\\/\u2028\ud800é😀', max_size=8
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(value=values)
@example(value={"a": 2**64, "\ud800": "\udfff"})
def test_bytes_are_those_of_the_standard_encoder_whatever_is_in_them(value: Any) -> None:
    assert compact(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


@pytest.mark.parametrize("beside", ["é", "\ud800"], ids=["text", "lone surrogate"])
def test_a_uuid_is_its_text_whichever_way_is_taken(beside: str) -> None:
    name = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert json.loads(compact([UUID(name), beside]))[0] == name


@pytest.mark.parametrize("value", [object(), {1}, b"x"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        compact(value)
