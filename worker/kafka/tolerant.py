"""Reads record batches that aiokafka cannot: Kafka takes any bytes as a header name, aiokafka only UTF-8.

A batch is read by the layout of message format 2 (Kafka's protocol guide, "Record Batch"); which batches belong to
aborted Kafka transactions is still decided by aiokafka.
"""

import gzip
import io
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cramjam
from aiokafka.client import AIOKafkaClient
from aiokafka.codec import snappy_decode
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException, KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition

from worker.ledger.records import RawRecord

_PREFIX = struct.Struct(">qi")  # base offset, length of what follows
_HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_FROM = struct.calcsize(">qiibI")
_MAGIC = 2
_TIMESTAMP_IS_APPEND = 0x08
_TRANSACTIONAL = 0x10
_CONTROL = 0x20

DECODED_BYTES_MAX = 64 << 20  # a fetch asks for 1 MiB; commands do not shrink to a sixtieth
DAMAGES = (gzip.BadGzipFile, zlib.error, EOFError, struct.error, cramjam.DecompressionError)
"""What the decoders raise, ours and aiokafka's, on a batch whose bytes are damaged or lie about themselves."""


def _gzip(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(DECODED_BYTES_MAX + 1)


def _bounded(decode_into: Callable[[bytes, mmap.mmap], int]) -> Callable[[bytes], bytes]:
    """Decode into room of a fixed size, of which only the pages that are written cost memory."""

    def decode(data: bytes) -> bytes:
        with mmap.mmap(-1, DECODED_BYTES_MAX) as room:
            return room[: decode_into(data, room)]

    return decode


_DECODERS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: _gzip,
    2: snappy_decode,  # the format cannot make more than 22 bytes of one
    3: _bounded(cramjam.lz4.decompress_into),
    4: _bounded(cramjam.zstd.decompress_into),
}


@dataclass(frozen=True, slots=True)
class Slice:
    """What one look into a partition's log gave: `next_offset` lies behind the records and any control records."""

    records: tuple[RawRecord, ...]
    next_offset: int


@dataclass(frozen=True, slots=True)
class _Record:
    """What aiokafka's transaction filter expects of a record, with header names as bytes."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]
    timestamp_type: int = 0
    checksum: None = None


class _Cursor:
    """Reads varints and byte strings one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            if self.at >= len(self._data):
                break
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte of a number has its high bit clear
                return (number >> 1) ^ -(number & 1)
        raise CorruptRecordException("a record ends inside a number")

    def blob(self) -> bytes | None:
        length = self.varint()
        if length < 0:
            return None
        end = self.at + length
        if end > len(self._data):
            raise CorruptRecordException("a record ends inside a field")
        found = self._data[self.at : end]
        self.at = end
        return found


class Batch:
    """One record batch of format 2; iterating yields its records, decompressed once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        (
            self.base_offset,
            _,
            _,
            magic,
            self._crc,
            self._attributes,
            last_offset_delta,
            self._first_timestamp,
            self._max_timestamp,
            self.producer_id,
            _,
            _,
            self._count,
        ) = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise CorruptRecordException(f"a record batch has format {magic}, not {_MAGIC}")
        self.next_offset: int = self.base_offset + last_offset_delta + 1
        self.is_transactional = bool(self._attributes & _TRANSACTIONAL)
        self.is_control_batch = bool(self._attributes & _CONTROL)
        self._records: Iterator[_Record] | None = None

    def validate_crc(self) -> bool:
        """Tell whether the bytes are those that were written."""
        return bool(calc_crc32c(self._data[_CRC_FROM:]) == self._crc)

    def __iter__(self) -> Iterator[_Record]:
        return self._read()

    def __next__(self) -> _Record:
        if self._records is None:
            self._records = self._read()
        return next(self._records)

    def _read(self) -> Iterator[_Record]:
        decode = _DECODERS.get(self._attributes & 0x07)
        if decode is None:
            raise CorruptRecordException(f"compression codec {self._attributes & 0x07} is unknown")
        if self._count < 0:
            raise CorruptRecordException(f"a record batch counts {self._count} records")
        cursor = _Cursor(self._decoded(decode) if self._count else b"")
        for _ in range(self._count):
            yield self._record(cursor)

    def _decoded(self, decode: Callable[[bytes], bytes]) -> bytes:
        try:
            decoded = bytes(decode(self._data[_HEADER.size :]))
        except DAMAGES as error:
            raise CorruptRecordException(f"a record batch cannot be decompressed: {error}") from error
        if len(decoded) > DECODED_BYTES_MAX:
            raise CorruptRecordException(f"a record batch has more than {DECODED_BYTES_MAX} bytes when decompressed")
        return decoded

    def _record(self, cursor: _Cursor) -> _Record:
        end = cursor.varint()
        end += cursor.at
        cursor.at += 1  # attributes: none is defined for a record
        timestamp = self._first_timestamp + cursor.varint()
        if self._attributes & _TIMESTAMP_IS_APPEND:
            timestamp = self._max_timestamp
        offset = self.base_offset + cursor.varint()
        key, value = cursor.blob(), cursor.blob()
        headers = tuple((cursor.blob() or b"", cursor.blob()) for _ in range(cursor.varint()))
        if cursor.at != end:
            raise CorruptRecordException(f"the record at offset {offset} is not as long as it says")
        return _Record(offset, timestamp, key, value, headers)


class Batches:
    """The whole batches in the bytes of a fetch response; the last may be cut off and is left out."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def has_next(self) -> bool:
        """Tell whether another whole batch follows."""
        return self._end() is not None

    def next_batch(self) -> Batch | None:
        """Return the next whole batch, or None."""
        end = self._end()
        if end is None:
            return None
        batch, self._at = Batch(self._data[self._at : end]), end
        return batch

    def _end(self) -> int | None:
        if len(self._data) - self._at < _HEADER.size:
            return None
        _, length = _PREFIX.unpack_from(self._data, self._at)
        end = self._at + _PREFIX.size + int(length)
        if end < self._at + _HEADER.size:
            raise CorruptRecordException(f"a record batch says that it has {length} bytes, fewer than its head")
        return end if end <= len(self._data) else None


def read_batches(data: bytes, aborted: list[tuple[int, int]], topic: str, partition: int, offset: int) -> Slice:
    """Return the records from `offset` on that are in `data`, without aborted and control ones.

    `aborted` holds (producer id, first offset) as in a fetch response. Raises CorruptRecordException.
    """
    reader = PartitionRecords(
        TopicPartition(topic, partition),
        Batches(data),
        aborted,
        offset,
        None,
        None,
        check_crcs=True,
        isolation_level=READ_COMMITTED,
    )
    try:
        records = tuple(RawRecord(topic, partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in reader)
    except CorruptRecordException:
        raise
    except KafkaError as error:  # aiokafka's word for a control batch without a record
        raise CorruptRecordException(str(error)) from error
    return Slice(records, reader.next_fetch_offset)


async def read_slice(client: AIOKafkaClient, topic: str, partition: int, offset: int, max_bytes: int) -> Slice:
    """Fetch once from `offset`, without waiting for new records. Raises KafkaError."""
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    if leader is None or leader == -1:
        client.force_metadata_update()
        raise LeaderNotAvailableError(f"{topic}[{partition}] has no leader just now")
    asked: list[Any] = [(topic, [(partition, offset, max_bytes)])]
    response = await client.send(leader, FetchRequest(0, 1, max_bytes, READ_COMMITTED, asked, rack_id=""))
    ((_, ((_, code, _, *rest),)),) = response.topics
    if code:
        raise for_code(code)(f"{topic}[{partition}] at offset {offset}")
    aborted = rest[2] if response.API_VERSION >= 11 else rest[-2]  # noqa: PLR2004 - v11 put a field behind it
    return read_batches(bytes(rest[-1] or b""), list(aborted or ()), topic, partition, offset)
