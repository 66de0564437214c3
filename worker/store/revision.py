"""The database's revision: what it has, what this release brings, and the way from one to the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

import migrations
from worker.errors import PartUnavailableError, RevisionError
from worker.store.engine import for_a_person
from worker.store.tls import looked_closer, sentence

CONNECT_TIMEOUT_S = 10
OLDEST_SERVER = 17
"""The first with the right MAINTAIN, which the group roles are given."""


@dataclass(frozen=True, slots=True)
class Change:
    """The revision before and after; None is a database without any. Which group roles are missing, so that none has rights."""

    before: str | None
    after: str | None
    roles_missing: tuple[str, ...] = ()


def upgrade(database_url: str) -> Change:
    """Bring the database to the head revision; blocks, waits up to a minute for another that does the same.

    Raises PartUnavailableError when Postgres does not answer or a lock is not had in time, RevisionError when the
    server is too old, or the database is at a revision that this release does not know, or refuses a step. May be called again.
    """
    config = _config(database_url)
    with _told_apart(database_url):
        before = current(database_url)
        _refuse_old_server(database_url)
        command.upgrade(config, "head")
        missing = _grant_roles(database_url)
    return Change(before, head(), missing)


def _refuse_old_server(database_url: str) -> None:
    with open_engine(database_url).connect() as connection:
        version = str(connection.execute(text("SHOW server_version")).scalar_one())
        number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if number < OLDEST_SERVER * 10_000:
        raise RevisionError(f"PostgreSQL {version} is too old: use {OLDEST_SERVER} or newer")


def _grant_roles(database_url: str) -> tuple[str, ...]:
    """Give the group roles their rights, those that were made since the last time too; returns which are missing.

    Only who owns the tables can; another's run finds nothing to do.
    """
    mine = text("SELECT has_function_privilege('grant_ledger_roles()', 'EXECUTE')")
    with open_engine(database_url).begin() as connection:
        if not connection.execute(mine).scalar_one():
            return ()
        return tuple(connection.execute(text("SELECT grant_ledger_roles()")).scalar_one())


def head() -> str | None:
    """Return the newest revision of this release; no I/O on the database."""
    return ScriptDirectory.from_config(_config("")).get_current_head()


def current(database_url: str) -> str | None:
    """Return the database's revision, None when it has none; blocks.

    Raises PartUnavailableError, SettingsError where the URL cannot be used, LedgerWorkerError where a right is lacking.
    """
    with _told_apart(database_url), for_a_person(), open_engine(database_url).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def check(database_url: str) -> None:
    """Compare the database with the tables; blocks. Raises RevisionError where a migration is missing."""
    with _told_apart(database_url):
        command.check(_config(database_url))


def open_engine(database_url: str) -> Engine:
    """Return an engine over psycopg for a `postgresql://` URL; nothing is kept open between uses."""
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    return create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
    )


def _config(database_url: str) -> Config:
    config = Config(stdout=StringIO())
    # The folder of the installed package, so that no command depends on where it was started.
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


@contextmanager
def _told_apart(database_url: str) -> Iterator[None]:
    """Turn what alembic and the driver raise into what a person can act on."""
    try:
        yield
    except CommandError as error:
        raise RevisionError(f"the database's revision does not fit this release: {error}") from error
    except OperationalError as error:
        if (untrusted := sentence(str(error.orig))) is not None:
            raise PartUnavailableError(looked_closer(untrusted, database_url)) from error
        raise PartUnavailableError(f"Postgres does not answer, or a lock was not had in time: {_why(error)}") from error
    except DBAPIError as error:
        raise RevisionError(f"Postgres refuses a step of the migration: {_why(error)}") from error


def _why(error: DBAPIError) -> str:
    return next(iter(str(error.orig).splitlines()), "no reason given")
