"""A record as it was read from a command topic, before anything was believed about it."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

Header = tuple[bytes, bytes | None]
Headers = tuple[Header, ...]

TIMESTAMP_MS_MAX = 253_402_300_799_000  # the year 9999


class RawRecord(NamedTuple):
    """One Kafka record, byte for byte; header names are bytes, for Kafka does not promise that they are text."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def produced_at(self) -> datetime:
        """Read Kafka's timestamp, which the producer chose: what no calendar has becomes the nearest that one has."""
        return datetime.fromtimestamp(min(max(self.timestamp_ms, 0), TIMESTAMP_MS_MAX) / 1000, UTC)

    def digest(self) -> bytes:
        """SHA-256 over key and value, each with its length: tells a topic that was made again from the one we read."""
        digest = sha256()
        for part in (self.key, self.value):
            digest.update(b"-" if part is None else b"%d:" % len(part) + part)
        return digest.digest()
