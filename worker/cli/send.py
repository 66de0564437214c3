"""`send`: publishes commands from JSON lines, after every line was looked at as intake would look at it."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import EXIT_ERROR, EXIT_PARTLY_DONE, example, say, settings_for
from worker.cli.lists import print_one
from worker.cli.output import Output, OutputForm
from worker.cli.progress import Reach, progress
from worker.errors import LedgerWorkerError

if TYPE_CHECKING:
    from worker.kafka.producer import SendResult
    from worker.pipeline.check import TopicTypes
    from worker.settings import Settings

BATCH_MAX = 500
TOLD_MAX = 20


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file and where it goes."""

    number: int
    value: bytes
    topic: str
    key: bytes | None


@dataclass(slots=True)
class Tally:
    """How many Kafka acknowledged, by topic, and what it said of the others."""

    sent: dict[str, int]
    refusals: list[str]


def register(app: typer.Typer) -> None:
    """Add `send`."""
    app.command("send", epilog=example("send commands.jsonl", "send - < commands.jsonl"))(send)


def send(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines, one command each; - reads stdin.")],
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send the lines as they are, whatever they are.")
    ] = False,
    output: Output = OutputForm.JSON,
) -> None:
    """Publish commands, each to the topic of its type and keyed by its account, in the sequence of the lines.

    Every line is checked first: one wrong line, and nothing is sent. Prints how many were sent to each topic.
    With --unchecked a line without a readable type goes to the adjustments topic, one without an account has no key.
    Exit 4 when Kafka took some and not all.
    """
    settings = settings_for("kafka")
    topics = topic_types(settings)
    lines = [_routed(number, value, topics, settings) for number, value in _read_lines(file)]
    if not lines:
        raise LedgerWorkerError(f"{'stdin' if file == '-' else file} has no line to send")
    if not unchecked:
        _refuse_if_wrong(lines, topics)
    with progress("sending", len(lines)) as reach:
        tally = asyncio.run(_send_all(settings, lines, reach))
    print_one({"sent": sum(tally.sent.values()), "of": len(lines), "topics": tally.sent}, output)
    if tally.refusals:
        _say_some(tally.refusals)
        raise typer.Exit(EXIT_PARTLY_DONE if tally.sent else EXIT_ERROR)


def topic_types(settings: "Settings") -> "TopicTypes":
    """Return the command types that belong on each command topic."""
    from schemas.commands import ADJUSTMENTS, FREEZES, ORDERS

    return dict(zip(settings.command_topics, (ADJUSTMENTS, FREEZES, ORDERS), strict=True))


def _read_lines(file: str) -> Iterator[tuple[int, bytes]]:
    try:
        text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from error
    for number, line in enumerate(text.split(b"\n"), start=1):
        value = line.removesuffix(b"\r")
        if value.strip():
            yield number, value


def _routed(number: int, value: bytes, topics: "TopicTypes", settings: "Settings") -> Line:
    """Find topic and key by a lenient look; whether the line is right is judged by `check`."""
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        read = None
    read = read if isinstance(read, dict) else {}
    wanted, account_no = read.get("type"), read.get("account_no")
    homes = (topic for topic, types in topics.items() if isinstance(wanted, str) and wanted in types)
    topic = next(homes, settings.topic_adjustments)
    key = account_no.encode("utf-8", "backslashreplace") if isinstance(account_no, str) else None
    return Line(number, value, topic, key)


def _refuse_if_wrong(lines: list[Line], topics: "TopicTypes") -> None:
    wrong = [told for line in lines if (told := _wrong(line, topics)) is not None]
    if wrong:
        _say_some(wrong)
        raise LedgerWorkerError(f"{len(wrong)} of {len(lines)} lines are not right; nothing was sent")


def _wrong(line: Line, topics: "TopicTypes") -> str | None:
    from worker.ledger.commands import Malformed, Refusal
    from worker.ledger.records import RawRecord
    from worker.pipeline.check import check

    match check(RawRecord(line.topic, 0, 0, 0, line.key, line.value), topics):
        case Malformed(reason, message):
            return f"line {line.number}: {reason}: {message}"
        case Refusal(code=code, message=message):  # the message begins with the field
            return f"line {line.number}: {code}: {message}"
        case _:
            return None


def _say_some(told: list[str]) -> None:
    for text in told[:TOLD_MAX]:
        say(text)
    if len(told) > TOLD_MAX:
        say(f"… and {len(told) - TOLD_MAX} more")


async def _send_all(settings: "Settings", lines: list[Line], reach: Reach) -> Tally:
    """Send in batches and stop at the first that is not whole: what follows must not overtake it."""
    from worker.kafka.producer import Message, Producer, Sent
    from worker.kafka.topics import open_topics

    async with open_topics(settings) as topics:
        await topics.topic_ends({line.topic for line in lines})  # raises where one is missing
    tally = Tally({}, [])
    producer = Producer(settings)
    try:
        for start in range(0, len(lines), BATCH_MAX):
            batch = lines[start : start + BATCH_MAX]
            results = await producer.send([Message(line.topic, line.key, line.value) for line in batch])
            for line, result in zip(batch, results, strict=True):
                if isinstance(result, Sent):
                    tally.sent[line.topic] = tally.sent.get(line.topic, 0) + 1
                else:
                    tally.refusals.append(_told(line, result))
            reach(start + len(batch), len(lines))
            if tally.refusals:
                left = len(lines) - start - len(batch)
                tally.refusals += [f"{left} lines after these were not tried"] if left else []
                break
    finally:
        await producer.close()
    return tally


def _told(line: Line, result: "SendResult") -> str:
    return f"line {line.number}: {getattr(result, 'message', result)}"
