"""What goes beside the original bytes on the dead-letter topic: why, and from where."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from schemas.times import written

RecordHeaders = Sequence[tuple[bytes, bytes | None]]

REASON = "dlq_reason"
ERROR_MESSAGE = "dlq_error_message"
ERROR_FINGERPRINT = "dlq_error_fingerprint"
ORIGINAL_TOPIC = "dlq_original_topic"
ORIGINAL_PARTITION = "dlq_original_partition"
ORIGINAL_OFFSET = "dlq_original_offset"
ORIGINAL_TIMESTAMP = "dlq_original_timestamp"
FAILED_AT = "dlq_failed_at"
REDRIVE_COUNT = "dlq_redrive_count"

_FINGERPRINT_CHARACTERS = 16
_value_in_text = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9]+")


class Reason(StrEnum):
    """Why a record is a dead letter."""

    MALFORMED = "MALFORMED"
    TOO_LARGE = "TOO_LARGE"
    REFUSED = "REFUSED"
    ID_CONFLICT = "ID_CONFLICT"
    QUARANTINED = "QUARANTINED"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a record is one, and where it was read; key, value and headers stay with the record itself.

    `timestamp_ms` is Kafka's, in milliseconds since 1970; `code` and `field` are those of the refusal, if it is one.
    """

    reason: Reason
    message: str
    code: str | None
    field: str | None
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    failed_at: datetime
    redrive_count: int = 0

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that equal causes share: values in the message do not count."""
        blanked = _value_in_text.sub("#", self.message)
        cause = "\x1f".join((self.reason, self.code or "", self.field or "", blanked))
        return sha256(cause.encode("utf-8", "replace")).hexdigest()[:_FINGERPRINT_CHARACTERS]

    def headers(self, original: RecordHeaders) -> list[tuple[bytes, bytes | None]]:
        """Return the original headers, byte for byte and in their sequence, then ours; all of ours are text."""
        ours = (
            (REASON, self.reason.value),
            (ERROR_MESSAGE, self.message),
            (ERROR_FINGERPRINT, self.fingerprint()),
            (ORIGINAL_TOPIC, self.topic),
            (ORIGINAL_PARTITION, str(self.partition)),
            (ORIGINAL_OFFSET, str(self.offset)),
            (ORIGINAL_TIMESTAMP, str(self.timestamp_ms)),
            (FAILED_AT, written(self.failed_at)),
            (REDRIVE_COUNT, str(self.redrive_count)),
        )
        return [*original, *((name.encode("ascii"), value.encode("utf-8", "replace")) for name, value in ours)]
