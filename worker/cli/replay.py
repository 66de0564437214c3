"""`replay plan`, `run`, `status` and `list`: a range of a command topic is read again."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from worker.cli.frame import example, say, settings_for
from worker.cli.guard import Yes, confirm_change
from worker.cli.lists import NO_MORE, Account, Limit, finite, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm, Row, print_json, print_rows
from worker.cli.progress import progress

if TYPE_CHECKING:
    from worker.operate.replay_plan import Bound, Wanted
    from worker.settings import Settings
    from worker.store.replays import Plan

CLASSES = ("class", "count", "fed", "money", "quantities")
PLANS = ("plan_id", "planned_at", "actor", "topic", "state", "records", "to_feed", "forgotten")
RUNS = ("does", "to_topic", "actor", "reason", "begun_at", "ended_at", "counts")
IDS_MAX = 100_000
QUANTITIES_SHOWN = 3
PlanId = Annotated[UUID, typer.Argument(metavar="PLAN", help="The plan's id.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group `replay`."""
    group = typer.Typer(
        no_args_is_help=True, epilog=example("replay plan --topic ledger.commands.orders.v1", "replay list")
    )
    group.command(
        "plan",
        epilog=example(
            "replay plan --topic ledger.commands.adjustments.v1",
            "replay plan --topic ledger.commands.orders.v1 --partition 3 --from 100 --to 200 --account H10240001",
            "replay plan --topic ledger.commands.freezes.v1 --from 2026-11-22T08:00:00Z --ids ids.txt --output json",
        ),
    )(plan)
    group.command(
        "run",
        epilog=example(
            "replay run 4b4c7c2e-… --rate 50 --reason 'passed over on Sunday, checked with the desk'",
            "replay run 4b4c7c2e-… --republish --to-topic analytics.outcomes --reason 'analytics lost its disk'",
        ),
    )(run)
    group.command("status", epilog=example("replay status 4b4c7c2e-…"))(status)
    group.command("list", epilog=example("replay list", "replay list --output json"))(list_)
    app.add_typer(group, name="replay", help="A range of a topic read again: what it would be today, and feeding it.")


def plan(
    topic: Annotated[str, typer.Option("--topic", help="One of the command topics.", show_default=False)],
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only this one.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="OFFSET|TIME", help="From here on, in each partition.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="OFFSET|TIME", help="Up to here, itself left out, in each partition.")
    ] = None,
    account: Account = None,
    command_type: Annotated[str | None, typer.Option("--type", help="Only commands of this type.")] = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="FILE|-", help="Only these command ids, one a line.")
    ] = None,
    output: Output = OutputForm.TABLE,
) -> None:
    """Read a range again and say, with counts and sums, what each record would be today. Only the plan is stored.

    done: its command has ended. in_flight: it has not. not_yet_read: beyond what is stored, intake reads it. skipped: in a
    range that `topics adopt` passed over. forgotten: read once, and the database does not know it. conflicting: its id is
    used with other content. malformed: a dead letter or a refusal. too_late: skipped, and its hour has passed. `fed` is
    how many of a class `replay run` feeds. Exit 3 when no record matches.
    """
    settings = settings_for("kafka", "database")
    wanted = _wanted(settings, topic, partition, start, end, account, command_type, ids)
    found = asyncio.run(_plan(settings, wanted))
    _print_plan({"plan_id": str(found.plan_id), "topic": found.topic, "state": "planned", **_found(found)}, output)
    if found.forgotten:
        say(
            f"{found.forgotten} were read once and are forgotten: this plan will not run; `ledger-worker recover --whole` "
            "comes first, see docs/runbooks/restored-database.md"
        )
    elif found.to_feed:
        say(f"feed them with: ledger-worker replay run {found.plan_id} --reason …")
    else:
        say("there is nothing to feed")


def run(
    plan_id: PlanId,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", min=0.1, callback=finite, help="At most so many a second.")
    ] = None,
    republish: Annotated[
        bool, typer.Option("--republish", help="Publish the stored outcomes of the range again instead.")
    ] = False,
    to_topic: Annotated[
        str | None, typer.Option("--to-topic", metavar="T", help="With --republish: where they go.")
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; kept in the audit. Needed where there is something to do.")
    ] = "",
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Feed what a plan found skipped, through the same checks and lanes as what intake reads.

    What is done or known by now is left alone: no call, no event. Started again after an interruption it goes on where it
    was. Exit 3 when there is nothing to feed, 5 without --reason and --yes, when the plan no longer holds, or somebody else runs it.
    With --republish the stored outcomes of the range's records go to another topic again, same ids, same bytes.
    """
    if republish != (to_topic is not None):
        raise typer.BadParameter("--republish and --to-topic belong together", param_hint="--to-topic")
    try:
        done = asyncio.run(_run(settings_for("kafka", "database"), plan_id, reason, rate, to_topic, yes))
    except KeyboardInterrupt:
        say("interrupted; the same command again goes on where it was")
        raise
    row = {"plan_id": str(plan_id), "does": "republish" if republish else "feed", "to_topic": to_topic, "counts": done}
    print_one(row, output)


def status(plan_id: PlanId, output: Output = OutputForm.TABLE) -> None:
    """Show what a plan found, and how far its runs have come. Exit 3 when there is none."""
    from worker.store.replays import list_plans, list_runs

    async def gather(connection: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - SQLAlchemy is not imported for --help
        plans = await list_plans(connection, plan_id=plan_id, limit=1)
        return [{**one, "runs": await list_runs(connection, plan_id)} for one in plans]

    plans = read(gather)
    found_one(plans, f"no plan has the id {plan_id}; see `ledger-worker replay list`")
    _print_plan(plans[0], output)


def list_(
    after: Annotated[UUID | None, typer.Option("--after", metavar="ID", help="Go on after this one.")] = None,
    limit: Limit = 100,
    output: Output = OutputForm.TABLE,
) -> None:
    """List plans, the latest first."""
    from worker.store.replays import list_plans

    rows = read(lambda connection: list_plans(connection, after=after, limit=limit + 1))
    print_list(rows, PLANS, output, limit, "there are no plans" if after is None else NO_MORE, key="plan_id")


def _wanted(
    settings: "Settings",
    topic: str,
    partition: int | None,
    start: str | None,
    end: str | None,
    account: str | None,
    command_type: str | None,
    ids: str | None,
) -> "Wanted":
    from schemas.commands import MODELS
    from worker.operate.replay_plan import Wanted

    if topic not in settings.command_topics:
        raise typer.BadParameter(f"is none of {', '.join(settings.command_topics)}", param_hint="--topic")
    if command_type is not None and command_type not in MODELS:
        raise typer.BadParameter(f"is none of {', '.join(MODELS)}", param_hint="--type")
    return Wanted(
        topic,
        partition,
        _bound(start, "--from"),
        _bound(end, "--to"),
        account,
        command_type,
        None if ids is None else _read_ids(ids),
    )


def _bound(given: str | None, option: str) -> "Bound | None":
    if given is None:
        return None
    if given.isascii() and given.isdigit() and len(given) < len(str(2**63)):
        return int(given)
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter("is neither an offset nor a time like 2026-11-22T08:00:00Z", param_hint=option)
    return at


def _read_ids(file: str) -> frozenset[UUID]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--ids") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} is not text", param_hint="--ids") from error
    found = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                found.add(UUID(line.strip()))
            except ValueError as error:
                raise typer.BadParameter(f"{file}: line {number} is no command id", param_hint="--ids") from error
    if not 0 < len(found) <= IDS_MAX:
        raise typer.BadParameter(f"{file} has {len(found)} ids, not 1 to {IDS_MAX}", param_hint="--ids")
    return frozenset(found)


async def _plan(settings: "Settings", wanted: "Wanted") -> "Plan":
    from worker.operate.replay_plan import plan_replay
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        with progress("reading") as reach:
            return await plan_replay(engine, settings, wanted, reach)


async def _run(
    settings: "Settings", plan_id: UUID, reason: str, rate: float | None, to_topic: str | None, yes: bool
) -> dict[str, Any]:
    from worker.operate.replay_run import How, feed_plan
    from worker.operate.republish import republish
    from worker.store.engine import opened

    def confirm(what: str) -> None:
        confirm_change(what, reason=reason, yes=yes)

    title = "feeding" if to_topic is None else "publishing"
    async with opened(settings.database_url.get_secret_value()) as engine:
        with progress(title) as reach:
            how = How(settings.actor, reason, rate, confirm, reach)
            if to_topic is not None:
                return await republish(engine, settings, plan_id, to_topic, how)
            return await feed_plan(engine, settings, plan_id, how)


def _found(plan: "Plan") -> dict[str, Any]:
    return {
        "actor": plan.actor,
        "records": plan.records,
        "to_feed": plan.to_feed,
        "forgotten": plan.forgotten,
        "filters": dict(plan.filters),
        "ranges": plan.ranges,
        "classes": dict(plan.classes),
    }


def _print_plan(shown: dict[str, Any], output: OutputForm) -> None:
    """Print a plan: as JSON whole; else its head, a row for each class, and its runs."""
    if output is OutputForm.JSON:
        print_json(shown)
        return
    rest = ("ranges", "classes", "runs")
    print_one({name: value for name, value in shown.items() if name not in rest}, output)
    typer.echo("")
    print_rows([_class_row(name, one) for name, one in shown["classes"].items()], CLASSES, output)
    if shown.get("runs"):
        typer.echo("")
        counted = [{**one, "counts": _counts(one["counts"])} for one in shown["runs"]]
        print_rows(counted, RUNS, output)


def _class_row(name: str, one: dict[str, Any]) -> Row:
    money = [f"{row['type']} {row['direction'] or ''} {row['amount']} {row['currency']}" for row in one["money"]]
    quantities = [
        f"{row['type']} {row['direction'] or ''} {row['quantity']} {row['symbol'] or ''}" for row in one["quantities"]
    ]
    more = len(quantities) - QUANTITIES_SHOWN
    shown = quantities[:QUANTITIES_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return {
        "class": name,
        "count": one["count"],
        "fed": one["fed"],
        "money": "; ".join(" ".join(text.split()) for text in money) or None,
        "quantities": "; ".join(" ".join(text.split()) for text in shown) or None,
    }


def _counts(counts: dict[str, int]) -> str:
    return "  ".join(f"{name}={count}" for name, count in counts.items())
