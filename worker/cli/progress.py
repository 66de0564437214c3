"""A bar on stderr, where a person sees it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


@contextmanager
def progress(doing: str, total: int) -> Iterator[Advance]:
    """Give what moves the bar; nothing is drawn where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn(doing), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(doing, total=total)
        yield lambda count: bar.update(row, advance=count)
