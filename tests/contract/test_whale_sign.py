"""Signatures equal those captured from the official SDKs."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.ledger.verdicts import Request
from worker.whale.sign import Credentials, canonical_text, explain_signature, sign

VECTORS = json.loads((Path(__file__).parent / "whale_signature_vectors.json").read_text())["vectors"]


def test_there_are_ten_vectors() -> None:
    assert len(VECTORS) == 10


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_captured_request_gets_its_captured_signature(vector: dict[str, Any]) -> None:
    request = Request(vector["method"], vector["path"], vector["query"], vector["body"].encode())
    credentials = Credentials(vector["x_api_key"], vector["app_secret"], vector["access_token"])
    headers = dict(sign(request, credentials, int(vector["x_timestamp"])).headers)
    assert headers["X-Api-Signature"] == (
        f"HMAC-SHA256 SignedHeaders=authorization;x-api-key;x-timestamp, Signature={vector['signature_hex']}"
    )
    assert headers["Authorization"] == vector["access_token"]
    assert headers["X-Timestamp"] == vector["x_timestamp"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_step_of_a_signature_is_explained(vector: dict[str, Any]) -> None:
    told = explain_signature(
        vector["method"].lower(),
        vector["path"],
        vector["query"],
        vector["body"].encode(),
        vector["x_timestamp"],
        vector["x_api_key"],
        vector["app_secret"],
        vector["access_token"],
    )
    assert told["signature"] == vector["signature_hex"]
    assert set(told) == {"canonical_text", "string_to_sign", "signature", "headers"}
    assert vector["app_secret"] not in json.dumps(told)


def test_the_canonical_text_has_the_documented_shape() -> None:
    credentials = Credentials("k", "s", "t")
    plain = canonical_text(Request("GET", "/a", "b=c"), credentials, "1")
    assert plain == "GET|/a|b=c|authorization:t\nx-api-key:k\nx-timestamp:1\n|authorization;x-api-key;x-timestamp|"
    with_body = canonical_text(Request("POST", "/a", "", b"{}"), credentials, "1")
    assert with_body.endswith("|bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f")


def test_the_same_request_in_another_second_has_another_signature() -> None:
    request, credentials = Request("POST", "/a", "", b"{}"), Credentials("k", "s", "t")
    assert sign(request, credentials, 1).headers != sign(request, credentials, 2).headers
    assert sign(request, credentials, 1).headers == sign(request, credentials, 1).headers
