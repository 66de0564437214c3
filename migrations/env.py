"""How alembic reaches the database: `ledger-worker migrate` hands the URL over, plain `alembic` takes it from settings."""

import os

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import text

from worker.settings import Settings
from worker.store import operator_tables
from worker.store.revision import open_engine

ONE_MIGRATION_AT_A_TIME = text("SELECT pg_advisory_lock(hashtext('ledger-worker migrate'))")

NOTE = text("UPDATE alembic_version SET oldest_release = :oldest")


def note_oldest_release(*, ctx: MigrationContext, step: MigrationInfo, **_: object) -> None:
    """Write down, in the revision's own database transaction, which releases may work with what it leaves."""
    script = step.up_revision
    oldest = None if script is None else getattr(script.module, "oldest_release", None)
    if oldest is not None and ctx.connection is not None:
        ctx.connection.execute(NOTE, {"oldest": oldest})


def upgrade_online() -> None:
    """Run the revisions, each in a database transaction of its own, under a lock that a second run waits for."""
    given = context.config.attributes.get("database_url")
    url = given or Settings.from_env(os.environ, needs=("database",)).database_url.get_secret_value()
    with open_engine(url).connect() as connection:
        connection.execute(text("SET lock_timeout = '60s'"))
        connection.execute(ONE_MIGRATION_AT_A_TIME)
        connection.commit()  # the lock is the session's; alembic begins its own database transactions
        context.configure(
            connection=connection,
            target_metadata=operator_tables.metadata,
            compare_type=True,
            compare_server_default=True,
            transaction_per_migration=True,
            on_version_apply=note_oldest_release,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=operator_tables.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    upgrade_online()
