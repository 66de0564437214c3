"""`explain`: why a command, or an account, is where it is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.frame import example, settings_for
from worker.cli.lists import print_one, read
from worker.cli.output import Output, OutputForm, print_json, print_rows

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

LONG = ("events", "payload", "result", "error", "adjustment")


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

    For an account: its lane, what waits, open doubts, live timers, the last outcomes. As JSON one object, or several
    one after the other where a number is that of several commands. Exit 3 when nothing matches.
    """
    from worker.operate.explain import explain as tell

    topic = settings_for("database").topic_outcomes

    async def gather(connection: "AsyncConnection") -> list[dict[str, Any]]:
        return await tell(connection, subject, topic)

    for story in read(gather):
        if output is OutputForm.JSON:
            print_json(story)
        else:
            _print_story(story)


def _print_story(story: Mapping[str, Any]) -> None:
    """Print what is so now, then what happened."""
    if story["kind"] == "account":
        print_one(story, OutputForm.TABLE)
        return
    given = {name: value for name, value in story.items() if name not in LONG and value is not None}
    print_one(given, OutputForm.TABLE)
    typer.echo("")
    print_rows(story["events"], ("at", "event", "detail"), OutputForm.TABLE)
