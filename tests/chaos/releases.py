"""Several releases on one machine: earlier ones out of git, later ones made of this checkout; each with processes of its own."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import migrations
from sandbox.parts.programs import Programs
from tests.support import WorkerProcess
from tests.support.nursery import Nursery
from tests.support.worker import CHECKOUT

PACKAGES = ("worker", "schemas", "migrations", "sandbox")
MIGRATION = '''"""Made by tests/chaos/releases.py."""

from alembic import op

revision = {revision!r}
down_revision = {before!r}
branch_labels = None
depends_on = None
oldest_release = {oldest_release!r}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '{lock_timeout}'")
    op.execute({statements!r})
'''
LOCK_TIMEOUT = "1s"
# A column gets another name, which no release before knows. What either release writes the other must read.
EXPAND = """
    ALTER TABLE attempts ADD COLUMN took_ms float8;
    CREATE FUNCTION keep_both_names() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'UPDATE' AND NEW.took_ms IS NOT DISTINCT FROM OLD.took_ms OR NEW.took_ms IS NULL THEN
            NEW.took_ms := NEW.duration_ms;
        ELSE
            NEW.duration_ms := NEW.took_ms;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER keep_both_names BEFORE INSERT OR UPDATE ON attempts FOR EACH ROW EXECUTE FUNCTION keep_both_names();
    DO $$ BEGIN
        EXECUTE replace(pg_get_functiondef('grant_ledger_roles'::regproc), 'duration_ms', 'duration_ms, took_ms');
    END $$;
"""
CONTRACT = """
    UPDATE attempts SET took_ms = duration_ms WHERE took_ms IS DISTINCT FROM duration_ms;
    DROP TRIGGER keep_both_names ON attempts;
    DROP FUNCTION keep_both_names;
    ALTER TABLE attempts DROP COLUMN duration_ms;
    DO $$ BEGIN
        EXECUTE replace(pg_get_functiondef('grant_ledger_roles'::regproc), 'duration_ms, took_ms', 'took_ms');
    END $$;
"""


@dataclass(frozen=True)
class Release:
    """A checkout and what is born of it; `newest` is its newest revision."""

    newest: str
    nursery: Nursery

    def start(self, env: Mapping[str, str]) -> WorkerProcess:
        """Start a worker of this release; it is not ready yet."""
        return WorkerProcess(self.nursery, env)  # type: ignore[arg-type]

    def types(self, env: Mapping[str, str], *arguments: str) -> tuple[int, str]:
        """Run a command of this release; returns its exit status and what it wrote on both outputs."""
        log = self.nursery.new_folder("command") / "command.log"
        program = self.nursery.start("a command", [sys.executable, "-m", "worker", *arguments], log, env=env)
        return program.stop_when_done(90), log.read_text()


def open_release(programs: Programs, checkout: Path = CHECKOUT) -> Release:
    """Make a release's nursery, once it is certain that its processes will import this checkout and no other."""
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    asked = [sys.executable, "-P", "-c", "import worker, migrations; print(worker.__file__, migrations.__file__)"]
    found = subprocess.run(asked, env=env, capture_output=True, text=True, check=True).stdout.split()
    assert found == [str(checkout / name / "__init__.py") for name in ("worker", "migrations")]
    newest = max(path.name[:4] for path in (checkout / "migrations" / "versions").glob("[0-9]*.py"))
    return Release(newest, Nursery(programs, checkout))


def with_new_name(folder: Path, *, contracted: bool) -> Path:
    """Make a later release of this checkout, in which `attempts.duration_ms` is called `took_ms`; returns its checkout.

    It brings the revision that expands; with `contracted` the next one too, which drops the old name.
    """
    for name in PACKAGES:
        shutil.copytree(CHECKOUT / name, folder / name)
    for path in (folder / "worker").rglob("*.py"):
        text = path.read_text()
        if "duration_ms" in text:
            path.write_text(re.sub(r"\bduration_ms\b", "took_ms", text))
    expanded, after = (f"{int(migrations.newest()) + more:04}" for more in (1, 2))
    _add_revision(folder, expanded, migrations.newest(), None, EXPAND)
    if contracted:
        _add_revision(folder, after, expanded, expanded, CONTRACT)
    return folder


def _add_revision(folder: Path, revision: str, before: str, oldest_release: str | None, statements: str) -> None:
    text = MIGRATION.format(
        revision=revision,
        before=before,
        oldest_release=oldest_release,
        lock_timeout=LOCK_TIMEOUT,
        statements=statements,
    )
    (folder / "migrations" / "versions" / f"{revision}_made_for_a_test.py").write_text(text)


def from_git(ref: str, folder: Path) -> Path:
    """Write what a commit holds into a folder and return that."""
    archive = subprocess.run(["git", "archive", ref], cwd=CHECKOUT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def before_the_newest_revision() -> str | None:
    """Return the newest commit with another newest revision than this checkout; None where the history does not have one."""
    newest = next((CHECKOUT / "migrations" / "versions").glob(f"{migrations.newest()}_*.py")).relative_to(CHECKOUT)
    top = _git("rev-parse", "--show-toplevel")
    if top is None or Path(top) != CHECKOUT.resolve():  # none, or of a folder around this one
        return None
    brought = _git("log", "--first-parent", "-m", "--diff-filter=A", "-1", "--format=%H", "--", str(newest))
    return _git("rev-parse", "--verify", "--quiet", f"{brought}^1" if brought else "HEAD")


def _git(*arguments: str) -> str | None:
    """Return what git says, None where it refuses or is not there."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
