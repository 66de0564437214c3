"""`dead-letters redrive`: puts records that were not taken back into intake, as they were read or edited."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from worker.cli.editor import ask_new_id, edit, say_difference
from worker.cli.frame import EXIT_PARTLY_DONE, example, person_watches, say, settings_for
from worker.cli.guard import Yes, confirm_change
from worker.cli.lists import finite, print_one
from worker.cli.output import Output, OutputForm
from worker.cli.progress import progress
from worker.errors import NothingMatchedError, RefusedByGuardError

if TYPE_CHECKING:
    from worker.ledger.redrive import Would
    from worker.operate.redrive import Preview, Wanted
    from worker.settings import Settings
    from worker.store.redrive import Selection

TOLD_MAX = 20
EDITS_SHOWN_MAX = 3

Ids = Annotated[list[UUID] | None, typer.Argument(metavar="ID…", help="Their ids, see list.", show_default=False)]


def register(group: typer.Typer) -> None:
    """Add `redrive` to the group `dead-letters`."""
    group.command(
        "redrive",
        epilog=example(
            "dead-letters redrive --fingerprint 3f1c… --preview",
            "dead-letters redrive --fingerprint 3f1c… --rate 50 --reason 'mended in 1.4' --yes",
            "dead-letters redrive 4b4c7c2e-… --edit --reason 'the amount lacked its point'",
            "dead-letters redrive --file edits.jsonl --edit --new-id --reason 'agreed with the desk' --yes",
        ),
    )(redrive)


def redrive(
    ids: Ids = None,
    fingerprint: Annotated[str | None, typer.Option("--fingerprint", metavar="G", help="All of this group.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="With --partition, --from, --to: a range.")] = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0)] = None,
    from_offset: Annotated[int | None, typer.Option("--from", metavar="OFFSET", min=0, help="The first.")] = None,
    to_offset: Annotated[int | None, typer.Option("--to", metavar="OFFSET", min=0, help="The last, included.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE|-", help="An id a line; with --edit an edit a line, as JSON.")
    ] = None,
    edited: Annotated[
        bool, typer.Option("--edit", help="Put back other bytes: of one ID by $EDITOR, else those of --file.")
    ] = False,
    new_id: Annotated[
        bool, typer.Option("--new-id", help="With --edit: make a new command_id where the old one is used up.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", min=0.01, callback=finite, help="At most N a second.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Print what would happen to each; change nothing.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; kept in the audit. Needed save with --preview.")
    ] = None,
    yes: Yes = False,
    output: Output = OutputForm.JSON,
) -> None:
    """Put dead letters back into intake: judged anew and taken as their records would be, never through a topic.

    Says first what would become of each. In the sequence of topic, partition and offset, so that an account's keep
    their order. Interrupted and given again it goes on where it was. A group or range leaves out what was put back or
    is ignored. Exit 3 when nothing matches, 4 when some were not taken, 5 when the guard refuses all: what has a
    terminal outcome, or an id that was used otherwise, is put back only edited under a new id.
    """
    _check_form(ids, fingerprint, topic, partition, from_offset, to_offset, file, edited, new_id)
    if reason is None and not preview:
        raise typer.BadParameter("is missing: say why", param_hint="--reason")
    settings = settings_for("database")
    selection, edits = _selected(ids, fingerprint, topic, partition, from_offset, to_offset, file, edited=edited)
    if edited and file is None:
        edits = {selection.ids[0]: _edited(settings, selection.ids[0], new_id=new_id)}
    wanted = _wanted(selection, edits, new_id)
    seen = asyncio.run(_preview(settings, wanted))
    if preview or reason is None:
        would = {"of": seen.total, "unknown": seen.unknown, "would": dict(seen.would), "shown": seen.told}
        print_one(would, output)
        return
    _say_preview(seen)
    confirm_change(_sentence(seen), reason=reason, yes=yes)
    _report(asyncio.run(_redrive(settings, wanted, seen, reason, rate)), seen, output)


def _check_form(
    ids: list[UUID] | None,
    fingerprint: str | None,
    topic: str | None,
    partition: int | None,
    from_offset: int | None,
    to_offset: int | None,
    file: str | None,
    edited: bool,
    new_id: bool,
) -> None:
    """Refuse what cannot be meant, as a usage error."""
    bounds = (partition, from_offset, to_offset)
    chosen = [bool(ids), fingerprint is not None, topic is not None, file is not None]
    wrong = [
        (sum(chosen) != 1, "ID…", "give one of ids, --fingerprint, --topic and --file"),
        (topic is not None and None in bounds, "--topic", "needs --partition, --from and --to"),
        (topic is None and bounds != (None, None, None), "--topic", "is missing: a range is of one topic"),
        (edited and file is None and len(ids or ()) != 1, "--edit", "takes one ID, or --file"),
        (new_id and not edited, "--new-id", "goes with --edit"),
    ]
    for is_wrong, option, told in wrong:
        if is_wrong:
            raise typer.BadParameter(told, param_hint=option)


def _selected(
    ids: list[UUID] | None,
    fingerprint: str | None,
    topic: str | None,
    partition: int | None,
    from_offset: int | None,
    to_offset: int | None,
    file: str | None,
    *,
    edited: bool,
) -> "tuple[Selection, Mapping[UUID, bytes]]":
    from worker.store.redrive import Selection

    if fingerprint is not None:
        return Selection(fingerprint=fingerprint), {}
    if topic is not None:
        range_ = (partition or 0, from_offset or 0, to_offset or 0)
        return Selection((), None, topic, *range_), {}
    if file is None:
        return Selection(tuple(sorted(set(ids or ())))), {}
    lines = _lines(file)
    if not lines:
        raise NothingMatchedError(f"{file} has no line")
    if edited:
        edits = dict(_edit_of(number, line) for number, line in lines)
        if len(edits) < len(lines):
            raise typer.BadParameter("names a dead letter twice", param_hint="--file")
        _refuse_one_id_twice(edits)
        return Selection(tuple(sorted(edits))), edits
    return Selection(tuple(sorted({_id_of(number, line) for number, line in lines}))), {}


def _refuse_one_id_twice(edits: Mapping[UUID, bytes]) -> None:
    from worker.operate.edits import id_of

    ids = [one for one in map(id_of, edits.values()) if one is not None]
    twice = next((one for one in ids if ids.count(one) > 1), None) if len(set(ids)) < len(ids) else None
    if twice is not None:
        raise typer.BadParameter(f"has command_id {twice} twice", param_hint="--file")


def _lines(file: str) -> list[tuple[int, str]]:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        lines = data.decode().split("\n")  # and at nothing else: a value may hold U+2028
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint="--file") from error
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def _id_of(number: int, text: object) -> UUID:
    try:
        return UUID(str(text))
    except ValueError as error:
        raise typer.BadParameter(f"line {number} is not an id", param_hint="--file") from error


def _edit_of(number: int, line: str) -> tuple[UUID, bytes]:
    """Read one edit: `{"dead_letter_id": …, "value": …}`, the value as text or as the JSON object itself."""
    try:
        read = json.loads(line)
        name, value = read["dead_letter_id"], read["value"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return _id_of(number, name), text.encode()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        told = f'line {number} is not {{"dead_letter_id": …, "value": …}}'
        raise typer.BadParameter(told, param_hint="--file") from error


def _edited(settings: "Settings", dead_letter_id: UUID, *, new_id: bool) -> bytes:
    """Let a person edit one record; asks for another command_id where that of the edit is used up."""
    from worker.operate.edits import is_used, with_id

    before = asyncio.run(_value_of(settings, dead_letter_id))
    value = edit(before)
    if not new_id and person_watches():
        used = asyncio.run(_with_engine(settings, lambda engine: is_used(engine, value)))
        if used is not None:
            value = with_id(value, ask_new_id(used))
    if value == before and not new_id:
        raise RefusedByGuardError("the text was not changed; leave --edit out to put it back as it was read")
    return value


async def _value_of(settings: "Settings", dead_letter_id: UUID) -> bytes:
    from worker.operate.edits import read_value

    value: bytes = await _with_engine(settings, lambda engine: read_value(engine, dead_letter_id))
    return value


async def _with_engine(settings: "Settings", ask: Any) -> Any:  # noqa: ANN401 - what `ask` gives
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await ask(engine)


def _wanted(selection: "Selection", edits: Mapping[UUID, bytes], new_id: bool) -> "Wanted":
    from worker.operate.redrive import Wanted

    return Wanted(selection, edits, new_id)


async def _preview(settings: "Settings", wanted: "Wanted") -> "Preview":
    from worker.operate.redrive import preview

    seen: Preview = await _with_engine(settings, lambda engine: preview(engine, settings, wanted))
    return seen


async def _redrive(
    settings: "Settings", wanted: "Wanted", seen: "Preview", reason: str, rate: float | None
) -> dict[str, Any]:
    from worker.operate.redrive import Redrive

    with progress("redriving") as reach:

        async def put_back(engine: Any) -> dict[str, Any]:  # noqa: ANN401
            made = Redrive(engine, settings, wanted, reason, rate)
            run = await made.run(seen, reach)
            return {"run_id": run.run_id, "became": dict(made.became), "left": made.left}

        done: dict[str, Any] = await _with_engine(settings, put_back)
    return done


def _say_preview(seen: "Preview") -> None:
    if seen.run is not None:
        say(f"goes on with what {seen.run.actor} began at {seen.run.begun_at:%Y-%m-%d %H:%M:%S}Z: {seen.done} are done")
    _say_some(seen.told)
    for candidate in seen.edited[:EDITS_SHOWN_MAX]:
        name = str(candidate.letter.dead_letter_id)
        say_difference(name, candidate.letter.record.value or b"", candidate.record.value or b"")
    if len(seen.edited) > EDITS_SHOWN_MAX:
        say(f"… and {seen.total - EDITS_SHOWN_MAX} more edits; the audit keeps each")


def _say_some(told: list[dict[str, Any]]) -> None:
    for row in told[:TOLD_MAX]:
        place = f"{row['topic']}[{row['partition']}]@{row['offset']}"
        say(f"{row['dead_letter_id']}  {place}  {row['would']}: {row['why']}")
    if len(told) > TOLD_MAX:
        say(f"… and more; the first {len(told)} with --preview")


def _sentence(seen: "Preview") -> str:
    counts = ", ".join(f"{count} {would}" for would, count in sorted(seen.would.items()))
    unknown = f", {seen.unknown} ids name nothing" if seen.unknown else ""
    return f"Of {seen.total} dead letters: {counts or 'none is left'}{unknown}."


def _report(done: dict[str, Any], seen: "Preview", output: OutputForm) -> None:
    became: Mapping[Would, int] = done["became"]
    told = {"run_id": done["run_id"], "of": seen.total, "unknown": seen.unknown, "before": seen.done, "became": became}
    print_one(told, output)
    if done["left"] or seen.unknown:
        not_taken = sum(count for one, count in became.items() if one not in ("accepted", "duplicate", "done"))
        say(f"{not_taken} were not taken, {seen.unknown} ids name nothing")
        _say_some(done["left"])
        raise typer.Exit(EXIT_PARTLY_DONE)
