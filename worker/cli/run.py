"""`run`: the worker."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import example, settings_for

if TYPE_CHECKING:
    from worker.settings import Settings

ROLES = ("intake", "lanes", "timers", "relay")


def register(app: typer.Typer) -> None:
    """Add `run`."""
    app.command("run", epilog=example("run", "run --role intake,relay"))(run)


def run(
    role: Annotated[str, typer.Option(help="Only these engines, separated by commas; all when not given.")] = "",
) -> None:
    """Run the worker until SIGTERM, which drains and exits 0."""
    import uvloop

    roles = [name.strip() for name in role.split(",")] if role else list(ROLES)
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: the roles are {', '.join(ROLES)}", param_hint="--role")
    settings = settings_for("kafka", "database", "whale")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_before_the_start)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # what they change is not there before the worker is
    uvloop.run(_run(settings, roles))


def _end_before_the_start(number: int, frame: FrameType | None) -> None:
    """End at once: until the worker has its own handlers nothing was begun, and a thread that connects hears no signal."""
    del number, frame
    with suppress(OSError):
        os.write(2, b"told to stop before the start: nothing was begun\n")
    os._exit(0)


async def _run(settings: "Settings", roles: list[str]) -> None:
    from worker.app import Worker
    from worker.app.renewal import Renewal
    from worker.app.start import check_start
    from worker.observe.logs import SecretMask, configure, set_level

    await check_start(settings)
    # only now: what keeps it from starting is told in one sentence, not in the libraries' lines too
    mask = SecretMask(settings.secret_values())
    log = configure(settings.log_format, mask, sys.stderr)
    set_level(settings.log_level)
    renewal = Renewal(settings, lambda: type(settings).from_env(os.environ), mask, log)
    await Worker(settings, roles, log, renewal).run()
