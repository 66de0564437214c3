"""A database per test, copied from one that was migrated once."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.support.worker import CHECKOUT, clean_env, run_worker_cli

_ADVISORY_LOCK = 7_041_993


class Databases:
    """Makes and drops databases on the server of `admin_url`, which must be allowed to."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Give the address of a database without tables; it is dropped afterwards."""
        name = f"ledger_test_{secrets.token_hex(6)}"
        with self._admin() as admin:
            admin.execute(f'CREATE DATABASE "{name}"')
        yield self._url_of(name)
        self._drop(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """Give the address of a database at the head revision; it is dropped afterwards."""
        name = f"ledger_test_{secrets.token_hex(6)}"
        with self._admin() as admin:
            admin.execute(
                "SELECT pg_advisory_lock(%s)", [_ADVISORY_LOCK]
            )  # one at a time: a template may not be in use
            template = self._template(admin)
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        yield self._url_of(name)
        self._drop(name)

    def _template(self, admin: "psycopg.Connection[tuple[object, ...]]") -> str:
        name = f"ledger_template_{_revision_digest()}"
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return name
        draft = f"{name}_draft"
        admin.execute(f'DROP DATABASE IF EXISTS "{draft}" WITH (FORCE)')
        admin.execute(f'CREATE DATABASE "{draft}"')
        env = clean_env({"LEDGER_DATABASE_URL": self._url_of(draft)})
        done = run_worker_cli("migrate", env=env, deadline_s=180)
        assert done.returncode == 0, f"migrate ended with {done.returncode}: {done.stderr}"
        admin.execute(f'ALTER DATABASE "{draft}" RENAME TO "{name}"')
        return name

    def _admin(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self._admin_url, autocommit=True)

    def _drop(self, name: str) -> None:
        with self._admin() as admin:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _url_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self._admin_url)._replace(path=f"/{name}"))


def _revision_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted((CHECKOUT / "migrations").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
