"""How commands print what they list: a table for people, aligned text for pipes, JSON for machines."""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

Row = Mapping[str, object]


class OutputForm(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[OutputForm, typer.Option("--output", "-o", help="How to print it.")]


def print_rows(rows: Sequence[Row], columns: Sequence[str], form: OutputForm) -> None:
    """Print the rows to stdout; as JSON it is one list of objects with all their fields, not only the columns.

    A table without rows is not printed, its head would be no data.
    """
    if form is OutputForm.JSON:
        print_json(list(rows))
    elif not rows:
        return
    elif sys.stdout.isatty():
        _print_rich(rows, columns)
    else:
        _print_aligned(rows, columns)


def print_json(value: object) -> None:
    """Print one JSON value to stdout; what JSON does not know is printed as its text."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.15g}"
        case list() | tuple() | set() | frozenset():
            return ",".join(map(cell, value))
        case _:
            return str(value)


def _print_rich(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell(row.get(column))) for column in columns))
    Console().print(table)


def _print_aligned(rows: Sequence[Row], columns: Sequence[str]) -> None:
    lines = [tuple(columns), *(tuple(cell(row.get(column)) for column in columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
