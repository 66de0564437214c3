"""However an answer is delimited and in whatever pieces it comes, it is told as it is; what is no answer is never taken for one."""

import asyncio
import gzip
import ssl
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.raw_brokerage import Call, raw_brokerage, raw_server, shown
from tests.contract.whale_calls import POST, attempt, client
from worker import clock
from worker.ledger.verdicts import InDoubt, Request
from worker.whale.answer import HEAD_BYTES_MAX, HEADERS_MAX, AnswerError, AnswerReader
from worker.whale.operations import REGISTRY
from worker.whale.verdict import judge
from worker.whale.wire import ANSWER_BYTES_MAX, Answer, NoAnswer

BODY = b'{"code":0}'
CHUNKS = b"4\r\n" + BODY[:4] + b"\r\n6;name=value\r\n" + BODY[4:] + b"\r\n0\r\n"
KEPT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n" + BODY,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: a/b\r\n\r\n" + CHUNKS + b"\r\n",
    "chunks with trailers": b"HTTP/1.1 200 OK\r\ncontent-type:a/b \r\ntransfer-encoding: Chunked\r\n\r\n"
    + CHUNKS
    + b"Content-Type: c/d\r\nX-Trace-Id: 1\r\n\r\n",
    "after interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLocation: /x\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n" + BODY,
    "1.0 that stays": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n"
    + BODY,
    "an empty line before it": b"\r\nHTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n" + BODY,
}
DROPPED = {
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n" + BODY,
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n" + BODY,
    "more behind it": b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n" + BODY + b"more",
    "another behind it": b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\n\r\n" + BODY + b"HTTP/1.1 2",
}
UNTIL_THE_END = {
    "1.1": b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\n" + BODY,
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\n" + BODY,
}
EMPTY = {
    "204": (204, b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304": (304, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"),
    "length 0": (200, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}
OK = b"HTTP/1.1 200 OK\r\n"
NO_ANSWER = {
    "two lengths that agree": OK + b"Content-Length: 10\r\nContent-Length: 10\r\n\r\n" + BODY,
    "two lengths that differ": OK + b"Content-Length: 10\r\nContent-Length: 3\r\n\r\n" + BODY,
    "a list of lengths": OK + b"Content-Length: 10, 10\r\n\r\n" + BODY,
    "a length beside chunks": OK + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS + b"\r\n",
    "chunks beside a length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 10\r\n\r\n" + CHUNKS + b"\r\n",
    "chunks twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS + b"\r\n",
    "another encoding": OK + b"Transfer-Encoding: gzip\r\n\r\n" + BODY,
    "another encoding of chunks": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS + b"\r\n",
    "a signed length": OK + b"Content-Length: +10\r\n\r\n" + BODY,
    "no length in the length": OK + b"Content-Length:\r\n\r\n" + BODY,
    "a length past all counting": OK + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    "a folded header": OK + b"X: a\r\n b\r\nContent-Length: 10\r\n\r\n" + BODY,
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 10\n\n" + BODY,
    "a chunk that is no number": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "a status below all": b"HTTP/1.1 099 What\r\nContent-Length: 10\r\n\r\n" + BODY,
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "nothing like it": b"\x16\x03\x01\x02\x00",
}
TOO_LARGE = {
    "a header": OK + b"X: " + b"x" * HEAD_BYTES_MAX + b"\r\nContent-Length: 10\r\n\r\n" + BODY,
    "a header without an end": OK + b"X: " + b"x" * (HEAD_BYTES_MAX + 1),
    "a reason without an end": b"HTTP/1.1 200 " + b"x" * HEAD_BYTES_MAX,
    "headers": OK + b"X: x\r\n" * (HEADERS_MAX + 1) + b"\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 4000,
    "a body": OK + b"Content-Length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 1) + b" " * (ANSWER_BYTES_MAX + 1),
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * (9 << 20),
}


over_both = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


def context(authority: trustme.CA, *, tls: bool) -> ssl.SSLContext | None:
    return shown(authority.issue_cert("localhost")) if tls else None


async def told_of(data: bytes, *, ends: bool, tls: ssl.SSLContext | None = None) -> tuple[Answer | NoAnswer, int]:
    """Make two calls, the first answered so; return what is told of it and how many connections the two took."""

    async def first_so(call: Call) -> None:
        if len(brokerage.calls) > 1:
            await call.answer()
            return
        call.writer.write(data)
        if ends:
            call.writer.close()

    async with (
        raw_brokerage(first_so, tls=tls) as brokerage,
        client(brokerage.url.replace("127.0.0.1", "localhost"), timeout_s=20) as whale,
    ):
        told = await attempt(whale, POST)
        assert isinstance(await attempt(whale, POST), Answer)
        assert len(brokerage.calls) == 2
        return told, brokerage.connections


@pytest.mark.parametrize("name", KEPT)
async def test_a_whole_answer_leaves_its_connection_for_the_next_call(name: str) -> None:
    told, connections = await told_of(KEPT[name], ends=False)
    assert isinstance(told, Answer)
    assert (told.status, told.body, dict(told.headers)) == (200, BODY, {"content-type": "a/b"})
    assert connections == 1


@pytest.mark.parametrize("name", DROPPED)
async def test_a_connection_that_ends_or_holds_more_is_not_used_again(name: str) -> None:
    told, connections = await told_of(DROPPED[name], ends=False)
    assert isinstance(told, Answer)
    assert (told.status, told.body, dict(told.headers)) == (200, BODY, {"content-type": "a/b"})
    assert connections == 2


@pytest.mark.parametrize("name", UNTIL_THE_END)
async def test_an_answer_may_be_whole_when_its_connection_ends(name: str) -> None:
    told, connections = await told_of(UNTIL_THE_END[name], ends=True)
    assert isinstance(told, Answer)
    assert (told.status, told.body, dict(told.headers)) == (200, BODY, {"content-type": "a/b"})
    assert connections == 2


async def test_an_answer_that_only_the_end_delimits_is_cut_by_a_reset() -> None:
    async def resets_midway(call: Call) -> None:
        call.writer.write(UNTIL_THE_END["1.1"])
        await asyncio.wait_for(arrived.wait(), 5)
        call.reset()

    arrived = asyncio.Event()
    async with raw_brokerage(resets_midway) as brokerage, client(brokerage) as whale:
        call = asyncio.ensure_future(attempt(whale, POST))
        await asyncio.wait_for(brokerage.arrived.wait(), 5)
        for _ in range(20):  # turns in which the head arrives: a reset may overtake what was not read
            await asyncio.sleep(0)
        arrived.set()
        told = await call
    assert isinstance(told, NoAnswer)
    assert told.sent
    assert told.kind in {"cut", "reset"}


@pytest.mark.parametrize("name", EMPTY)
async def test_an_answer_without_a_body_waits_for_none(name: str) -> None:
    status, data = EMPTY[name]
    told, connections = await told_of(data, ends=False)
    assert isinstance(told, Answer)
    assert (told.status, told.body) == (status, b"")
    assert connections == 1


@pytest.mark.parametrize("name", NO_ANSWER)
async def test_what_is_ambiguous_or_no_http_is_no_answer_though_the_request_was_sent(name: str) -> None:
    told, connections = await told_of(NO_ANSWER[name], ends=False)
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (True, "cut")
    assert connections == 2


@over_both
@pytest.mark.parametrize("name", TOO_LARGE)
async def test_everything_that_is_read_has_a_bound(authority: trustme.CA, name: str, *, tls: bool) -> None:
    told, connections = await told_of(TOO_LARGE[name], ends=False, tls=context(authority, tls=tls))
    assert isinstance(told, NoAnswer)
    assert (told.sent, told.kind) == (True, "too_large")
    assert connections == 2


@over_both
@pytest.mark.parametrize("size", [0, 64 << 20], ids=["plain", "bomb"])
async def test_a_body_that_is_compressed_unasked_is_in_doubt_and_never_unpacked(
    authority: trustme.CA, *, tls: bool, size: int
) -> None:
    packed = gzip.compress(BODY[:-1] + b" " * size + BODY[-1:])
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    tracemalloc.start()
    try:
        told, _ = await told_of(head + packed, ends=False, tls=context(authority, tls=tls))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20
    assert isinstance(told, Answer)
    assert told.body == packed
    assert isinstance(judge(REGISTRY["cash.adjust"], told, frozenset()), InDoubt)


async def test_an_answer_that_comes_before_the_request_is_out_counts_and_the_rest_never_leaves() -> None:
    end: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    async def refuses_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        call = Call(b"", b"", 1, reader, writer)
        await call.answer(status="413 Too Large")
        end.set_result(await call.until_gone())

    async with raw_server(refuses_early) as port, client(f"http://127.0.0.1:{port}") as whale:
        told = await attempt(whale, Request("POST", "/v1/big", "", b"x" * (32 << 20)))
        assert isinstance(told, Answer)
        assert told.status == 413
        assert await asyncio.wait_for(end, 10) is None


def read(pieces: Sequence[bytes], *, ended: bool) -> tuple[int, bytes, dict[str, str]] | str | None:
    """Return what a reader makes of the pieces: an answer, the kind of refusal, or None where more must come."""
    reader = AnswerReader()
    for piece in pieces:
        try:
            if reader.feed(piece):
                break
        except AnswerError as error:
            return error.kind
    else:
        if not (ended and reader.ends_with_the_connection()):
            return None
    answer = reader.answer(0.0, 0.0)
    return answer.status, answer.body, dict(answer.headers)


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(at)]


WHOLE = [*KEPT.values(), *DROPPED.values(), *(data for _, data in EMPTY.values())]
HEADS = [data for data in NO_ANSWER.values() if len(data) < 1000]
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding
CUTS = st.lists(st.integers(0, 1 << 16), max_size=40)


@given(st.sampled_from(WHOLE), CUTS)
@PATIENT
def test_the_pieces_in_which_an_answer_comes_do_not_matter(data: bytes, cuts: Sequence[int]) -> None:
    assert read(split(data, cuts), ended=False) == read([data], ended=False)
    assert isinstance(read([data], ended=False), tuple)


@given(st.sampled_from([*UNTIL_THE_END.values()]), CUTS)
@PATIENT
def test_nor_where_only_the_end_delimits_it(data: bytes, cuts: Sequence[int]) -> None:
    assert read(split(data, cuts), ended=True) == (200, BODY, {"content-type": "a/b"})
    assert read(split(data, cuts), ended=False) is None


@given(st.sampled_from(HEADS), CUTS)
@PATIENT
def test_nor_where_it_is_no_answer(data: bytes, cuts: Sequence[int]) -> None:
    assert read(split(data, cuts), ended=False) == "cut"


@given(st.integers(-3, 3), CUTS)
@PATIENT
def test_nor_near_the_bound_of_the_head(more: int, cuts: Sequence[int]) -> None:
    ending = b"\r\nContent-Length: 10\r\n\r\n"
    head = OK + b"X: "
    head += b"x" * (HEAD_BYTES_MAX + more - len(head) - len(ending)) + ending
    near = [HEAD_BYTES_MAX + cut % 9 - 4 for cut in cuts]
    told = read(split(head + BODY, near), ended=False)
    assert told == ("too_large" if more > 0 else (200, BODY, {}))


def test_a_body_in_chunks_of_one_byte_may_be_as_long_as_any() -> None:
    reader = AnswerReader()
    reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    reader.feed(b"1\r\n \r\n" * ANSWER_BYTES_MAX)
    assert reader.feed(b"0\r\n\r\n")
    assert len(reader.answer(0.0, 0.0).body) == ANSWER_BYTES_MAX


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Make bytes that begin like an answer and then do not go on like one."""
    data = draw(st.sampled_from([*WHOLE, *HEADS, *UNTIL_THE_END.values()]))
    begin = draw(st.integers(0, len(data)))
    end = draw(st.integers(begin, len(data)))
    return data[:begin] + draw(st.binary(max_size=40)) + data[end:]


@given(st.one_of(st.binary(max_size=400), spoilt()), CUTS)
@settings(PATIENT, max_examples=300)
def test_no_bytes_are_more_than_an_answer_or_none(data: bytes, cuts: Sequence[int]) -> None:
    assert read(split(data, cuts), ended=True) == read([data], ended=True)


@given(data=st.one_of(st.binary(max_size=400), spoilt()), cuts=CUTS, ends=st.booleans())
@settings(PATIENT, max_examples=40)
async def test_whatever_arrives_a_call_ends_by_its_deadline_and_raises_nothing(
    data: bytes, cuts: Sequence[int], ends: bool
) -> None:
    async def babbles(call: Call) -> None:
        for piece in split(data, cuts):
            call.writer.write(piece)
            await asyncio.sleep(0)
        if ends:
            call.writer.close()

    async with raw_brokerage(babbles) as brokerage, client(brokerage) as whale:
        for _ in range(2):
            signed = whale.sign(POST, 1_710_000_000)
            calling = whale.send(signed, send_before_s=clock.boot_s() + 60, deadline_s=0.05)
            told = await asyncio.wait_for(
                calling, 30
            )  # far past the deadline: a call that hangs is seen, not a slow one
            if isinstance(told, NoAnswer):
                assert told.kind in {"timeout", "reset", "cut", "too_large"}
                assert told.sent or told.kind in {"timeout", "reset"}
    assert len(brokerage.calls) <= 2
