"""`in-doubt list`, `show` and `resolve`: what may or may not have been applied, and a person's decision."""

import asyncio
import re
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from typer.core import TyperCommand
from typing_extensions import override

from worker.cli.frame import example, say, settings_for
from worker.cli.guard import Reason, Yes, confirm_change
from worker.cli.lists import NO_MORE, Account, After, Limit, OlderThan, found_one, print_list, print_one, read
from worker.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from worker.operate.resolve import Said
    from worker.settings import Settings

COLUMNS = (
    *(
        "command_id",
        "account_no",
        "operation",
        "expiry",
        "amount",
        "age",
        "decidable_at",
        "next_at",
        "next",
        "parks_at",
    ),
    "no_evidence",
)
COMMAND_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
NUMBER = re.compile(r"[A-Za-z0-9._-]{1,64}")
CommandId = Annotated[UUID, typer.Argument(metavar="ID", help="The command's id.", show_default=False)]
TAKE_A_VALUE = ("--reason", "--output", "-o")
OfExpiry = Annotated[bool, typer.Option("--expiry", help="Means the expiry of that temp.adjust.")]


class Resolve(TyperCommand):
    """The command `resolve`: `--applied`, a flag that a NUMBER may follow, takes it in the form `--applied=NUMBER`, too."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Part the two before anything is read; what would be an option itself, or nothing, stays and is refused."""
        end = args.index("--") if "--" in args else len(args)
        parted: list[str] = []
        for at, one in enumerate(args):
            name, _, number = one.partition("=")
            is_value = at > 0 and args[at - 1] in TAKE_A_VALUE
            if at < end and not is_value and name == "--applied" and number and not number.startswith("-"):
                parted += [name, number]
            else:
                parted.append(one)
        return super().parse_args(ctx, parted)


def register(app: typer.Typer) -> None:
    """Add the group `in-doubt`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("in-doubt list"))
    group.command("list", epilog=example("in-doubt list", "in-doubt list --account H10240001 --output json"))(list_)
    group.command("show", epilog=example("in-doubt show 0f8fad5b-d9cb-469f-a165-70867728950e"))(show)
    group.command(
        "resolve",
        cls=Resolve,
        epilog=example(
            "in-doubt resolve 0f8fad5b-… --applied TA2026112200001 --reason 'seen in the back office'",
            "in-doubt resolve 0f8fad5b-… --not-applied --resend --reason 'the brokerage confirms: never arrived'",
        ),
    )(resolve)
    app.add_typer(group, name="in-doubt", help="Commands with a call that may or may not have been applied.")


def list_(
    account: Account = None,
    operation: Annotated[
        str | None, typer.Option("--operation", metavar="TYPE", help="Only this operation's, such as temp.adjust.")
    ] = None,
    older_than: OlderThan = None,
    parked: Annotated[bool, typer.Option("--parked", help="Only those that the worker has given up.")] = False,
    limit: Limit = 500,
    after: After = None,
    output: Output = OutputForm.TABLE,
) -> None:
    """List what is in doubt, parked or not, the oldest first; `next` says what happens by itself and when.

    `decidable_at` is the instant from which a person may decide: before, a call may still take effect. `parks_at` is
    when the worker gives up.
    """
    from worker.operate.doubts import doubts
    from worker.whale.operations import REGISTRY

    if operation is not None and operation not in REGISTRY:
        raise typer.BadParameter(f"is none of {', '.join(REGISTRY)}: {operation}", param_hint="--operation")
    settings = settings_for("database")
    rows = read(
        lambda connection: doubts(
            connection,
            settings,
            account_no=account,
            operation=operation,
            older_than_s=older_than,
            parked=parked or None,
            after=after,
            limit=limit + 1,
        )
    )
    print_list(rows, COLUMNS, output, limit, "nothing is in doubt" if after is None else NO_MORE, key="command_id")


def show(command_id: CommandId, output: Output = OutputForm.TABLE) -> None:
    """Show one doubt: what was sent, what is known, and from when on it may be decided. Exit 3 when there is none."""
    from worker.operate.doubts import doubts
    from worker.store.kept import left_out_of, list_attempts, list_evidence

    settings = settings_for("database")

    async def gather(connection: "AsyncConnection") -> list[dict[str, object]]:
        attempts, evidence = await list_attempts(connection, command_id), await list_evidence(connection, command_id)
        return [
            {
                **doubt,
                "attempts": attempts,
                "evidence": evidence,
                "attempts_left_out": left_out_of(attempts),
                "evidence_left_out": left_out_of(evidence),
            }
            for doubt in await doubts(connection, settings, command_id=command_id, limit=2)
        ]

    found = read(gather)
    found_one(found, f"nothing of {command_id} is in doubt")
    for doubt in found:
        print_one(doubt, output)
        option = " --expiry" if doubt["expiry"] else ""
        say(f"decide with: ledger-worker in-doubt resolve {command_id}{option} --applied … | --not-applied --reason …")


def resolve(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The command's id.", show_default=False)],
    reason: Reason,
    number: Annotated[
        str | None,
        typer.Argument(metavar="NUMBER", help="With --applied: what the brokerage calls it.", show_default=False),
    ] = None,
    applied: Annotated[bool, typer.Option("--applied", help="It took effect; NUMBER may follow.")] = False,
    not_applied: Annotated[bool, typer.Option("--not-applied", help="It did not take effect.")] = False,
    number_unknown: Annotated[
        bool, typer.Option("--number-unknown", help="With --applied: the brokerage's number cannot be had.")
    ] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="With --not-applied: send it again, from the tail of its lane.")
    ] = False,
    expiry: OfExpiry = False,
    yes: Yes = False,
    output: Output = OutputForm.JSON,
) -> None:
    """Decide whether a call in doubt was applied; the outcome names who decided.

    `--applied NUMBER` ends it as succeeded, `--not-applied` as rejected, `--not-applied --resend` sends it again under
    the same request_id. Exit 5 while a call is under way or may still take effect, and when nothing is in doubt.
    """
    command_id, number = _told_apart(id_, number)
    _check_form(applied, not_applied, number, number_unknown, resend, expiry)
    settings = settings_for("database")
    said = _said(settings, command_id, reason, number if applied else None, applied, resend, number_unknown, expiry)
    told, said = asyncio.run(_preview(settings, said))
    confirm_change(told, reason=reason, yes=yes)
    print_one(asyncio.run(_resolve(settings, said)), output)


def _told_apart(first: str, second: str | None) -> tuple[UUID, str | None]:
    """Return id and number; `--applied NUMBER ID` says the same as `ID --applied NUMBER`."""
    for id_, number in ((first, second), (second, first)):
        if id_ is not None and COMMAND_ID.fullmatch(id_):
            return UUID(id_), number
    raise typer.BadParameter(f"is not a command's id: {first}", param_hint="ID")


def _check_form(
    applied: bool, not_applied: bool, number: str | None, number_unknown: bool, resend: bool, expiry: bool
) -> None:
    """Refuse what cannot be meant, as a usage error."""
    has_number = number is not None
    wrong = [
        (applied == not_applied, "--applied", "give one of --applied and --not-applied"),
        (has_number and not applied, "NUMBER", "goes with --applied"),
        (number_unknown and not applied, "--number-unknown", "goes with --applied"),
        (number_unknown and has_number, "--number-unknown", "and a NUMBER contradict each other"),
        (applied and resend, "--resend", "goes with --not-applied"),
        (expiry and resend, "--resend", "is not needed with --expiry: the timer asks again by itself"),
        (has_number and NUMBER.fullmatch(number or "") is None, "NUMBER", f"is not one: {number}"),
        (expiry and (has_number or number_unknown), "NUMBER", "there is none with --expiry"),
    ]
    for is_wrong, option, told in wrong:
        if is_wrong:
            raise typer.BadParameter(told, param_hint=option)


def _said(
    settings: "Settings",
    command_id: UUID,
    reason: str,
    number: str | None,
    applied: bool,
    resend: bool,
    number_unknown: bool,
    expiry: bool,
) -> "Said":
    from worker.operate.resolve import Applied, NotApplied, Said

    answer = Applied(number, number_unknown) if applied else NotApplied(resend)
    return Said(command_id, answer, settings.actor, reason, expiry)


async def _preview(settings: "Settings", said: "Said") -> "tuple[str, Said]":
    """Say what would change, and keep with the decision what the brokerage shows of its number."""
    from worker.operate.resolve import preview
    from worker.operate.shown_number import check_number
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        told = await preview(engine, settings, said)
        said = await check_number(engine, settings, said)
    if said.checked is not None:
        say(said.checked)
    return told, said


async def _resolve(settings: "Settings", said: "Said") -> "Mapping[str, object]":
    from worker.operate.resolve import resolve as decide
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        return await decide(engine, settings, said)
