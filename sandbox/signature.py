"""Checks request signatures as the brokerage's page Generate signature describes them."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox.envelope import Code, RefusalError

_HEADER = re.compile(r"HMAC-SHA256 SignedHeaders=([A-Za-z0-9;-]+), ?Signature=([0-9a-f]{64})")
_MUST_SIGN = frozenset({"authorization", "x-api-key", "x-timestamp"})
_SEEN_S = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the sandbox was started with."""

    app_key: str
    app_secret: str
    access_token: str


@dataclass(frozen=True, slots=True)
class Signed:
    """The signed parts of one request, exactly as they were on the wire; `headers` reads in any case of letters."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def canonical(request: Signed, names: str, body_digest: str) -> str:
    """Return the canonical text; `names` is the SignedHeaders list in its own order."""
    lines = "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names.lower().split(";"))
    return f"{request.method}|{request.path}|{request.query}|{lines}|{names.lower()}|{body_digest}"


def sign(secret: str, text: str) -> str:
    """Return the signature of a canonical text in lower-case hex."""
    to_sign = "HMAC-SHA256|" + hashlib.sha1(text.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
    return hmac.digest(secret.encode(), to_sign.encode(), "sha256").hex()


class Verifier:
    """Checks one key's requests, and that no write comes twice with the same signature within a minute or two."""

    def __init__(self, credentials: Credentials, wall_s: Callable[[], float]) -> None:
        self._credentials = credentials
        self._expired: set[str] = set()
        self._wall_s = wall_s
        self._seen: set[str] = set()
        self._seen_before: set[str] = set()
        self._turned_at = wall_s()

    def replace_token(self, access_token: str, app_key: str | None = None, app_secret: str | None = None) -> None:
        """Let only this token be valid from now on, the one before has expired; and only this key and secret, if given."""
        self._expired.add(self._credentials.access_token)
        self._expired.discard(access_token)
        old = self._credentials
        self._credentials = Credentials(app_key or old.app_key, app_secret or old.app_secret, access_token)

    def check(self, request: Signed) -> None:
        """Raise RefusalError where the gateway would turn the request away: key, signature, token, repeat."""
        if request.headers.get("x-api-key", "").strip() != self._credentials.app_key:
            raise RefusalError(Code.KEY_ILLEGAL, "x-api-key is illegal", 403)
        found = _HEADER.fullmatch(request.headers.get("x-api-signature", "").strip())
        if found is None or not set(found[1].lower().split(";")) >= _MUST_SIGN:
            raise RefusalError(Code.SIGNATURE_INVALID, "signature invalid", 403)
        if not self._matches(request, found[1], found[2]):
            raise RefusalError(Code.SIGNATURE_INVALID, "signature invalid", 403)
        token = request.headers["authorization"].strip()
        if token in self._expired:
            raise RefusalError(Code.TOKEN_EXPIRED, "token expired", 401)
        if token != self._credentials.access_token:
            raise RefusalError(Code.TOKEN_INVALID, "token invalid", 401)
        if request.method != "GET":
            self._remember(found[2])

    def _matches(self, request: Signed, names: str, signature: str) -> bool:
        digest = hashlib.sha1(request.body, usedforsecurity=False).hexdigest()
        digests = [digest] if request.body else ["", digest]  # SDKs disagree about the empty body
        secret = self._credentials.app_secret
        return any(hmac.compare_digest(sign(secret, canonical(request, names, one)), signature) for one in digests)

    def _remember(self, signature: str) -> None:
        now = self._wall_s()
        if now - self._turned_at > _SEEN_S:
            self._seen_before, self._seen, self._turned_at = self._seen, set(), now
        if signature in self._seen or signature in self._seen_before:
            raise RefusalError(Code.DUPLICATE_REQUEST, "duplicate request", 403)
        self._seen.add(signature)
