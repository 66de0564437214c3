"""`dead-letters list` and `show`: records that were not taken, and why."""

from typing import Annotated
from uuid import UUID

import typer

from worker.cli.frame import example, say
from worker.cli.lists import Limit, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm

GROUPED = ("fingerprint", "reason", "code", "field", "count", "first_at", "last_at", "sample")
ROWS = ("dead_letter_id", "failed_at", "reason", "code", "field", "topic", "partition", "offset", "message")


def register(app: typer.Typer) -> None:
    """Add the group `dead-letters`."""
    group = typer.Typer(no_args_is_help=True)
    group.command(
        "list", epilog=example("dead-letters list", "dead-letters list --all --fingerprint 3f1c… --limit 20")
    )(list_)
    group.command("show", epilog=example("dead-letters show 4b4c7c2e-3f0b-5d2b-9a53-1f6a2d1b7a10"))(show)
    app.add_typer(group, name="dead-letters", help="Records that were not taken, each with its reason.")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Each dead letter instead of groups, the latest first.")] = False,
    fingerprint: Annotated[str | None, typer.Option("--fingerprint", help="Only this group's; means --all.")] = None,
    after: Annotated[
        UUID | None, typer.Option("--after", metavar="ID", help="Go on after this one; means --all.")
    ] = None,
    limit: Limit = 100,
    output: Output = OutputForm.TABLE,
) -> None:
    """List dead letters, grouped by what is wrong with them: how many, since when, and one of them to look at."""
    from worker.store.letters import group_dead_letters, list_dead_letters

    if not (every or fingerprint or after):
        rows = read(lambda connection: group_dead_letters(connection, limit=limit + 1))
        print_list(rows, GROUPED, output, limit, "there are no dead letters")
        return
    rows = read(lambda connection: list_dead_letters(connection, fingerprint=fingerprint, after=after, limit=limit + 1))
    print_list(rows, ROWS, output, limit, "there are no dead letters" if after is None else "there are no more")
    if len(rows) > limit:
        say(f"the next ones: --after {rows[limit - 1]['dead_letter_id']}")


def show(
    dead_letter_id: Annotated[UUID, typer.Argument(metavar="ID", help="Its id, see list.", show_default=False)],
    output: Output = OutputForm.TABLE,
) -> None:
    """Show one dead letter byte for byte, as hex and as text, with its headers and where it came from."""
    from worker.store.letters import read_dead_letter

    found = read(lambda connection: read_dead_letter(connection, dead_letter_id))
    found_one(found, f"no dead letter has the id {dead_letter_id}")
    print_one(found[0], output)
