"""`explain`: why a command, or an account, is where it is, on one screen."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.frame import example, settings_for
from worker.cli.lists import read
from worker.cli.output import Output, OutputForm, print_json, visible

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

WIDTH = 110
SHOWN_MAX = 3
LISTED_MAX = 5
DECISION = "person.decided"
SERIES = {
    "write": "calls",
    "expiry": "calls to end it",
    "look": "looks",
    "look.shown": "looks that showed something",
    DECISION: "decisions",
}
LABELS = {
    "record.produced": "produced",
    "record.read": "record",
    "record.edited": "edited",
    "record.redriven": "put back",
    "check.passed": "check",
    "check.refused": "refused",
    "lane.placed": "lane",
    "write.began": "call",
    "write.ended": "answer",
    "expiry.began": "expiry",
    "expiry.ended": "answer",
    "look.began": "look",
    "look.ended": "saw",
    "look.shown": "evidence",
    "person.decided": "person",
    "adjustment.booked": "timer",
    "adjustment.ended": "ended",
    "outcome.recorded": "outcome",
    "outcome.published": "published",
    "outcome.set_aside": "set aside",
    "command.pruned": "pruned",
    "attempts.pruned": "pruned",
    "outcomes.pruned": "pruned",
}


def register(app: typer.Typer) -> None:
    """Add `explain`."""
    app.command(
        "explain",
        epilog=example(
            "explain 0f8fad5b-d9cb-469f-a165-70867728950e", "explain H10240001", "explain TA2026112200001 --output json"
        ),
    )(explain)


def explain(
    subject: Annotated[str, typer.Argument(metavar="COMMAND_ID|ACCOUNT_NO|NUMBER", help="What to explain.")],
    output: Output = OutputForm.TABLE,
) -> None:
    """Tell the causal story: the record, its checks, calls, looks, decisions and outcomes, and what it waits for.

    The first line says what happened; what is unfinished says until when it waits and what would move it. For an
    account: its lane, what waits, open doubts and adjustments, the last outcomes. As JSON one object, or a list
    of them where a number is that of several commands. Exit 3 when nothing matches.
    """
    from worker.operate.explain import explain as tell

    settings = settings_for("database")

    async def gather(connection: "AsyncConnection") -> list[dict[str, Any]]:
        return await tell(connection, subject, settings)

    stories = read(gather)
    if output is OutputForm.JSON:
        print_json(stories[0] if len(stories) == 1 else stories)
        return
    for number, story in enumerate(stories):
        for line in (*([""] if number else []), *(_account(story) if story["kind"] == "account" else _command(story))):
            typer.echo(visible(line))


def _command(story: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrapped(story["summary"], "")
    yield ""
    yield from _named("command", story["command_id"])
    by = f"issued by {story['issued_by'] or 'nobody named'} at {story['issued_at']}" if story["issued_at"] else ""
    yield from _named("asked", by + (f", not after {story['not_after']}" if story["not_after"] else ""))
    if story["state"] == "rejected" and story["payload"] is None:
        yield from _named("next", "correct it and send it under a new command_id: this one is used up")
    yield from _waiting(story)
    yield ""
    yield from _events(story["events"])


def _account(story: Mapping[str, Any]) -> Iterator[str]:
    yield from _wrapped(story["summary"], "")
    yield ""
    held = f", held by worker {story['owner']} until {story['lease_until']}" if story["owner"] else ""
    why = f", {story['hold_reason']} until {story['wake_at']}" if story["hold_reason"] else ""
    places = f"next place {story['next_position']}, last account_seq {story['account_seq']}"
    yield from _named("lane", f"{story['state']}, fence {story['fence']}{held}{why}; {places}")
    yield from _waiting(story)
    yield from _part("waiting", story["next"], ("command_id", "command_type", "amount", "state"), more=story["waiting"])
    yield from _part("doubts by", story["doubt_balance"], ("operation", "count", "amount", "unit", "oldest_at"))
    yield from _part("in doubt", story["doubts"], ("command_id", "operation", "amount", "age", "next", "next_at"))
    yield from _part("parked", story["parked"], ("command_id", "command_type", "amount", "age", "reason"))
    yield from _part("open until", story["timers"], ("expires_at", "command_id", "adjust_no", "amount", "timer"))
    yield from _part("outcomes", story["last_outcomes"], ("account_seq", "recorded_at", "type", "command_id", "code"))


def _part(
    name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], more: int | None = None
) -> Iterator[str]:
    """Give the first rows of a list below its name, aligned, and say how many more there are."""
    shown = [[str(row[c]) if row[c] is not None else "-" for c in columns] for row in rows[:LISTED_MAX]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for number, row in enumerate(shown):
        cells = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield f"{name if number == 0 else '':<11}{cells}".rstrip()
    left = (len(rows) if more is None else more) - len(shown)
    if left > 0:
        yield f"{'':<11}and {left} more; --output json has up to 100"


def _waiting(story: Mapping[str, Any]) -> Iterator[str]:
    if story["waits_for"] is None:
        return
    yield from _named("waits for", story["waits_for"])
    if story["waits_until"] is not None:
        yield from _named("until", story["waits_until"])
    for number, move in enumerate(story["moved_by"]):
        # what is to be typed is not broken over lines
        yield f"{'moved by' if number == 0 else '':<11}{move['command']}"
    later = [move["from_at"] for move in story["moved_by"] if move["from_at"] is not None]
    if later:
        yield from _named("decidable", f"from {later[0]} on")


def _events(events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give a line or more for each event, with the day wherever it changes; of many alike only the first and the last."""
    day = ""
    for event in _without_the_middle(events):
        date, _, hour = event["at"].partition("T")
        if date != day:
            day = date
            yield f"{date}, UTC"
        label = LABELS.get(event["event"], event["event"])
        yield from _wrapped(event["detail"], f"  {hour[:12].rstrip('Z'):<12}  {label:<9}  ")


def _without_the_middle(events: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Leave out of each series what lies between the first and the last two, and say how many; decisions are all told."""
    read: dict[str, set[int]] = {}
    for event in events:
        read.setdefault(event["series"], set()).add(event["nth"])
    shown = {
        series: nths if series == DECISION or max(nths) <= SHOWN_MAX else {1, max(nths) - 1, max(nths)}
        for series, nths in read.items()
    }
    reached: dict[str, int] = {}
    told: set[str] = set()
    for event in events:
        series, nth = event["series"], event["nth"]
        if series is None:
            yield event
            continue
        is_gap = nth not in shown[series] or nth > reached.get(series, 0) + 1
        if is_gap and series not in told:
            told.add(series)
            kept = len(read[series]) - len(shown[series])
            count = max(read[series]) - len(shown[series])
            has = "them" if kept == count else f"{kept} of them"
            what = f"{count} more {SERIES.get(series, series)}; --output json has {has}"
            yield {"at": event["at"], "event": "…", "detail": what}
        if nth in shown[series]:
            reached[series] = nth
            yield event


def _named(name: str, text: object) -> Iterator[str]:
    if text:
        yield from _wrapped(str(text), f"{name:<11}")


def _wrapped(text: str, first: str) -> Iterator[str]:
    """Break at blanks only, so that an id can be copied; what is longer than a line stays whole."""
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
