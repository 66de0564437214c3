"""Our own reader of record batches, on bytes."""

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from worker.kafka.headers import RawName
from worker.kafka.tolerant import read_batches

ROWS: list[tuple[bytes | None, bytes | None, tuple[tuple[bytes, bytes | None], ...]]] = [
    (b"k" * 300, b"v" * 3000, ()),
    (None, b"", ((b"\xff\xfe", b"\x00\xff"),)),
    (b"", None, ((b"a", None), (b"a", b"2"), (b"", b""))),
    (None, None, ((b"\xc3\x28", None),)),
]


def batch(codec: int = 0, base: int = 0, producer: int = -1, transactional: int = 0) -> bytes:
    builder = _DefaultRecordBatchBuilderPy(2, codec, transactional, producer, 0, 0, 1_000_000)
    for number, (key, value, headers) in enumerate(ROWS):
        builder.append(number, 1_700_000_000_000 + number, key, value, [(RawName(n), v) for n, v in headers])
    built = builder.build()
    built[:8] = base.to_bytes(8, "big")
    return bytes(built)


@pytest.mark.parametrize("codec", range(5))
def test_every_codec_gives_every_byte(codec: int) -> None:
    seen = read_batches(batch(codec, base=7), [], "t", 3, 7)
    assert [(r.key, r.value, r.headers) for r in seen.records] == ROWS
    assert [r.offset for r in seen.records] == [7, 8, 9, 10]
    assert [r.timestamp_ms for r in seen.records] == [1_700_000_000_000 + n for n in range(4)]
    assert seen.next_offset == 11


def test_records_before_the_offset_and_a_batch_that_is_cut_off_are_left_out() -> None:
    data = batch(base=0) + batch(base=4)[:-1]
    seen = read_batches(data, [], "t", 0, 2)
    assert [r.offset for r in seen.records] == [2, 3]
    assert seen.next_offset == 4


def test_a_damaged_batch_is_refused() -> None:
    data = bytearray(batch())
    data[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        read_batches(bytes(data), [], "t", 0, 0)


def test_records_of_an_aborted_transaction_are_left_out() -> None:
    data = batch(base=0, producer=5, transactional=1) + batch(base=4)
    seen = read_batches(data, [(5, 0)], "t", 0, 0)
    assert [r.offset for r in seen.records] == [4, 5, 6, 7]


def test_an_empty_answer_moves_nothing() -> None:
    assert read_batches(b"", [], "t", 0, 9).next_offset == 9
