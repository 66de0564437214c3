"""The database's revision: what it has, what this release brings, and the way from one to the other.

A release needs its own newest revision. It works with newer ones too, until a revision contracts: then the database names
the oldest release that still may.
"""

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
from worker.store.engine import APPLICATION_NAME, for_a_person
from worker.store.tls import looked_closer, sentence

CONNECT_TIMEOUT_S = 10
OLDEST_SERVER = 17
"""The first with the right MAINTAIN, which the group roles are given."""

# a column that revisions before 0011 lack
OLDEST_RELEASE = text("SELECT to_jsonb(v) ->> 'oldest_release' FROM alembic_version v")
# every login sees these of every other; a name without a revision is of a release from before 0011
TOO_OLD_AT_WORK = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND split_part(application_name, ' ', 1) = :name
        AND split_part(application_name, ' ', 2) < :oldest
""")


@dataclass(frozen=True, slots=True)
class Found:
    """What a database is at; None is a database without any, and one that no revision keeps a release from."""

    revision: str | None
    oldest_release: str | None = None

    def is_older(self) -> bool:
        """Say whether this release brings it further."""
        return self.revision is None or (self.revision.isdecimal() and self.revision < head())

    def is_newer(self) -> bool:
        """Say whether a later release has brought it where it is."""
        return self.revision is not None and self.revision.isdecimal() and self.revision > head()

    def misfit(self) -> str | None:
        """Say in one sentence why this release must not work with it; None where it may."""
        if self.revision is None or self.is_older():
            return (
                f"the database is at revision {self.revision or 'none'} and this release needs {head()}; "
                "run `ledger-worker migrate`"
            )
        if not self.revision.isdecimal():
            return f"the database is at revision {self.revision}, which is none of ours; see LEDGER_DATABASE_URL"
        if self.oldest_release is not None and self.oldest_release > head():
            return (
                f"the database is at revision {self.revision}, too new for this release, which ends at {head()}; "
                f"start a release with revision {self.oldest_release} or newer"
            )
        return None


@dataclass(frozen=True, slots=True)
class Change:
    """The revision before and after; None is a database without any. Which group roles are missing, so that none has rights."""

    before: str | None
    after: str | None
    roles_missing: tuple[str, ...] = ()


def upgrade(database_url: str) -> Change:
    """Bring the database to the head revision; blocks, waits up to a minute for another that does the same.

    One that a later release has brought further is left as it is. Raises PartUnavailableError when Postgres does not
    answer or a lock is not had in time, RevisionError when the server is too old, when this release must not work with the
    database, when a revision would end what releases at work still need, or when Postgres refuses a step. May be called again.
    """
    config = _config(database_url)
    before = look(database_url)
    if not before.is_older() and (misfit := before.misfit()) is not None:
        raise RevisionError(misfit)
    if before.is_newer():
        return Change(before.revision, before.revision)
    with _told_apart(database_url):
        _refuse_old_server(database_url)
        _refuse_under_old_releases(database_url, before.revision)
        command.upgrade(config, "head")
        missing = _grant_roles(database_url)
    return Change(before.revision, head(), missing)


def _refuse_under_old_releases(database_url: str, before: str | None) -> None:
    """Raise RevisionError where a revision to come contracts and somebody works who needs what it takes away.

    Who has no connection is not seen; it would be refused at its next start.
    """
    known = ScriptDirectory.from_config(_config("")).walk_revisions(before or "base", "head")
    steps = [getattr(one.module, "oldest_release", None) for one in known if one.revision != before]
    oldest = max((one for one in steps if one is not None), default=None)
    if oldest is None:
        return
    with open_engine(database_url).connect() as connection:
        count = connection.execute(TOO_OLD_AT_WORK, {"name": APPLICATION_NAME, "oldest": oldest}).scalar_one()
    if count:
        raise RevisionError(
            f"revision {head()} is for releases with {oldest} or newer, and {count} connections of older ones are open; "
            "nothing was changed: stop those workers, or upgrade to a release in between first"
        )


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


def head() -> str:
    """Return the newest revision of this release; no I/O on the database."""
    return migrations.newest()


def look(database_url: str) -> Found:
    """Return what the database is at; blocks.

    Raises PartUnavailableError, SettingsError where the URL cannot be used, LedgerWorkerError where a right is lacking.
    """
    with _told_apart(database_url), for_a_person(), open_engine(database_url).connect() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision is None:
            return Found(None)
        return Found(revision, connection.execute(OLDEST_RELEASE).scalar_one())


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
