"""`reconcile` and `reconcile verify`: our commands and outcomes against the brokerage's own histories."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.frame import EXIT_PARTLY_DONE, example, person_watches, say, settings_for
from worker.cli.guard import Yes, confirm_change
from worker.cli.lists import Account
from worker.cli.output import Output, OutputForm, print_json, print_rows
from worker.errors import LedgerWorkerError, RefusedByGuardError

if TYPE_CHECKING:
    from worker.operate.reconcile import Told
    from worker.settings import Settings

COLUMNS = ("kind", "account_no", "book", "number", "command_id", "at", "ours", "theirs", "note")
ROWS_MAX = 500
NOT_READ_SAID = 5
Certificate = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the group `reconcile`, which is a command itself."""
    group = typer.Typer(
        invoke_without_command=True,
        callback=reconcile,
        epilog=example(
            "reconcile --account H10240001 --from 2026-11-22T00:00:00Z --to 2026-11-23T00:00:00Z",
            "reconcile --certificate day.json --page day.txt --sign-off --reason 'close of 22 November'",
        ),
    )
    group.command("verify", epilog=example("reconcile verify day.json", "reconcile verify --audit day.json"))(verify)
    app.add_typer(group, name="reconcile")


def instant(text: str) -> datetime:
    """Read an RFC 3339 date-time."""
    from schemas.times import instant as read_instant

    try:
        return read_instant(text)
    except ValueError:
        raise typer.BadParameter("must be an RFC 3339 date-time with an offset, such as 2026-11-22T08:30:00Z") from None


From = Annotated[
    datetime | None,
    typer.Option("--from", metavar="TIME", parser=instant, help="From when on; a day before --to unless given."),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", metavar="TIME", parser=instant, help="Up to when; a minute ago unless given."),
]


def reconcile(
    context: typer.Context,
    account: Account = None,
    from_: From = None,
    to: To = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out", metavar="CODE", help="Business code of lines that are no concern of ours; may repeat."
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="Write the certificate as JSON, sealed by a hash."),
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", metavar="FILE", help="Write it as one page of text.")] = None,
    sign_off: Annotated[bool, typer.Option("--sign-off", help="Vouch for it: recorded in the audit.")] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; with --sign-off. Kept in the audit.", show_default=False)
    ] = "",
    yes: Yes = False,
    output: Output = OutputForm.TABLE,
) -> None:
    """Compare commands and outcomes with the brokerage's cash, position, freeze and order histories.

    Names every difference: ours without theirs, theirs without ours, another amount, in doubt, unfinished, outcomes that
    are missing, unpublished or out of sequence. Matches by the brokerage's numbers and our tags, never by an amount.
    Reads only, and gives way to the workers' calls. Exit 0 when all agrees, 3 when the range is empty, 4 when there are
    differences or the brokerage did not show everything.
    """
    if context.invoked_subcommand is not None:
        return
    if bool(reason) != sign_off:
        raise typer.BadParameter("--sign-off and --reason go together", param_hint="--sign-off")
    if sign_off and not (reason.strip() and (yes or person_watches())):
        confirm_change("The certificate would be signed off.", reason=reason, yes=yes)  # refused before all the reading
    settings = settings_for("database", "whale")
    for file in (certificate, page):
        if file is not None and not os.access(file.parent, os.W_OK):
            raise LedgerWorkerError(f"{file.parent} is no folder that can be written to")
    made = asyncio.run(_compare(settings, account, from_, to, leave_out or []))
    _say(made)
    refused = None
    if sign_off:
        try:
            made = _signed(settings, made, reason, yes=yes)
        except RefusedByGuardError as error:
            refused = error
    _print(made, output)
    _write(made, certificate, page)
    if refused is not None:
        raise refused
    if not made["agrees"]:
        raise typer.Exit(EXIT_PARTLY_DONE)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate that `reconcile` wrote.")],
    audit: Annotated[bool, typer.Option("--audit", help="Look in the audit for who signed it off, too.")] = False,
) -> None:
    """Say whether a certificate is as it was written; exit 1 when it was changed.

    The hash shows that nothing was changed by accident; who changes a certificate on purpose can hash it again. With
    --audit the hash must be the one that the audit kept when it was signed off.
    """
    from worker.operate.certificate import read_certificate

    try:
        data = file.read_bytes()
    except OSError as error:
        raise LedgerWorkerError(f"{file} cannot be read: {error.strerror}") from error
    made = read_certificate(data)
    if audit:
        asyncio.run(_check_audit(settings_for("database"), made))
    signed = made["signed_off"]
    say(f"as it was written at {made['made_at']}; signed off by {signed['by'] if signed else 'nobody'}")


async def _compare(
    settings: "Settings", account: str | None, start: datetime | None, end: datetime | None, codes: list[str]
) -> Certificate:
    from worker.operate.quiet import Quiet, client_of
    from worker.operate.reconcile import ask, certify
    from worker.operate.reconcile import reconcile as compare
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine, client_of(settings) as client:
        asked = await ask(engine, account, start, end, codes)
        with _progress() as told:
            found = await compare(engine, Quiet(engine, client, settings, say), asked, told)
        return await certify(engine, settings, asked, found)


def _signed(settings: "Settings", made: Certificate, reason: str, *, yes: bool) -> Certificate:
    from worker.operate.certificate import sign_off
    from worker.store.engine import opened

    if not made["complete"]:
        raise RefusedByGuardError("not signed off: the brokerage did not show everything; nothing was recorded")
    told = "everything agrees" if made["agrees"] else f"{made['counts']['differences']} differences are named"
    confirm_change(f"The certificate, in which {told}, will be signed off by {settings.actor}.", reason=reason, yes=yes)

    async def sign() -> Certificate:
        async with opened(settings.database_url.get_secret_value()) as engine:
            return await sign_off(engine, made, settings.actor, reason)

    return asyncio.run(sign())


async def _check_audit(settings: "Settings", made: Certificate) -> None:
    from worker.operate.certificate import check_audit
    from worker.store.engine import opened

    async with opened(settings.database_url.get_secret_value()) as engine:
        await check_audit(engine, made)


def _say(made: Certificate) -> None:
    counts, range_ = made["counts"], made["range"]
    say(
        f"{range_['from']} to {range_['to']}: {counts['accounts']} accounts, {counts['commands']} commands, "
        f"{counts['outcomes']} outcomes, {counts['lines']} lines of the brokerage"
    )
    for one in made["not_read"][:NOT_READ_SAID]:
        say(f"not read: {one['account_no']} {one['book']}: {one['why']}")
    if not made["complete"]:
        say(f"not complete: {len(made['not_read'])} histories could not be read whole")
    named = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in made["kinds"].items() if count)
    say(f"{counts['differences']} differences: {named}" if named else "no differences")


def _print(made: Certificate, output: OutputForm) -> None:
    if output is OutputForm.JSON:
        print_json(made)
        return
    print_rows(made["differences"][:ROWS_MAX], COLUMNS, output)
    if made["counts"]["differences"] > ROWS_MAX:
        say(f"the first {ROWS_MAX} are shown; a certificate has {len(made['differences'])}")


def _write(made: Certificate, certificate: Path | None, page: Path | None) -> None:
    from worker.operate.certificate import page_of

    try:
        if certificate is not None:
            text = json.dumps(made, ensure_ascii=False, indent=2)
            certificate.write_text(text + "\n", encoding="utf-8", errors="surrogatepass")
        if page is not None:
            page.write_text(page_of(made), encoding="utf-8", errors="replace")
    except OSError as error:
        raise LedgerWorkerError(f"{error.filename} cannot be written: {error.strerror}") from error


@contextmanager
def _progress() -> "Iterator[Told]":
    """Give what moves a bar on stderr, where a person sees it."""
    if not sys.stderr.isatty():
        yield lambda _account, _done, _of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = TextColumn("comparing {task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("", total=None)
        yield lambda account, done, of: bar.update(row, description=account, completed=done, total=of)
