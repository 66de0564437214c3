"""What the listing commands share: filters, one database transaction to read in, what is said of a list."""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from worker.cli.frame import say, settings_for
from worker.cli.output import OutputForm, Row, cell, print_json, print_rows, visible
from worker.errors import NothingMatchedError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Found = TypeVar("Found")
_SPAN = re.compile(r"([0-9]{1,9})([smhd])")
NO_MORE = "there are no more"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def span_s(text: str) -> float:
    """Read 90s, 15m, 2h or 1d as seconds; raises BadParameter for anything else."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"is no span such as 90s, 15m, 2h or 1d: {text}")
    return float(int(found[1]) * _SECONDS[found[2]])


def finite(rate: float | None) -> float | None:
    """Refuse what passes for a number and is no rate: `inf` and `nan`."""
    if rate is not None and not math.isfinite(rate):
        raise typer.BadParameter(f"must be a number of records a second, not {rate}")
    return rate


Account = Annotated[str | None, typer.Option("--account", metavar="ACCOUNT_NO", help="Only this account's.")]
After = Annotated[
    UUID | None, typer.Option("--after", metavar="ID", help="Go on after this one, the last of the page before.")
]
OlderThan = Annotated[
    float | None,
    typer.Option("--older-than", metavar="SPAN", parser=span_s, help="Such as 90s, 15m, 2h, 1d."),
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most so many.")]


def read(gather: "Callable[[AsyncConnection], Awaitable[Found]]") -> Found:
    """Run one reader in one database transaction and return what it found."""
    return asyncio.run(_read(gather))


async def _read(gather: "Callable[[AsyncConnection], Awaitable[Found]]") -> Found:
    from worker.store.engine import opened, transaction

    async with (
        opened(settings_for("database").database_url.get_secret_value()) as engine,
        transaction(engine) as connection,
    ):
        return await gather(connection)


def print_list(
    rows: Sequence[Row], columns: Sequence[str], form: OutputForm, limit: int, nothing: str, *, key: str = ""
) -> None:
    """Print up to `limit` rows (one more was asked for), and say when there are none or more.

    `key` is the field of the last row that `--after` takes, where the list has such an option.
    """
    print_rows(rows[:limit], columns, form)
    if not rows:
        say(nothing)
    elif len(rows) > limit:
        say(f"there are more than these {limit}; see --limit")
        if key:
            say(f"the next ones: --after {rows[limit - 1][key]}")


def found_one(found: Sequence[object], nothing: str) -> None:
    """Raise NothingMatchedError where nothing was found."""
    if not found:
        raise NothingMatchedError(nothing)


def print_one(value: Mapping[str, Any], form: OutputForm) -> None:
    """Print one thing with all its fields: as JSON, or a line each, what has fields of its own indented below."""
    if form is OutputForm.JSON:
        print_json(value)
        return
    width = max(len(name) for name in value)
    for name, field in value.items():
        if isinstance(field, list):
            typer.echo(f"{name}:" if field else f"{name.ljust(width)}  -")
            for one in field:
                typer.echo(f"  {_line(one)}")
        else:
            typer.echo(f"{name.ljust(width)}  {_line(field) or '-'}")


def print_each(values: Sequence[Mapping[str, Any]], form: OutputForm) -> None:
    """Print several such things: as one JSON list, or one below the other."""
    if form is OutputForm.JSON:
        print_json(list(values))
        return
    for number, value in enumerate(values):
        if number:
            typer.echo("")
        print_one(value, form)


def _line(value: object) -> str:
    if isinstance(value, dict):
        given = {name: field for name, field in value.items() if field not in (None, "", {}, [])}
        return "  ".join(f"{visible(name)}={_line(field)}" for name, field in given.items())
    return visible(json.dumps(value, ensure_ascii=False, default=str)) if isinstance(value, list) else cell(value)
