"""An answer out of a connection's bytes, the same whatever pieces they come in; no I/O and no clock.

llhttp (by httptools) finds where lines, headers, chunks and bodies end, and refuses what is ambiguous: two lengths, a length
beside chunks, a folded header, a bare line feed. What it leaves open is closed here: bounds on everything, the end of a body
that only the connection's end delimits, and a second answer behind the first.
"""

from typing import Final, Literal

import httptools

from worker.whale.wire import ANSWER_BYTES_MAX, HEADERS_KEPT, Answer, clean

HEAD_BYTES_MAX: Final = 1 << 16
"""Of all heads of one answer together, interim ones (1xx) included."""
HEADERS_MAX: Final = 200
WIRE_BYTES_MAX: Final = HEAD_BYTES_MAX + 8 * ANSWER_BYTES_MAX
"""Of everything that arrives for one answer: a body in chunks of one byte takes six times its length, trailers some more."""
_KEPT: Final = {name.encode(): name for name in HEADERS_KEPT}


class AnswerError(Exception):
    """What arrives is no answer, or more than we read. The connection is of no further use."""

    def __init__(self, kind: Literal["cut", "too_large"], message: str) -> None:
        super().__init__(message)
        self.kind: Final = kind


class AnswerReader:
    """Reads the answers of one connection, one after the other: `begin`, then `feed` until it returns True.

    `on_...` are llhttp's callbacks. `keeps_alive` holds once an answer is whole.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.keeps_alive = True
        self.begin()

    def begin(self) -> None:
        """Make ready for the next answer; the parser goes on where the last one ended."""
        self.began = False
        self._whole = False
        self._status = 0
        self._in_body = False
        self._delimited = False
        self._chunked = False
        self._headers: dict[str, str] = {}
        self._headers_count = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._arrived_bytes = 0
        self._wrong: AnswerError | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes and say whether the answer is whole; AnswerError where it can never be."""
        self.began = True
        room = HEAD_BYTES_MAX - self._arrived_bytes
        self._arrived_bytes += len(data)
        if self._arrived_bytes > WIRE_BYTES_MAX:
            raise AnswerError("too_large", f"more than {WIRE_BYTES_MAX} bytes arrived for one answer")
        try:
            if len(data) > room and not self._in_body:
                self._parser.feed_data(data[:room])
                if not self._in_body:
                    raise AnswerError("too_large", f"the head of the answer is longer than {HEAD_BYTES_MAX} bytes")
                data = data[room:]
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                raise self._wrong or AnswerError("cut", f"the answer is not HTTP: {error}") from error
            self.keeps_alive = False  # the answer is whole; what follows it is nobody's
        return self._whole

    def ends_with_the_connection(self) -> bool:
        """Say whether the orderly end of the connection makes the answer whole: nothing else delimits its body."""
        return self._in_body and not self._delimited

    def answer(self, sent_s: float, answered_s: float) -> Answer:
        """Return the answer. A body that is compressed, though we ask for none, stays as it came: it is unreadable."""
        return Answer(self._status, b"".join(self._body), self._headers, sent_s, answered_s)

    def on_message_begin(self) -> None:
        """Stop at the first byte of an answer that nobody asked for."""
        if self._whole:
            raise self._refused("a second answer follows the first")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the few headers that count; those of an interim answer are forgotten, trailers are not looked at."""
        if self._in_body:
            return
        self._headers_count += 1
        if self._headers_count > HEADERS_MAX:
            self._wrong = AnswerError("too_large", f"the answer has more than {HEADERS_MAX} headers")
            raise self._wrong
        name = name.lower()
        if name in _KEPT:
            self._headers[_KEPT[name]] = clean(value.decode("utf-8", "replace"))
        elif name == b"content-length":
            self._delimited = True
        elif name == b"transfer-encoding":
            if self._chunked or value.strip().lower() != b"chunked":
                raise self._refused("the answer has a transfer encoding that was not asked for")
            self._delimited = self._chunked = True

    def on_headers_complete(self) -> None:
        """Note what the answer is; an interim one is passed over."""
        self._status = self._parser.get_status_code()
        if self._status < 100 or self._status == 101:  # noqa: PLR2004
            raise self._refused(f"an answer with status {self._status} was not asked for")
        self._in_body = self._status >= 200  # noqa: PLR2004
        if not self._in_body:
            self._headers, self._delimited, self._chunked = {}, False, False

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body, up to the bound."""
        self._body_bytes += len(data)
        if self._body_bytes > ANSWER_BYTES_MAX:
            self._wrong = AnswerError("too_large", f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
            raise self._wrong
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Note that the answer is whole, unless it was an interim one."""
        if self._in_body:
            self._whole = True
            self.keeps_alive = self._parser.should_keep_alive()

    def _refused(self, message: str) -> AnswerError:
        self._wrong = AnswerError("cut", message)
        return self._wrong
