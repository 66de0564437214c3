"""What the Dockerfile and docker-compose.yml run, run without a container engine, by their own words.

Only what the Dockerfile copies is copied, its RUN lines of the build stage make the venv, and what its last stage takes is
made read-only. Then the services' own commands run on a real Kafka and Postgres under the image's user, which has no name
here; where this process is root and Linux lets it, with the whole file system read-only, no capability and no new
privileges, as docker-compose.yml asks for. `python -m tests.checks.image`, or `make checks`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.parts.kafka import Kafka
from sandbox.parts.ports import free_port
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Program, Programs
from sandbox.parts.together import start_all
from tests.support.commands import new_account, new_command
from tests.tidy import containers
from tests.tidy.tree import CHECKOUT

BUILD, LAST = containers.stages()
SERVICES: dict[str, dict[str, Any]] = containers.compose()["services"]
ENTRYPOINT, COMMAND = containers.one(LAST, "ENTRYPOINT").argv, containers.one(LAST, "CMD").argv
USER = int(containers.one(LAST, "USER").value.partition(":")[0])
READ_ONLY_ROOT = (
    *("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh"),
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
)
_DEADLINE_S = 120


@dataclass(frozen=True, slots=True)
class Jail:
    """How the image's user runs here: words before the command, or the user's number, or neither."""

    before: tuple[str, ...] = ()
    uid: int | None = None

    def run(self, argv: Sequence[str], env: Mapping[str, str], stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run to the end."""
        return subprocess.run(
            [*self.before, *argv],
            env=dict(env),
            cwd="/",
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
        )


def jail() -> tuple[Jail, str]:
    """Return the tightest that this machine allows, and what it is."""
    if os.geteuid() != 0:
        return Jail(), "as the user of this process, which is not root and cannot become another; with a read-only tree"
    tight = Jail(READ_ONLY_ROOT)
    if shutil.which("unshare") and shutil.which("setpriv") and tight.run(["true"], os.environ).returncode == 0:
        touched = tight.run(["touch", "/tmp/ledger-image-check"], os.environ)  # noqa: S108
        _demand("Read-only" in touched.stderr, f"the root was to be read-only: {touched}")
        return tight, f"as user {USER} with a read-only root and no capability"
    return Jail(uid=USER), f"as user {USER} with a read-only tree; this machine lets nobody make the root read-only"


def interpreter(here: Jail) -> str:
    """Return a Python that the image's user reaches: one in somebody's private folder will not do."""
    fits = 'exec "$0" -c "import sys; sys.exit(sys.version_info < (3, 11))"'
    for path in (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"):
        if here.run(["sh", "-c", fits, path], os.environ).returncode == 0:
            return path
    raise SystemExit("there is no Python 3.11 or newer that every user of this machine may run")


def build(folder: Path, python: str) -> Path:
    """Do what the build stage does, in this folder instead of the root; return what the last stage takes, read-only."""
    app, venv = folder / "app", folder / "venv"
    app.mkdir()
    for step in BUILD:
        if step.word == "COPY":
            *sources, target = step.argv
            for source in sources:
                _copy(CHECKOUT / source, app / target if not target.endswith("/") else app / target / source)
        elif step.word == "RUN":
            line = re.sub(r"(?<=\s)/venv\b", str(venv), step.value)
            line = re.sub(r"^python -m venv\b", f"{python} -m venv", line)
            line = re.sub(r"^python -m pip\b", f"{sys.executable} -m pip", line)
            subprocess.run(["sh", "-euc", line], cwd=app, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(app)  # the last stage takes /venv and nothing else
    for path in (venv, *venv.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o555)
    return venv


def main() -> None:
    """Print what is wrong and end with 1, or say what was run and how."""
    here, how = jail()
    with ExitStack() as stack:
        programs = stack.enter_context(Programs())
        folder = programs.new_folder("image")
        folder.chmod(0o755)
        venv = build(folder, interpreter(here))
        stack.callback(_make_writable, venv)
        before = dict(_listing(venv))
        kafka, postgres = Kafka(programs), Postgres(programs)
        start_all(programs, [kafka.start, postgres.start])
        Services(programs, here, venv, kafka.bootstrap, postgres.url).play()
        _demand(dict(_listing(venv)) == before, "the tree was written to")
    sys.stdout.write(f"the image's and the services' commands ran {how}\n")


class Services:
    """The services of docker-compose.yml, with the addresses that their names have here."""

    def __init__(self, programs: Programs, here: Jail, venv: Path, bootstrap: str, database_url: str) -> None:
        self._programs, self._jail, self._venv = programs, here, venv
        sandbox, http = str(free_port()), str(free_port())
        self._here = {
            "kafka:9092": bootstrap,
            "http://sandbox:8080": f"http://127.0.0.1:{sandbox}",
            "8080": sandbox,
            "9464": http,
        }
        self._own = {"LEDGER_DATABASE_URL": database_url, "LEDGER_HTTP_PORT": http}

    def play(self) -> None:
        """The sandbox, the init step, the worker, one command through it, and the end."""
        self._has_no_build_tools()
        sandbox = self._start("sandbox")
        sandbox.wait_ready(lambda: self._is_healthy("sandbox"), _DEADLINE_S)
        self._demand_done(self._run(self._words(SERVICES["init"]), "init"), "init")
        worker = self._start("worker")
        worker.wait_ready(lambda: self._is_healthy("worker") and self._is_healthy_by_the_image(), _DEADLINE_S)
        command = new_command("cash.adjust", new_account())
        self._demand_done(self._run(["ledger-worker", "send", "-"], "worker", json.dumps(command)), "send")
        tail = ["ledger-worker", "tail", "--from-beginning", "--count", "1", "--until-idle", "60"]
        outcome = json.loads(self._demand_done(self._run(tail, "worker"), "tail").stdout)
        _demand((outcome["command_id"], outcome["type"]) == (command["command_id"], "command.succeeded"), str(outcome))
        _demand(worker.stop(deadline_s=60) == 0, f"the worker did not end in order{worker.last_lines()}")
        sandbox.stop()

    def _has_no_build_tools(self) -> None:
        for module in ("pip", "setuptools"):
            found = self._run(["python", "-c", f"import {module}"], "worker")
            _demand("ModuleNotFoundError" in found.stderr, f"the venv still has {module}")

    def _start(self, name: str) -> Program:
        argv = (*self._jail.before, *self._words(SERVICES[name]))
        log = self._programs.new_folder(name) / f"{name}.log"
        return self._programs.start(name, argv, log, uid=self._jail.uid, env=self._env(name), cwd=Path("/"))

    def _run(self, argv: Sequence[str], name: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return self._jail.run(argv, self._env(name), stdin)

    def _is_healthy(self, name: str) -> bool:
        how, *argv = [self._localized(word) for word in SERVICES[name]["healthcheck"]["test"]]
        _demand(how == "CMD", f"the healthcheck of {name} is not a command")
        return self._run(argv, name).returncode == 0

    def _is_healthy_by_the_image(self) -> bool:
        return self._run(containers.one(LAST, "HEALTHCHECK").argv, "worker").returncode == 0

    def _words(self, service: dict[str, Any]) -> list[str]:
        return [self._localized(word) for word in containers.argv(service, ENTRYPOINT, COMMAND)]

    def _env(self, name: str) -> dict[str, str]:
        given = {key: self._localized(value) for key, value in SERVICES[name]["environment"].items()}
        ours = {key: value for key, value in self._own.items() if name != "sandbox"}
        image = dict(pair.split("=", 1) for pair in containers.one(LAST, "ENV").argv)
        image["PATH"] = f"{self._venv}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {**image, **given, **ours}

    def _localized(self, text: str) -> str:
        text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: f"a-{match[1].lower()}", text)
        for theirs, ours in self._here.items():
            text = text.replace(theirs, ours)
        return text

    def _demand_done(self, done: "subprocess.CompletedProcess[str]", what: str) -> "subprocess.CompletedProcess[str]":
        _demand(done.returncode == 0, f"{what} ended with {done.returncode}: {done.stderr}")
        return done


def _demand(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SystemExit(otherwise)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def _listing(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.rglob("*"):
        yield str(path), path.lstat().st_mtime_ns


def _make_writable(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


if __name__ == "__main__":
    main()
