"""`topics plan`, `apply`, `verify` and `adopt`: the six topics, as one manifest says they must be."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import EXIT_ERROR, EXIT_PARTLY_DONE, example, say, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.output import Output, OutputForm, Row, print_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.kafka.topics import Difference
    from worker.settings import Settings

ADOPTED = ("topic", "partition", "why", "from_offset", "to_offset", "epoch", "does")
COLUMNS = ("topic", "step", "what", "wanted", "found", "loses")


def register(app: typer.Typer) -> None:
    """Add the group `topics`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("topics plan", "topics apply"))
    group.command("plan", epilog=example("topics plan", "topics plan --output json"))(plan)
    group.command(
        "apply", epilog=example("topics apply", "topics apply --drained --reason 'more accounts than partitions bear'")
    )(apply)
    group.command("verify", epilog=example("topics verify"))(verify)
    group.command(
        "adopt",
        epilog=example(
            "topics adopt --reason 'retention passed a worker that was down'",
            "topics adopt --at-end --reason 'a mirror wrote the old commands again'",
        ),
    )(adopt)
    app.add_typer(group, name="topics", help="The topic manifest.")


def plan(output: Output = OutputForm.TABLE) -> None:
    """Show how the topics differ from the manifest and what `apply` would do; changes nothing."""
    found = asyncio.run(_differences(settings_for("kafka")))
    print_rows(_rows(found), COLUMNS, output)
    if not found:
        say("the topics are as the manifest says")


def verify(output: Output = OutputForm.TABLE) -> None:
    """Compare the topics with the manifest; exit 1 and a sentence for each difference."""
    found = asyncio.run(_differences(settings_for("kafka")))
    print_rows(_rows(found), COLUMNS, output)
    _say_each(found)
    if found:
        raise typer.Exit(EXIT_ERROR)
    say("the topics are as the manifest says")


def apply(
    drained: Annotated[
        bool, typer.Option("--drained", help="Add partitions, too: every worker and producer has been drained.")
    ] = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; needed with --drained.")] = None,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Create what is missing and set what is not as the manifest says; prints what was done.

    Partitions of command topics are added only with --drained, for an account's records then go to another partition
    and could overtake those that are not read yet; the audit keeps who said that they are drained. Exit 4 when something remains that cannot be mended.
    """
    if drained and reason is None:
        raise typer.BadParameter("is needed with --drained", param_hint="--reason")
    if drained:
        settings = settings_for("kafka", "database")
        confirm_change(
            "This may add partitions: an account's next records go to another one.", reason=reason or "", yes=yes
        )
        done, left = asyncio.run(_apply_drained(settings, reason or ""))
    else:
        done, left = asyncio.run(_apply(settings_for("kafka")))
    print_rows(_rows(done), COLUMNS, output)
    _say_each(left)
    if left:
        raise typer.Exit(EXIT_PARTLY_DONE if done else EXIT_ERROR)
    if not done:
        say("the topics are as the manifest says")


def adopt(
    reason: Reason,
    at_end: Annotated[
        bool, typer.Option("--at-end", help="Read on at the end of now; `replay` may feed what lies before.")
    ] = False,
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Accept command topics as they are now, where records were removed unread or a topic was made again.

    Says first what it would do, partition by partition. A range that was removed is skipped and kept in mind; a topic
    that was made again is read from its start in a new epoch. With --at-end what the topic still has is passed over, too,
    until somebody replays it. Exit 3 when there is nothing to adopt.
    """
    asyncio.run(_adopt(settings_for("kafka", "database"), reason, at_end, yes, output))


async def _adopt(settings: "Settings", reason: str, at_end: bool, yes: bool, output: OutputForm) -> None:
    from worker.operate.adopt import adopt as accept
    from worker.operate.adopt import plan_adoptions
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        found = await plan_adoptions(engine, settings, at_end=at_end)
        for adoption in found:
            say(f"{adoption.reason.sentence.partition('; `')[0].partition(': not the same')[0]}: {adoption.sentence}")
        confirm_change(
            f"This passes over the records named above, of {len(found)} partitions; nobody reads them by itself.",
            reason=reason,
            yes=yes,
        )
        await accept(engine, found, settings.actor, reason)
    print_rows([adoption.row() for adoption in found], ADOPTED, output)
    say("a running worker goes on there by itself")


async def _differences(settings: "Settings") -> "Sequence[Difference]":
    from worker.kafka.topics import open_topics

    async with open_topics(settings) as topics:
        return await topics.plan()


async def _apply(settings: "Settings") -> "tuple[Sequence[Difference], Sequence[Difference]]":
    from worker.kafka.topics import open_topics

    async with open_topics(settings) as topics:
        return await topics.apply(), await topics.plan()


async def _apply_drained(settings: "Settings", reason: str) -> "tuple[Sequence[Difference], Sequence[Difference]]":
    from worker.operate.drained import apply_drained
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await apply_drained(engine, settings, settings.actor, reason)


def _rows(differences: "Sequence[Difference]") -> list[Row]:
    return [
        {
            "topic": difference.topic.name,
            "step": str(difference.step),
            "what": difference.what,
            "wanted": difference.wanted,
            "found": difference.found,
            "loses": difference.loses,
        }
        for difference in differences
    ]


def _say_each(differences: "Sequence[Difference]") -> None:
    for difference in differences:
        say(difference.sentence)
