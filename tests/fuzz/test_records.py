"""Records: whatever comes, check says Command, Refusal or Malformed, and what it says can be stored, shown and built."""

import json
import re
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codes import Code
from tests.factories import TEMP_ADJUST_STOCK, TOPIC_OF, TOPIC_TYPES
from tests.fuzz.strategies import OTHER_TYPES, anything, as_json, changed, damaged, texts
from tests.support.commands import new_account, new_command
from worker.ledger.commands import Command, Malformed, Refusal
from worker.ledger.records import Headers, RawRecord
from worker.ledger.verdicts import Numbers
from worker.pipeline.check import check
from worker.store.blobs import pack_headers, to_json, unpack_headers
from worker.whale.operations import REGISTRY, Intent, Variants

NUMBERS = Numbers("TA1", "1234", "70")
VALID = [new_command(name, new_account()) for name in TOPIC_OF]
VALID.append(new_command("temp.adjust", new_account()) | {"payload": TEMP_ADJUST_STOCK})
VARIANTS = [Variants(), Variants("v2", "whaleapi", "body")]
NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")

headers = st.lists(st.tuples(st.binary(max_size=8) | st.just(b"traceparent"), st.none() | st.binary(max_size=60)))


@st.composite
def commands(draw: st.DrawFn) -> tuple[str, bytes | None, bytes]:
    """Topic, key and value of a valid command with something wrong, or with nothing wrong."""
    valid = draw(st.sampled_from(VALID))
    value = as_json(draw, draw(changed(valid)))
    if draw(st.integers(0, 9)) == 9:
        name = draw(st.sampled_from(sorted(valid)))
        value = value[:-1] + f",{json.dumps(name)}:{json.dumps(valid[name])}}}".encode()
    if draw(st.integers(0, 9)) == 9:
        value += b" " * max(0, 65_535 + draw(st.integers(0, 2)) - len(value))
    if draw(st.integers(0, 9)) == 9:
        value = draw(damaged(value))
    key = draw(st.sampled_from([valid["account_no"].encode()] * 4 + [None, b"", b"\xff"]))
    return TOPIC_OF[valid["type"]], key, value


def judged(record: RawRecord) -> Command | Refusal | Malformed:
    found = check(record, TOPIC_TYPES)
    assert isinstance(found, Command | Refusal | Malformed)
    assert check(record, TOPIC_TYPES) == found
    match found:
        case Malformed():
            assert found.message.isprintable()
        case Refusal():
            _is_showable(found, json.loads(record.value or b""))
        case Command():
            _is_storable(found)
            _is_buildable(found)
    return found


def _is_showable(found: Refusal, read: dict[str, Any]) -> None:
    assert found.code in {code.value for code in Code}
    for text in (found.command_type, found.issued_by, found.correlation_id, found.message, found.field):
        assert text is None or not NOT_STORABLE.search(text)
    assert found.message.isprintable() or not any(c < " " for c in found.message)
    if found.field is not None:
        root = found.field.partition(".")[0]
        shown = {name[:64] for name in read}
        assert root in shown | set(VALID[0]) or "\ufffd" in root or "." in "".join(shown)


def _is_storable(found: Command) -> None:
    written = to_json(found.payload)
    assert written is not None
    assert json.loads(written) == found.payload
    assert not NOT_STORABLE.search(json.dumps(found.payload, ensure_ascii=False))
    for text in (found.issued_by, found.correlation_id, found.traceparent):
        assert text is None or not NOT_STORABLE.search(text)
    for at in (found.issued_at, found.not_after, found.expires_at):
        assert at is None or at.utcoffset() is not None
    assert len(found.content_hash) == 32
    assert isinstance(found.command_id, UUID)


def _is_buildable(found: Command) -> None:
    operation = REGISTRY[found.command_type]
    intent = Intent(found.command_id, found.account_no, found.payload, found.expires_at, NUMBERS)
    for variants in VARIANTS:
        refusal = operation.refuse_before_call(intent, variants)
        if refusal is not None:
            assert refusal.code
            continue
        request = operation.build(intent, variants)
        assert request == operation.build(intent, variants)
        assert request.query.isascii()
        if request.body:
            assert isinstance(json.loads(request.body.decode()), dict)


@given(
    st.sampled_from(sorted(TOPIC_TYPES)),
    st.none() | st.binary(),
    st.none() | st.binary() | anything.map(repr).map(lambda text: text.encode("utf-8", "surrogatepass")),
    headers,
)
def test_any_bytes_are_taken_for_something(
    topic: str, key: bytes | None, value: bytes | None, given_headers: Any
) -> None:
    carried: Headers = tuple(given_headers)
    assert unpack_headers(pack_headers(carried)) == carried
    judged(RawRecord(topic, 0, 0, 0, key, value, carried))


@given(commands(), headers)
def test_a_command_with_something_wrong_is_refused_or_can_be_built(
    found: tuple[str, bytes | None, bytes], given_headers: Any
) -> None:
    topic, key, value = found
    judged(RawRecord(topic, 0, 0, 0, key, value, tuple(given_headers)))


@given(st.sampled_from(VALID), texts)
def test_one_text_of_a_command_may_be_anything(valid: dict[str, Any], text: str) -> None:
    for name, member in valid["payload"].items():
        if isinstance(member, str):
            value = json.dumps(valid | {"payload": valid["payload"] | {name: text}}).encode()
            judged(RawRecord(TOPIC_OF[valid["type"]], 0, 0, 0, valid["account_no"].encode(), value))


@pytest.mark.parametrize("valid", VALID, ids=lambda valid: f"{valid['type']}.{len(valid['payload'])}")
def test_every_field_may_be_of_every_type(valid: dict[str, Any]) -> None:
    topic, key = TOPIC_OF[valid["type"]], valid["account_no"].encode()
    for wrong in OTHER_TYPES:
        changes = [valid | {name: wrong} for name in valid]
        changes += [valid | {"payload": valid["payload"] | {name: wrong}} for name in valid["payload"]]
        for change in changes:
            judged(RawRecord(topic, 0, 0, 0, key, json.dumps(change).encode()))
