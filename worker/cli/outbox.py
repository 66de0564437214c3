"""`outbox list` and `redrive`: what Kafka refused for good, and putting it back."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import example, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.lists import Limit, print_list, print_one, read
from worker.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.settings import Settings

COLUMNS = ("outbox_id", "kind", "ref_id", "ordered_by", "recorded_at", "behind", "reason")


def register(app: typer.Typer) -> None:
    """Add the group `outbox`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("outbox list"))
    group.command("list", epilog=example("outbox list", "outbox list --output json"))(list_)
    group.command("redrive", epilog=example("outbox redrive 4711 --reason 'max.message.bytes is raised'"))(redrive)
    app.add_typer(group, name="outbox", help="What Kafka refused for good, and what waits behind it.")


def list_(
    after: Annotated[int, typer.Option("--after", metavar="ID", min=0, help="Go on after this one.")] = 0,
    limit: Limit = 100,
    output: Output = OutputForm.TABLE,
) -> None:
    """List rows that were set aside, the oldest first; `behind` counts those of the same account that wait behind."""
    from schemas.times import written
    from worker.store.outbox import list_aside

    found = read(lambda connection: list_aside(connection, after=after, limit=limit + 1))
    rows = [one._asdict() | {"recorded_at": written(one.recorded_at)} for one in found]
    print_list(rows, COLUMNS, output, limit, "nothing was set aside", key="outbox_id")


def redrive(
    outbox_id: Annotated[int, typer.Argument(metavar="ID", help="Its number, see list.", show_default=False)],
    reason: Reason,
    yes: Yes = False,
    output: Output = OutputForm.JSON,
) -> None:
    """Put one row back: it is published again, to the byte, and those behind it after it.

    Mend first what Kafka refused it for, else it is set aside again. Exit 3 when there is no such row, 5 when it is not
    set aside.
    """
    settings = settings_for("database")
    confirm_change(asyncio.run(_preview(settings, outbox_id)), reason=reason, yes=yes)
    print_one(asyncio.run(_redrive(settings, outbox_id, reason)), output)


async def _preview(settings: "Settings", outbox_id: int) -> str:
    from worker.operate.outbox import preview
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await preview(engine, outbox_id)


async def _redrive(settings: "Settings", outbox_id: int, reason: str) -> "Mapping[str, object]":
    from worker.operate.outbox import redrive as put_back
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await put_back(engine, outbox_id, settings.actor, reason)
