"""Into Parquet files: a file is written aside and renamed when it is whole, and the rename is the commit.

Each file's own metadata say up to which offsets all has been read, so that rows and offsets cannot part. What was stored
is also in an index beside the files, by which repeats are known; where it is behind the files, it is brought up from them.
"""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ledger_client.consume.completeness import Gap, contradiction
from ledger_client.consume.reading import RECORDS_MAX, Batch
from ledger_client.consume.rows import ACCOUNT_NO, ACCOUNT_SEQ, COLUMNS, EVENT_ID, Kind, Row
from ledger_client.consume.sinks import GAPS
from ledger_client.errors import LostError, SettingsError, UnavailableError

INDEX = ".outcomes-index.sqlite"
_TYPES: dict[Kind, Any] = {
    "uuid": pa.string(),
    "text": pa.string(),
    "integer": pa.int64(),
    "instant": pa.timestamp("us", tz="UTC"),
    "json": pa.string(),
}
SCHEMA = pa.schema([pa.field(column.name, _TYPES[column.kind], column.nullable) for column in COLUMNS])
_TOPIC, _OFFSETS = b"ledger_topic", b"ledger_offsets"
_TABLES = """
    CREATE TABLE IF NOT EXISTS facts (event_id TEXT PRIMARY KEY, account_no TEXT, account_seq INTEGER,
                                      UNIQUE (account_no, account_seq)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS files (number INTEGER PRIMARY KEY, topic TEXT, offsets TEXT);
"""
_NOTE = "INSERT INTO facts VALUES (?, ?, ?) ON CONFLICT (event_id) DO NOTHING"


class ParquetSink:
    """One folder; see `open_parquet`. Its index's transaction is open while rows gather for the next file."""

    def __init__(self, folder: Path, topic: str, index: sqlite3.Connection, rows_max: int, every_s: float) -> None:
        self.records_max = min(RECORDS_MAX, rows_max)
        self._folder, self._topic, self._index = folder, topic, index
        self._rows_max, self._every_s = rows_max, every_s
        self._rows: list[Row] = []
        self._since_s = 0.0
        self._number = 0
        self._offsets: dict[int, int] = {}

    def prepare(self) -> None:
        """Bring the index up to the files, and take away what was never finished."""
        self._index.executescript(_TABLES)
        for draft in self._folder.glob(".outcomes-*.writing"):
            draft.unlink()
        last = self._index.execute("SELECT number, topic, offsets FROM files ORDER BY number DESC LIMIT 1").fetchone()
        if last is not None:
            self._number = last[0]
            self._place(last[1], json.loads(last[2]), INDEX)
        files = {int(path.stem.partition("-")[2]): path for path in self._folder.glob("outcomes-*.parquet")}
        for number in sorted(number for number in files if number > self._number):
            self._take_in(number, files[number])

    def _take_in(self, number: int, path: Path) -> None:
        with pq.ParquetFile(path) as file:
            meta = file.schema_arrow.metadata or {}
            if _OFFSETS not in meta:
                raise SettingsError(f"{path} was not written by this consumer")
            self._place(meta[_TOPIC].decode(), json.loads(meta[_OFFSETS]), path.name)
            self._index.execute("BEGIN")
            for group in file.iter_batches(columns=["event_id", "account_no", "account_seq"]):
                self._index.executemany(_NOTE, zip(*(column.to_pylist() for column in group.columns), strict=True))
        self._commit(number)

    def _place(self, topic: str, offsets: Mapping[str, int], name: str) -> None:
        if topic != self._topic:
            raise LostError(
                f"{self._folder / name} holds outcomes of {topic}, not of {self._topic}: take another folder"
            )
        self._offsets = {int(partition): offset for partition, offset in offsets.items()}

    async def offsets(self) -> Mapping[int, int]:
        """Return where to go on, by partition."""
        return dict(self._offsets)

    async def store(self, batch: Batch) -> int:
        """Gather rows that are new, and write a file when there are enough or the first has waited long enough."""
        if not self._index.in_transaction:
            self._index.execute("BEGIN")
        new = [row for row in batch.rows if self._is_new(row)]
        if not self._rows:
            self._since_s = time.monotonic()
        self._rows += new
        self._offsets |= batch.next_offsets()
        if len(self._rows) >= self._rows_max or time.monotonic() - self._since_s >= self._every_s:
            await self.flush()
        return len(new)

    def _is_new(self, row: Row) -> bool:
        try:
            noted = self._index.execute(_NOTE, (str(row[EVENT_ID]), row[ACCOUNT_NO], row[ACCOUNT_SEQ]))
        except sqlite3.IntegrityError as error:
            raise contradiction(row[ACCOUNT_NO], row[ACCOUNT_SEQ]) from error
        return noted.rowcount == 1

    async def flush(self) -> None:
        """Write what has gathered as the next file."""
        if not self._rows:
            return
        number = self._number + 1
        path = self._folder / f"outcomes-{number:09}.parquet"
        draft = self._folder / f".{path.name}.writing"
        meta = {_TOPIC: self._topic.encode(), _OFFSETS: self._offsets_text().encode()}
        columns = [
            _column(cells, column.kind) for cells, column in zip(zip(*self._rows, strict=True), COLUMNS, strict=True)
        ]
        try:
            with draft.open("wb") as file:
                pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA.with_metadata(meta)), file)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)  # the commit
            _sync(self._folder)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
        self._rows = []
        self._commit(number)

    def _commit(self, number: int) -> None:
        self._index.execute("INSERT INTO files VALUES (?, ?, ?)", (number, self._topic, self._offsets_text()))
        self._index.commit()
        self._number = number

    def _offsets_text(self) -> str:
        return json.dumps({str(partition): offset for partition, offset in sorted(self._offsets.items())})

    async def missing(self) -> list[Gap]:
        """Return every gap in what the files hold, and what has gathered for the next."""
        return [Gap(*row) for row in self._index.execute(GAPS.format("facts"))]


def _column(cells: tuple[Any, ...], kind: Kind) -> Any:  # noqa: ANN401 - pyarrow has no types
    return pa.array([None if cell is None else str(cell) for cell in cells] if kind == "uuid" else cells, _TYPES[kind])


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnavailableError(f"another consumer writes to {folder}") from error
        yield


@asynccontextmanager
async def open_parquet(folder: Path, topic: str, *, rows_max: int, every_s: float) -> AsyncIterator[ParquetSink]:
    """Open a folder for this consumer alone; it is made where it is not there.

    Raises UnavailableError, SettingsError, and LostError where it holds another topic's outcomes.
    """
    with _alone_in(folder):
        try:
            with closing(sqlite3.connect(folder / INDEX, isolation_level=None)) as index:
                sink = ParquetSink(folder, topic, index, rows_max, every_s)
                sink.prepare()
                yield sink
        except sqlite3.DatabaseError as error:
            raise UnavailableError(f"{folder / INDEX} is not usable ({error}); without it, it is made anew") from error
        except pa.ArrowException as error:
            raise UnavailableError(f"a file in {folder} cannot be read: {error}") from error
