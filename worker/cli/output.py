"""How commands print what they list: a table for people, aligned text for pipes, JSON for machines."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

Row = Mapping[str, object]

# C0, DEL and C1 (where one character begins an escape sequence), what turns the direction of text, lone surrogates.
_STRANGE = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_commands = re.compile(f"[\x00-\x1f{_STRANGE}]")
_commands_in_lines = re.compile(f"[\x00-\x09\x0b-\x1f{_STRANGE}]")


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
    # line breaks are the layout's: in strings JSON escapes them
    typer.echo(visible_lines(json.dumps(value, ensure_ascii=False, indent=2, default=str)))


def visible(text: str) -> str:
    """Return the text with what could command a terminal spelled out: a record may hold anything, escape sequences too."""
    return _commands.sub(_spelled, text)


def visible_lines(text: str) -> str:
    """Return the text likewise, its line breaks kept; of JSON the value stays the same."""
    return _commands_in_lines.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


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
            return visible(str(value))


def _print_rich(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        # What names a row is copied from the screen, so it is never cut; the rest is folded where it must be.
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(column))) for column in columns))
    Console().print(table)


def _print_aligned(rows: Sequence[Row], columns: Sequence[str]) -> None:
    lines = [tuple(columns), *(tuple(cell(row.get(column)) for column in columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
