"""Header names that are not text, on their way out: aiokafka's builder takes names of type str only.

Its pure-Python builder calls `encode` on the name; `RawName` answers with the bytes as they are.
"""

from collections.abc import Sequence

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from typing_extensions import override

Header = tuple[str | bytes, bytes | None]


class RawName:
    """A header name byte for byte; stands where aiokafka expects a str."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def encode(self, _encoding: str = "utf-8") -> bytes:
        """Return the name's bytes."""
        return self._raw


def text_headers(headers: Sequence[Header]) -> list[tuple[str, bytes | None]] | None:
    """Return the headers with their names as text, or None if a name is not UTF-8."""
    try:
        return [(name if isinstance(name, str) else name.decode("utf-8"), value) for name, value in headers]
    except UnicodeDecodeError:
        return None


class RawBatch(BatchBuilder):  # type: ignore[misc]
    """A closed batch of one record whose header names may be any bytes, and whose key and value may both be null."""

    def __init__(
        self, key: bytes | None, value: bytes | None, timestamp_ms: int | None, headers: Sequence[Header]
    ) -> None:
        super().__init__(0, 0)
        self._builder = _DefaultRecordBatchBuilderPy(
            2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=0
        )
        raw = [(RawName(name.encode() if isinstance(name, str) else name), content) for name, content in headers]
        self.append(timestamp=timestamp_ms, key=key, value=value, headers=raw)
        self.close()

    @override
    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)
