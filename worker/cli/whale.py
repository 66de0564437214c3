"""`whale sign`: how a request is signed, step by step."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.frame import example, settings_for
from worker.cli.output import print_json
from worker.clock import wall_s


def register(app: typer.Typer) -> None:
    """Add `whale sign`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("whale sign --method GET --path /v1/whaleapi/asset/cash"))
    group.command(
        "sign",
        epilog=example("whale sign --method POST --path /v1/whaleapi/asset/cash/adjust --body request.json"),
    )(sign)
    app.add_typer(group, name="whale", help="The brokerage's API.")


def sign(
    method: Annotated[str, typer.Option(help="HTTP method.", show_default=False)],
    path: Annotated[str, typer.Option(help="Path as sent, percent-encoded.", show_default=False)],
    query: Annotated[str, typer.Option(help="Query as sent, without the question mark.")] = "",
    body: Annotated[str, typer.Option(metavar="FILE|-", help="File of the body's bytes; - reads stdin.")] = "",
    timestamp: Annotated[str, typer.Option(help="X-Timestamp as text; this second when not given.")] = "",
) -> None:
    """Print the canonical text, the string to sign and the headers as JSON, to compare with another implementation.

    Sends nothing. What it prints holds the access token.
    """
    from worker.whale.sign import explain_signature

    settings = settings_for("signing")
    print_json(
        explain_signature(
            method=method,
            path=path,
            query=query,
            body=_read_body(body),
            timestamp=timestamp or str(int(wall_s())),
            key=settings.whale_app_key,
            secret=settings.whale_app_secret.get_secret_value(),
            token=settings.whale_access_token.get_secret_value(),
        )
    )


def _read_body(source: str) -> bytes:
    if not source:
        return b""
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{source}: {error.strerror}", param_hint="--body") from error
