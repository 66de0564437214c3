"""`python -m tests.simulation --runs 100000 --seed 1`: many seeds over all cores, and one line of figures in the end."""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.doors import twin
from tests.simulation.tally import Tally, tally, told

CHUNK = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds from --seed on; 1 where a promise was broken."""
    reader = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    reader.add_argument("--runs", type=int, default=100_000)
    reader.add_argument("--seed", type=int, default=None, help="the first seed; drawn and printed when not given")
    given = reader.parse_args(arguments)
    first = secrets.randbelow(10**9) if given.seed is None else given.seed
    print(f"seeds {first} to {first + given.runs - 1}", file=sys.stderr)
    began_s = time.monotonic()
    found = Tally()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(_chunk, _chunks(first, given.runs)):
            found.merge(part)
            if sys.stderr.isatty() or found.runs % (CHUNK * 20) == 0:
                print(f"  {found.line()}, {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    with twin():
        for ran in found.broken:
            print("\n".join(told(ran)))
    print(f"{found.line()}; first seed {first}, {time.monotonic() - began_s:.0f} s")
    return 1 if found.breaches else 0


def _chunks(first: int, runs: int) -> Iterator[range]:
    for start in range(first, first + runs, CHUNK):
        yield range(start, min(start + CHUNK, first + runs))


def _chunk(seeds: range) -> Tally:
    with twin():
        return tally(seeds)


if __name__ == "__main__":
    sys.exit(main())
