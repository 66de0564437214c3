"""The request signature of WhaleAPI (documentation page "Generate signature"); pure, seconds come as an argument.

What is signed is what goes over the wire: path and query percent-encoded as sent, the body's own bytes.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Never

from typing_extensions import override

from worker.ledger.verdicts import Request

ALGORITHM = "HMAC-SHA256"
SIGNED_HEADERS = "authorization;x-api-key;x-timestamp"
CONTENT_TYPE = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key, secret and access token; only the key may be shown."""

    app_key: str
    app_secret: str = field(repr=False)
    access_token: str = field(repr=False)

    @override
    def __reduce__(self) -> Never:
        """Raise TypeError: what is pickled goes to another process, or to a file."""
        raise TypeError("credentials cannot be pickled")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request with the headers that prove who sends it; good for one call, for the second is part of it."""

    request: Request
    headers: tuple[tuple[str, str], ...] = field(repr=False)


def canonical_text(request: Request, credentials: Credentials, timestamp: str) -> str:
    """Return the text that is digested; it ends in `|` where there is no body."""
    headers = f"authorization:{credentials.access_token}\nx-api-key:{credentials.app_key}\nx-timestamp:{timestamp}\n"
    digest = _sha1_hex(request.body) if request.body else ""
    return f"{request.method}|{request.path}|{request.query}|{headers}|{SIGNED_HEADERS}|{digest}"


def string_to_sign(canonical: str) -> str:
    """Return the text whose HMAC is the signature."""
    return f"{ALGORITHM}|{_sha1_hex(canonical.encode())}"


def signature(secret: str, to_sign: str) -> str:
    """Return the signature as lower-case hex."""
    return hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def sign(request: Request, credentials: Credentials, unix_s: int) -> SignedRequest:
    """Sign for that whole second; the same request in the same second has the same signature."""
    timestamp = str(unix_s)
    return SignedRequest(request, _headers(request, credentials, timestamp))


def explain_signature(
    method: str, path: str, query: str, body: bytes, timestamp: str, key: str, secret: str, token: str
) -> dict[str, object]:
    """Return every step as text, to compare with another implementation; the headers contain the access token."""
    request = Request(method.upper(), path, query, body)
    credentials = Credentials(key, secret, token)
    canonical = canonical_text(request, credentials, timestamp)
    return {
        "canonical_text": canonical,
        "string_to_sign": string_to_sign(canonical),
        "signature": signature(secret, string_to_sign(canonical)),
        "headers": dict(_headers(request, credentials, timestamp)),
    }


def _headers(request: Request, credentials: Credentials, timestamp: str) -> tuple[tuple[str, str], ...]:
    to_sign = string_to_sign(canonical_text(request, credentials, timestamp))
    proof = signature(credentials.app_secret, to_sign)
    return (
        ("Authorization", credentials.access_token),
        ("X-Api-Key", credentials.app_key),
        ("X-Timestamp", timestamp),
        ("X-Api-Signature", f"{ALGORITHM} SignedHeaders={SIGNED_HEADERS}, Signature={proof}"),
        ("Content-Type", CONTENT_TYPE),
    )


def _sha1_hex(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
