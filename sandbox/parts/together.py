"""All parts at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Programs


@dataclass(frozen=True)
class Parts:
    """A running Kafka, Postgres and brokerage, and the programs that they are."""

    programs: Programs
    kafka: Kafka
    postgres: Postgres
    brokerage: Brokerage


def _silent(_part: str, _text: str) -> None:
    pass


@contextmanager
def running(say: Callable[[str, str], None] = _silent, *, brokerage_options: Sequence[str] = ()) -> Iterator[Parts]:
    """Start all three in parallel, give them, and leave nothing behind: neither on an exception nor when killed.

    `say(part, text)` hears of the progress, from several threads; part is `kafka`, `postgres` or `brokerage`. Blocks for
    some 4 s with a warm cache. PartsError says which part could not be had and why.
    """
    with Programs() as programs:
        parts = Parts(
            programs,
            Kafka(programs, partial(say, "kafka")),
            Postgres(programs, partial(say, "postgres")),
            Brokerage(programs, brokerage_options, partial(say, "brokerage")),
        )
        start_all(programs, [parts.kafka.start, parts.postgres.start, parts.brokerage.start])
        yield parts


def start_all(programs: Programs, starts: Sequence[Callable[[], None]]) -> None:
    """Call the starts in parallel; the first that raises closes the programs, so that the others end soon."""
    pool = ThreadPoolExecutor(len(starts))
    try:
        for start in as_completed([pool.submit(start) for start in starts]):
            start.result()
    except BaseException:
        programs.close()
        raise
    finally:
        pool.shutdown()
