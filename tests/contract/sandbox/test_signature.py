import json
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from sandbox.envelope import Code, RefusalError
from sandbox.signature import Credentials, Signed, Verifier, sign

VECTORS = json.loads((Path(__file__).parents[1] / "whale_signature_vectors.json").read_text())["vectors"]
PLACED, PLACED_UNICODE, ADJUSTED = VECTORS[5:8]
PUT_AND_DELETE = [
    {
        **VECTORS[0],
        "name": "delete-query",
        "method": "DELETE",
        "path": "/v1/whaleapi/trade/order",
        "query": "order_id=701276261045858304&account_no=L6VQEU00121996",
        "signature_hex": "7a7a91c871d00dc4472672166c5f625500a4a19758f00dc81540c98e3ab3ead3",
    },
    {
        **VECTORS[0],
        "name": "put-body",
        "method": "PUT",
        "path": "/v2/whaleapi/trade/order",
        "body": '{"account_no":"H1","order_id":"701276261045858304","price":"50.1","quantity":"200"}',
        "signature_hex": "677a34c02c9bd213f2d085a677f8aed678327e7b38fe2d396438cd735baff34b",
    },
]
KEY = Credentials("test-app-key-0001", "test-app-secret-0001", "tn_test-access-token-0001")
NAMES = "authorization;x-api-key;x-timestamp"


def verifier() -> Verifier:
    return Verifier(KEY, lambda: 0.0)


def signed(vector: dict[str, Any], **headers: str) -> Signed:
    given = {
        "Authorization": vector["access_token"],
        "X-Api-Key": vector["x_api_key"],
        "X-Timestamp": vector["x_timestamp"],
        "X-Api-Signature": f"HMAC-SHA256 SignedHeaders={NAMES}, Signature={vector['signature_hex']}",
    }
    all_headers = CIMultiDictProxy(CIMultiDict(given | headers))
    return Signed(vector["method"], vector["path"], vector["query"], all_headers, vector["body"].encode())


@pytest.mark.parametrize("vector", VECTORS + PUT_AND_DELETE, ids=lambda one: one["name"])
def test_every_captured_signature_is_accepted(vector: dict[str, Any]) -> None:
    verifier().check(signed(vector))


@pytest.mark.parametrize("part", ["method", "path", "query", "body"])
def test_a_change_of_any_signed_part_is_refused(part: str) -> None:
    vector = {**ADJUSTED, part: ADJUSTED[part] + "x"}
    with pytest.raises(RefusalError) as refused:
        verifier().check(signed(vector))
    assert (refused.value.code, refused.value.status) == (Code.SIGNATURE_INVALID, 403)


def test_the_space_after_the_comma_may_be_missing() -> None:
    header = f"HMAC-SHA256 SignedHeaders={NAMES},Signature={VECTORS[0]['signature_hex']}"
    verifier().check(signed(VECTORS[0], **{"X-Api-Signature": header}))


def test_headers_are_signed_in_the_order_that_the_header_names() -> None:
    text = (
        "POST|/p|a=1|x-api-key:test-app-key-0001\nauthorization:tn_test-access-token-0001\nx-timestamp:1.5\n"
        "|x-api-key;authorization;x-timestamp|bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f"
    )
    header = f"HMAC-SHA256 SignedHeaders=x-api-key;authorization;x-timestamp, Signature={sign(KEY.app_secret, text)}"
    vector = {**VECTORS[0], "method": "POST", "path": "/p", "query": "a=1", "body": "{}"}
    verifier().check(signed(vector, **{"X-Timestamp": "1.5", "X-Api-Signature": header}))


def test_both_ways_to_sign_an_empty_body_are_accepted() -> None:
    lines = "authorization:tn_test-access-token-0001\nx-api-key:test-app-key-0001\nx-timestamp:1710000000\n"
    text = f"GET|/p||{lines}|{NAMES}|da39a3ee5e6b4b0d3255bfef95601890afd80709"
    header = f"HMAC-SHA256 SignedHeaders={NAMES}, Signature={sign(KEY.app_secret, text)}"
    vector = {**VECTORS[0], "path": "/p"}
    verifier().check(signed(vector, **{"X-Api-Signature": header}))


@pytest.mark.parametrize(
    ("headers", "code", "status"),
    [
        ({"X-Api-Key": "other"}, Code.KEY_ILLEGAL, 403),
        ({"X-Api-Signature": ""}, Code.SIGNATURE_INVALID, 403),
        ({"X-Api-Signature": "HMAC-SHA256 SignedHeaders=x-timestamp, Signature=" + "0" * 64}, 403201, 403),
        ({"Authorization": "other"}, Code.SIGNATURE_INVALID, 403),
    ],
)
def test_wrong_credentials_have_their_documented_code(headers: dict[str, str], code: int, status: int) -> None:
    with pytest.raises(RefusalError) as refused:
        verifier().check(signed(VECTORS[0], **headers))
    assert (refused.value.code, refused.value.status) == (code, status)


def test_a_well_signed_wrong_token_is_token_invalid() -> None:
    other = Verifier(Credentials(KEY.app_key, KEY.app_secret, "another"), lambda: 0.0)
    with pytest.raises(RefusalError) as refused:
        other.check(signed(VECTORS[0]))
    assert (refused.value.code, refused.value.status) == (Code.TOKEN_INVALID, 401)


def test_a_write_with_the_same_signature_is_a_duplicate_and_a_read_is_not() -> None:
    one = verifier()
    read, write = signed(VECTORS[0]), signed(PLACED)
    one.check(read)
    one.check(read)
    one.check(write)
    with pytest.raises(RefusalError) as refused:
        one.check(write)
    assert refused.value.code == Code.DUPLICATE_REQUEST


def test_a_signature_is_forgotten_after_two_minutes() -> None:
    now = [0.0]
    one = Verifier(KEY, lambda: now[0])
    write, other = signed(PLACED), signed(PLACED_UNICODE)
    one.check(write)
    now[0] = 61.0
    one.check(other)
    with pytest.raises(RefusalError):
        one.check(write)
    now[0] = 130.0
    one.check(signed(ADJUSTED))
    one.check(write)


def test_a_token_that_was_replaced_has_expired_and_the_next_is_valid() -> None:
    gate, vector = verifier(), ADJUSTED
    gate.replace_token("another")
    with pytest.raises(RefusalError) as refused:
        gate.check(signed(vector))
    assert (refused.value.code, refused.value.status) == (Code.TOKEN_EXPIRED, 401)
    gate.replace_token(KEY.access_token)
    gate.check(signed(vector))
