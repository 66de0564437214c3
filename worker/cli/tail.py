"""`tail`: outcomes as they come."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import EXIT_PARTLY_DONE, example, say, settings_for
from worker.cli.output import visible_lines
from worker.clock import boot_s
from worker.errors import NothingMatchedError

if TYPE_CHECKING:
    from worker.ledger.records import RawRecord
    from worker.settings import Settings

POLL_S = 1.0


def register(app: typer.Typer) -> None:
    """Add `tail`."""
    app.command(
        "tail",
        epilog=example("tail", "tail --from-beginning --account H10240001 --until-idle 2", "tail --count 1 | jq .type"),
    )(tail)


def tail(
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest kept.")] = False,
    account: Annotated[str | None, typer.Option(metavar="ACCOUNT_NO", help="Only this account's.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after so many.")] = None,
    until_idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="End when so long none came.")
    ] = None,
) -> None:
    """Follow outcomes as JSON lines, as they were published (on a terminal control characters are spelled out); ends on Ctrl-C, --count or --until-idle.

    Exit 3 when --count was given and none came, 4 when fewer came.
    """
    settings = settings_for("kafka")
    printed = asyncio.run(_follow(settings, from_beginning, account, count, until_idle))
    if count is not None and printed < count:
        if not printed:
            raise NothingMatchedError(f"no outcome came within {until_idle:g} s")
        say(f"only {printed} of {count} came")
        raise typer.Exit(EXIT_PARTLY_DONE)


async def _follow(
    settings: "Settings", from_beginning: bool, account: str | None, count: int | None, until_idle: float | None
) -> int:
    from worker.kafka.reader import open_reader

    topic = settings.topic_outcomes
    key = None if account is None else account.encode()
    printed = 0
    async with open_reader(settings, topic, from_beginning=from_beginning) as reader:
        say(f"following {topic} from {'its beginning' if from_beginning else 'now'}")
        came_at = boot_s()
        while count is None or printed < count:
            left_s = POLL_S if until_idle is None else min(POLL_S, came_at + until_idle - boot_s())
            records = await reader.read(max(0.0, left_s))
            if records:
                came_at = boot_s()
            elif left_s <= 0:
                break
            wanted = [record for record in records if key is None or record.key == key]
            printed += _print(wanted if count is None else wanted[: count - printed])
    return printed


def _print(records: "list[RawRecord]") -> int:
    for record in records:
        value = record.value or b""
        if sys.stdout.isatty():  # a pipe gets the bytes as they were published, a terminal nothing that commands it
            value = visible_lines(value.decode("utf-8", "backslashreplace")).encode()
        sys.stdout.buffer.write(value + b"\n")
    sys.stdout.flush()
    return len(records)
