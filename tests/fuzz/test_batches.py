"""Record batches: whatever the bytes, our reader gives records or CorruptRecordException, in bounded memory."""

import gzip
import struct
from collections.abc import Callable
from unittest.mock import AsyncMock, Mock, patch

import cramjam
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.commandline import ENV
from tests.fuzz.strategies import damaged
from worker.kafka.broker import Pace, Session
from worker.kafka.headers import RawName
from worker.kafka.tolerant import DAMAGES, DECODED_BYTES_MAX, read_batches
from worker.ledger.records import Headers
from worker.settings import Settings

HEAD_BYTES = 61
_CRC_AT, _CRC_FROM = 17, 21


def batch(codec: int, *, control: bool = False) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, codec, 0, -1, 0, 0, 1_000_000)
    rows: list[tuple[bytes | None, bytes | None, Headers]] = [
        (b"k" * 300, b"v" * 3000, ()),
        (None, b"", ((b"\xff\xfe", b"\x00\xff"), (b"\xff\xfe", None))),
        (b"", None, ((b"", b""),)),
    ]
    for number, (key, value, headers) in enumerate(rows):
        builder.append(number, 1_700_000_000_000 + number, key, value, [(RawName(n), v) for n, v in headers])
    data = bytearray(builder.build())
    data[22] |= 0x30 if control else 0
    return signed(bytes(data))


def signed(data: bytes) -> bytes:
    """The batch with a length, a format and a checksum that fit, so that the reader gets to its inside."""
    if len(data) < HEAD_BYTES:
        return data
    made = bytearray(data)
    made[8:12] = (len(made) - 12).to_bytes(4, "big")
    made[16] = 2
    made[_CRC_AT:_CRC_FROM] = calc_crc32c(bytes(made[_CRC_FROM:])).to_bytes(4, "big")
    return bytes(made)


VALID = [batch(codec, control=control) for codec in range(5) for control in (False, True)]


def reads_or_refuses(data: bytes) -> None:
    try:
        seen = read_batches(data, [(5, 0)], "t", 0, 0)
    except CorruptRecordException:
        return
    assert sum(len(r.key or b"") + len(r.value or b"") for r in seen.records) <= DECODED_BYTES_MAX


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_damaged(data: bytes) -> None:
    reads_or_refuses(data)
    reads_or_refuses(signed(data))


@given(st.sampled_from(VALID).flatmap(damaged), st.booleans(), st.sampled_from([b"", *VALID]))
def test_a_damaged_batch_gives_records_or_is_called_damaged(data: bytes, signs: bool, behind: bytes) -> None:
    reads_or_refuses((signed(data) if signs else data) + behind)


@given(st.binary(max_size=300), st.integers(0, 7), st.integers(-2, 2**31 - 1))
def test_any_bytes_behind_a_good_head_are_records_or_damaged(inside: bytes, codec: int, count: int) -> None:
    data = bytearray(batch(0)[:HEAD_BYTES] + inside)
    data[22] = codec
    data[57:61] = struct.pack(">i", count)
    reads_or_refuses(signed(bytes(data)))


@pytest.mark.parametrize("length", [-(2**31), -12, -1, 0, 48])
def test_a_batch_shorter_than_its_head_is_damaged(length: int) -> None:
    data = bytearray(batch(0))
    data[8:12] = struct.pack(">i", length)
    with pytest.raises(CorruptRecordException, match="fewer than its head"):
        read_batches(bytes(data), [], "t", 0, 0)


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_batch_that_cannot_be_decompressed_is_damaged(codec: int) -> None:
    data = bytearray(batch(0))
    data[22] = codec
    with pytest.raises(CorruptRecordException, match="cannot be decompressed"):
        read_batches(signed(bytes(data)), [], "t", 0, 0)


def test_a_control_batch_without_a_record_is_damaged() -> None:
    data = bytearray(batch(0, control=True)[:HEAD_BYTES])
    data[57:61] = bytes(4)
    with pytest.raises(CorruptRecordException):
        read_batches(signed(bytes(data)), [], "t", 0, 0)


@pytest.mark.parametrize(
    ("codec", "compress"), [(1, gzip.compress), (3, cramjam.lz4.compress), (4, cramjam.zstd.compress)]
)
def test_a_batch_that_would_fill_the_memory_is_damaged(codec: int, compress: Callable[[bytes], bytes]) -> None:
    data = bytearray(batch(0)[:HEAD_BYTES] + bytes(compress(bytes(DECODED_BYTES_MAX + 1))))
    data[22] = codec
    with pytest.raises(CorruptRecordException, match=r"more than|cannot be decompressed"):
        read_batches(signed(bytes(data)), [], "t", 0, 0)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: f"{damage.__module__}.{damage.__name__}")
async def test_what_aiokafka_cannot_decompress_is_read_past_and_ends_no_worker(damage: type[Exception]) -> None:
    session = Session(Settings.from_env(ENV), AsyncMock(), Pace(), lambda: False)
    consumer, places = AsyncMock(), AsyncMock()
    places.hold_back = Mock()
    consumer.fetch.side_effect = damage("damaged")
    with (
        patch.object(session, "_renew", AsyncMock()),
        patch.object(session, "_read_past", AsyncMock(return_value={})) as read_past,
    ):
        assert await session._poll_once(consumer, places) == {}
    read_past.assert_awaited_once_with(consumer, places)
