"""Whatever changes something takes a reason, asks, and where nobody can be asked needs a yes: contract section 6."""

import inspect
import sys
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from worker.cli.app import build

READS = {
    "explain", "doctor", "tail", "reconcile",
    "list", "show", "plan", "status", "verify", "check", "export", "sign",
}  # fmt: skip
"""Last words of commands that change nothing of ours: what a new one is called decides which rule it obeys."""
NEITHER = {"migrate", "send", "run", "demo"}
"""Those that the contract lets do without; of `replay` it is `run` and needs both."""
OF_ITS_OWN = {"topics apply", "dead-letters redrive", "pause", "replay run", "prune"}
"""They need both only with `--drained`, without `--preview`, `--list`, with something to feed, without `--dry-run`: see their own tests."""
WITHOUT_OUTPUT = {"migrate", "run", "demo"}
"""They print no fields: a revision, a log, a story."""


def commands(group: TyperGroup, *path: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, one in group.commands.items():
        if isinstance(one, TyperGroup):
            yield from commands(one, *path, name)
        else:
            assert isinstance(one, TyperCommand)
            yield " ".join((*path, name)), one


def every_command() -> dict[str, TyperCommand]:
    whole = typer.main.get_command(build())
    assert isinstance(whole, TyperGroup)
    return dict(commands(whole))


def changing() -> dict[str, TyperCommand]:
    found = {name: one for name, one in every_command().items() if name not in NEITHER | OF_ITS_OWN}
    return {name: one for name, one in found.items() if name.split()[-1] not in READS}


def test_what_changes_something_is_printed_as_a_person_or_a_machine_wants_it() -> None:
    wanted = (changing().keys() | NEITHER | OF_ITS_OWN) - WITHOUT_OUTPUT
    found = every_command()
    assert [name for name in wanted if not any("--output" in one.opts for one in found[name].params)] == []


def test_the_commands_that_change_something_are_found() -> None:
    assert {"in-doubt resolve", "topics adopt", "recover", "outbox redrive"} <= changing().keys()


@pytest.mark.parametrize("name", changing())
def test_what_changes_something_has_a_required_reason_a_yes_and_the_guard(name: str) -> None:
    command = changing()[name]
    given = {declared: one for one in command.params for declared in one.opts}
    assert {"--reason", "--yes"} <= given.keys(), f"{name} changes something, so it takes --reason and --yes"
    assert given["--reason"].required, f"{name} may be typed without --reason"
    assert given["--yes"].default is False, f"{name}: --yes is not off by default"
    assert command.callback is not None
    callback = inspect.unwrap(command.callback)
    module = sys.modules[callback.__module__]
    asked = [module, *(vars(module)[called] for called in callback.__code__.co_names if called in vars(module))]
    sources = [inspect.getsource(one) for one in asked if inspect.ismodule(one) or inspect.isfunction(one)]
    assert any("confirm_change(" in source for source in sources), f"{name} does not pass the guard"
