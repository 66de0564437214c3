"""Logins of a test's own, members of group roles and nothing else."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql


@contextmanager
def login_of(database_url: str, *groups: str) -> Iterator[str]:
    """Give the database's address for a new login that is a member of these roles; it is dropped afterwards."""
    name, password = f"login_{secrets.token_hex(6)}", secrets.token_hex(12)
    made = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
    parts = urlsplit(database_url)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(made)
        for group in groups:
            admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
        yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def name_of(url: str) -> str:
    """Return the login's name."""
    return str(urlsplit(url).username)
