"""A bar on stderr, where a person sees it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Reach = Callable[[int, int], None]
"""Told how much is done, and of how much."""


@contextmanager
def progress(title: str, total: int = 0) -> Iterator[Reach]:
    """Give what moves the bar; on anything but a terminal it says nothing."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn(title), BarColumn(), MofNCompleteColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    row = bar.add_task(title, total=total or None)

    def reach(done: int, of: int) -> None:
        bar.start()  # not before: a person may be asked first
        bar.update(row, completed=done, total=of)

    try:
        yield reach
    finally:
        bar.stop()
