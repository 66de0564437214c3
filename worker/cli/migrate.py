"""`migrate`: the database's revision."""

import typer

from worker.cli.frame import example, say, settings_for


def register(app: typer.Typer) -> None:
    """Add `migrate`."""
    app.command("migrate", epilog=example("migrate"))(migrate)


def migrate() -> None:
    """Bring the database to the head revision and print that revision.

    May be run again, and by several at once: the second waits for the first and finds nothing left to do. A database that
    a later release has brought further stays as it is, with exit 0 where this release may work with it.
    """
    from worker.store.revision import head, upgrade

    settings = settings_for("database")
    change = upgrade(settings.database_url.get_secret_value())
    if change.after != head():
        say(
            f"a later release has brought the database to {change.after}; this one may work with it: nothing was changed"
        )
    elif change.before == change.after:
        say("the database is at the head revision already")
    else:
        say(f"brought the database from {change.before or 'nothing'} to {change.after}")
    if change.roles_missing:
        say(
            f"missing database roles: {', '.join(change.roles_missing)}. This login may not make them: let somebody who may "
            "run deploy/postgres/roles.sql, then run `ledger-worker migrate` again; until then only the owner has rights"
        )
    typer.echo(change.after or "")
