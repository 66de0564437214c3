"""`settings show`: what the worker would run with, and where nothing is given, what it would take."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.frame import example, say, settings_for
from worker.cli.output import OutputForm, Row, cell, print_rows

if TYPE_CHECKING:
    from worker.settings import Settings


class ShowForm(StrEnum):
    """How settings are printed; `markdown` is the reference table of the documentation, without values."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def register(app: typer.Typer) -> None:
    """Add `settings show`."""
    group = typer.Typer(no_args_is_help=True, epilog=example("settings show"))
    group.command("show", epilog=example("settings show", "settings show --output json"))(show)
    app.add_typer(group, name="settings", help="The worker's settings, from the environment.")


def show(output: Annotated[ShowForm, typer.Option("--output", "-o", help="How to print it.")] = ShowForm.TABLE) -> None:
    """Show every setting with the value in effect; secrets are masked.

    Contradictory settings are an error; missing ones are named on stderr, for some commands do without them.
    """
    if output is ShowForm.MARKDOWN:
        _print_reference()
        return
    settings = settings_for()
    rows = _rows(settings)
    missing = [str(row["variable"]) for row in rows if row["required_for"] and not row["value"]]
    if missing:
        say(f"missing: {', '.join(missing)}")
    print_rows(rows, ("variable", "value", "default", "meaning"), OutputForm(output.value))


def _rows(settings: "Settings") -> list[Row]:
    from worker.settings import Settings, required, variable

    return [
        {
            "variable": variable(name),
            "value": _shown(settings, name),
            "default": None if name in required() else _listed(field.get_default(call_default_factory=True)),
            "required_for": required().get(name, (None,))[0],
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]


def _shown(settings: "Settings", name: str) -> object:
    from worker.ledger.addresses import MASK
    from worker.settings import is_secret, required

    value = getattr(settings, name)
    if name == "database_url":
        return settings.database_url_masked or None
    if is_secret(name):
        return MASK if value and value.get_secret_value() else None
    return (value or None) if name in required() else _listed(value)


def _listed(value: object) -> object:
    """Return a default or a value in a form that JSON knows; an empty secret is empty."""
    if isinstance(value, frozenset):
        return sorted(value)
    return value if isinstance(value, bool | int | float | None) else str(value)


def _print_reference() -> None:
    from worker.settings import Settings, required, variable

    typer.echo("| variable | default | meaning |\n|---|---|---|")
    for name, field in Settings.model_fields.items():
        value = None if name == "actor" else _listed(field.get_default(call_default_factory=True))
        default = "" if value is None else cell(value)
        shown = f"needed for {required()[name][0]}" if name in required() else f"`{default}`" if default else ""
        typer.echo(f"| `{variable(name)}` | {shown} | {field.description} |")
